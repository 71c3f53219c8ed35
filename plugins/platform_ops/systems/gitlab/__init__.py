"""GitLab: projects, commits, who merged them, and the statuses people see on a commit."""

"""Releases: from a commit to proven-healthy pods."""

"""Errors of the GitLab room.

ProjectNotFound (NotFound)     no such project, or this account is no member of it (GitLab answers both alike)
CommitNotFound (NotFound)      no such commit in the project
DeploymentNotFound (NotFound)  no such deployment in the project
TransitionRefused (Refused)    a status or a deployment can't go from its present state to the wanted one
"""

from __future__ import annotations

from platform_ops.common.errors import NotFound, Refused


class ProjectNotFound(NotFound):
    """The project does not exist or is hidden from this account."""


class CommitNotFound(NotFound):
    """The commit does not exist in the project."""


class DeploymentNotFound(NotFound):
    """The deployment does not exist in the project."""


class TransitionRefused(Refused):
    """GitLab's state machine of commit statuses, or of deployments, says no."""

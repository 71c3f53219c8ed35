"""Errors of the git room.

GitFailed (FailNow)            git said no
PushRejected (TryAgain)        somebody else pushed first
├── StillRejected              … as often as we tried
CommitNotFound (NotFound)      no such commit can be fetched
FileNotFound (NotFound)        no such file at that revision
"""

from __future__ import annotations

from platform_ops.common.errors import NotFound
from platform_ops.common.git_command import GitFailed, PushRejected

__all__ = ["CommitNotFound", "FileNotFound", "GitFailed", "PushRejected", "StillRejected"]


class StillRejected(PushRejected):
    """The branch moved under every try."""


class CommitNotFound(NotFound):
    """The commit does not exist in the repository, or no longer."""


class FileNotFound(NotFound):
    """The file does not exist at that revision."""

"""Errors of the git room.

GitFailed (FailNow)            git said no
PushRejected (TryAgain)        somebody else pushed first
├── StillRejected              … as often as we tried
CommitNotFound (NotFound)      no such commit can be fetched
FileNotFound (NotFound)        no such file at that revision
RefMoved (TryAgain)            what a ref led to was deleted while the repository was fetched
"""

from __future__ import annotations

from platform_ops.common.errors import NotFound, TryAgain
from platform_ops.common.git_command import GitFailed, PushRejected

__all__ = ["CommitNotFound", "FileNotFound", "GitFailed", "PushRejected", "RefMoved", "StillRejected"]


class StillRejected(PushRejected):
    """The branch moved under every try."""


class CommitNotFound(NotFound):
    """The commit does not exist in the repository, or no longer."""


class FileNotFound(NotFound):
    """The file does not exist at that revision."""


class RefMoved(TryAgain):
    """What a ref led to was deleted while the repository was fetched."""

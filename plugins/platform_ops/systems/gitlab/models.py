"""What the GitLab room returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CommitState(StrEnum):
    """The states a commit status can be set to from outside."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Project:
    """A project.

    :param path: with its groups: ``shop/storefront``.
    :param clone_url: for git over HTTP.
    """

    id: int
    path: str
    web_url: str
    clone_url: str
    default_branch: str

    def commit_url(self, sha: str) -> str:
        """Return the page of a commit."""
        return f"{self.web_url}/-/commit/{sha}"


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """The newest status of its name on a commit and branch.

    :param state: a ``CommitState``, or a word that only jobs of GitLab CI know (``created``, ``manual``, …).
    """

    name: str
    state: str
    ref: str
    target_url: str
    description: str

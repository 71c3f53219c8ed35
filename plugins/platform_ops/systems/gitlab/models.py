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


class DeploymentState(StrEnum):
    """The states a deployment can be given from outside."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELED = "canceled"


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

    def environment_url(self, number: int) -> str:
        """Return the page of an environment."""
        return f"{self.web_url}/-/environments/{number}"


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

    @property
    def ended(self) -> bool:
        """Say whether it stays as it is unless somebody sets another in its place."""
        return self.state in (CommitState.SUCCESS, CommitState.FAILED, CommitState.CANCELED, CommitState.SKIPPED)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment of a commit to an environment.

    :param environment: GitLab's number of the environment.
    :param state: a ``DeploymentState``, or a word that only deployments of GitLab CI know (``created``, ``blocked``).
    :param ours: made by this account through the API.
    """

    id: int
    environment: int
    sha: str
    state: str
    ours: bool

"""The history of a service's source, as releases ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from platform_ops.common.errors import Refused
from platform_ops.delivery.pins import Pin
from platform_ops.delivery.services import Service
from platform_ops.delivery.standing import Standing, standing
from platform_ops.systems.git.errors import CommitNotFound
from platform_ops.systems.git.hook import Repository
from platform_ops.systems.git.models import Commit
from platform_ops.systems.gitlab.hook import GitLabHook
from platform_ops.systems.gitlab.models import Project


class NotOnBranch(Refused):
    """The commit exists, on another branch than the environment's."""


@dataclass(frozen=True, slots=True)
class Source:
    """A repository whose branch has been fetched.

    :param head: of the branch.
    """

    project: Project
    repository: Repository
    branch: str
    head: str

    def commit(self, sha: str) -> Commit:
        """Return a commit of the branch.

        :raises CommitNotFound: no such commit.
        :raises NotOnBranch: it is on another branch.
        """
        self.repository.fetch_commit(sha)
        if not self.repository.is_ancestor(sha, self.head):
            raise NotOnBranch(
                f"Commit {sha[:12]} is not on branch {self.branch} of {self.repository.address}. "
                "Merge it there first, or choose another environment."
            )
        return self.repository.commit(sha)

    def contains(self, older: str, newer: str) -> bool:
        """Say whether ``newer`` contains ``older``; a commit that is gone contains nothing."""
        try:
            for sha in (older, newer):
                self.repository.fetch_commit(sha)
        except CommitNotFound:
            return False
        return self.repository.is_ancestor(older, newer)

    def standing(self, pin: Pin | None, commit: str) -> Standing:
        """Compare a commit with the pinned one."""
        return standing(pin, commit, self.contains)

    def tree(self, sha: str) -> str | None:
        """Return a commit's source tree; None for a commit that is gone."""
        try:
            self.repository.fetch_commit(sha)
        except CommitNotFound:
            return None
        return self.repository.commit(sha).tree

    def commits_since(self, pin: Pin | None, commit: str) -> tuple[Commit, ...]:
        """Return what a release brings, newest first; everything when the pinned commit is gone or there is none."""
        old = pin.commit if pin and self.tree(pin.commit) else None
        return self.repository.commits_between(old, commit)


@contextmanager
def open_source(service: Service, environment: str, gitlab: GitLabHook) -> Iterator[Source]:
    """Open the history of a service's source, with the environment's branch."""
    branch = service.branches[environment]
    project = gitlab.project(service.project)
    with Repository(project.clone_url, gitlab.credentials()) as repository:
        yield Source(project, repository, branch, repository.fetch_branch(branch, files=False))

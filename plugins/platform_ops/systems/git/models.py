"""What the git room returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as git keeps it.

    :param committed_at: ISO 8601 with offset.
    """

    sha: str
    tree: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    committer_name: str
    committer_email: str
    committed_at: str
    title: str


@dataclass(frozen=True, slots=True)
class FileEdit:
    """A file as it stands on the branch and as it shall stand."""

    path: str
    before: str
    after: str

    @property
    def changes(self) -> bool:
        """Say whether there is anything to commit."""
        return self.before != self.after

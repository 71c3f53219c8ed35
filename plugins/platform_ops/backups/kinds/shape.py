"""What every kind of source can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from platform_ops.backups.depositing import Deposit
from platform_ops.backups.points import Contents, Manifest
from platform_ops.backups.store import Points
from platform_ops.backups.streams import Reader, Writer


@dataclass(frozen=True, slots=True)
class Part:
    """One stream of a reading.

    :param name: its file name, before ``.zst`` and ``.age``.
    :param write: writes its bytes; called once, in the order of the parts.
    :param readers: public keys of age it is encrypted to, none for what reveals nothing; None means the recipients'.
    """

    name: str
    write: Callable[[Writer], object]
    readers: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A source while it is read.

    :param at: no change of the source before this is missing.
    :param state: the source's own words for it; complete when all parts have been written.
    :param notes: sentences about what a person should know: files that changed while they were read.
    :param until: no change after this is in it; None where the source is read until the last part is written.
    :param contents: says, when all parts have been written, which shared contents the point needs.
    """

    at: datetime
    parts: Sequence[Part]
    state: dict[str, Any]
    tools: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    contents: Callable[[], Contents | None] = lambda: None
    until: datetime | None = None


class OpenPoint(Protocol):
    """A point whose members can be read."""

    @property
    def manifest(self) -> Manifest:
        """Return its manifest."""

    @property
    def points(self) -> Points:
        """Return where it lies."""

    @property
    def identity(self) -> str | None:
        """Return the private key that opens it; None where it is not encrypted."""

    def open(self, name: str) -> AbstractContextManager[Reader]:
        """Open the plain bytes of a part."""


class Kind(Protocol):
    """A kind of source."""

    def read(self) -> AbstractContextManager[Reading]:
        """Open the source for reading.

        :raises PlatformError: it can't be read.
        """

    def restore(self, point: OpenPoint, target: Path) -> None:
        """Restore a point below an empty folder.

        :raises PlatformError: it can't be restored.
        """

    def compare(self, point: OpenPoint, target: Path) -> list[str]:
        """Return a sentence for each difference between a restored point and its manifest."""

    def commands(self, manifest: Manifest) -> str:
        """Return the shell commands that restore a point without this software, for ``RESTORE.md``.

        They find the members, decrypted and decompressed, in the present folder.
        """


@runtime_checkable
class Shares(Protocol):
    """A kind whose points share contents."""

    def share(self, deposit: Deposit) -> None:
        """Take where contents go; called before ``read``."""


@runtime_checkable
class Leaves(Protocol):
    """A kind that restores outside the folder it is given."""

    def remove(self, target: Path) -> None:
        """Remove what a restore left outside; fine when nothing is there."""

    def sweep(self) -> None:
        """Remove what killed restores into scratch places left outside."""


@dataclass(frozen=True, slots=True)
class Selection:
    """How much of a point is restored."""

    files: int
    bytes: int


@runtime_checkable
class Selective(Protocol):
    """A kind of which a part of a point can be restored.

    The part is named by a path below the source; empty means all of it.
    """

    def select(self, point: OpenPoint, subset: str) -> Selection:
        """Say how much a part is.

        :raises NoPoint: the point has nothing of that name.
        """

    def restore_some(self, point: OpenPoint, target: Path, subset: str) -> None:
        """Restore a part below an empty folder, under its own path; what it needs besides may lie there too."""

    def compare_some(self, point: OpenPoint, target: Path, subset: str) -> list[str]:
        """Return a sentence for each difference between a restored part and the manifest."""

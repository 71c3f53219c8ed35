"""Restore a point into a scratch place, hold it against its manifest, and measure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from platform_ops.backups.errors import NoPoint
from platform_ops.backups.kinds.shape import Kind, Leaves
from platform_ops.backups.points import Manifest
from platform_ops.backups.store import Points
from platform_ops.backups.streams import Reader


@dataclass(frozen=True, slots=True)
class Opened:
    """A point that is read with a private key.

    :param identity: of age; None where the point is not encrypted.
    """

    points: Points
    manifest: Manifest
    identity: str | None

    @contextmanager
    def open(self, name: str) -> Iterator[Reader]:
        """Open the plain bytes of a part.

        :raises NoPoint: the point has no such part.
        """
        names = {f"{name}.zst", f"{name}.zst.age"}
        member = next((one for one in self.manifest.members if one.name in names), None)
        if member is None:
            raise NoPoint(f"Point {self.manifest.point} of {self.manifest.source} has no part {name}.")
        with self.points.read(self.manifest.point, member, self.identity) as plain:
            yield plain


@dataclass(frozen=True, slots=True)
class Drill:
    """What a drill measured.

    :param rpo: from the state of the point to the start of the drill: what would have been lost.
    :param rto: from the start of the restore to the end of the comparison.
    """

    point: str
    rpo: timedelta
    rto: timedelta
    differences: tuple[str, ...]


def drill(kind: Kind, opened: Opened, scratch: Path) -> Drill:
    """Restore a point below an empty folder and compare it."""
    began = datetime.now(UTC)
    try:
        kind.restore(opened, scratch)
        differences = kind.compare(opened, scratch)
        rpo, rto = began - opened.manifest.state_at, datetime.now(UTC) - began
    finally:
        if isinstance(kind, Leaves):
            kind.remove(scratch)
    return Drill(opened.manifest.point, rpo, rto, tuple(differences))

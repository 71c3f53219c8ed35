"""Restore a point into a scratch place, hold it against its manifest, and measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from platform_ops.backups.errors import NoPoint, NotProven
from platform_ops.backups.keys import identity
from platform_ops.backups.kinds.shape import Kind, Leaves
from platform_ops.backups.points import Manifest
from platform_ops.backups.progress import Progress
from platform_ops.backups.store import Points
from platform_ops.backups.streams import Reader

SHOWN_DIFFERENCES = 20


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
        member = self.manifest.member(name)
        if member is None:
            raise NoPoint(f"Point {self.manifest.point} of {self.manifest.source} has no part {name}.")
        with self.points.read(self.manifest, member, self.identity) as plain:
            yield plain


def opened(points: Points, manifest: Manifest, say: Callable[[str], object] | None = None, *, times: int = 1) -> Opened:
    """Open a point with the private key.

    :param say: takes sentences about how far the reading is.
    :param times: how often all of it is read: a drill restores and compares.
    :raises BadIdentity: the connection holds no private key of age.
    """
    if say is not None:
        points = replace(points, told=Progress(say, times * manifest.plain_size).add)
    return Opened(points, manifest, identity(bool(manifest.recipients)))


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
    rpo, began = datetime.now(UTC) - opened.manifest.state_at, time.monotonic()
    try:
        kind.restore(opened, scratch)
        differences = kind.compare(opened, scratch)
        rto = timedelta(seconds=time.monotonic() - began)
    finally:
        if isinstance(kind, Leaves):
            kind.remove(scratch)
    return Drill(opened.manifest.point, rpo, rto, tuple(differences))


def refuse_differences(manifest: Manifest, differences: Sequence[str], facts: Mapping[str, Any]) -> None:
    """Refuse what was restored and is not what was backed up.

    :raises NotProven: there are differences.
    """
    if not differences:
        return
    shown = list(differences[:SHOWN_DIFFERENCES])
    raise NotProven(
        f"Point {manifest.point} of {manifest.source} was restored, and is not what was backed up: "
        f"{len(differences)} differences. {' '.join(shown)}",
        facts={**facts, "differences": shown},
    )

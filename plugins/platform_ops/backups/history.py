"""What there is of a source in its bucket, as the report reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from platform_ops.backups.proofs import Proof

LISTED = 50
"""So many points of a source are looked into, and listed, however old they are."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One point that exists."""

    point: str
    state_at: datetime
    stored_size: int
    verified: bool


@dataclass(frozen=True, slots=True)
class History:
    """The points of a source and its drills, the newest first.

    :param count: of all points, also of those that are not in ``points``.
    :param points: those of the time that was asked for, and older ones: down to the newest verified one, and as many
        as are listed.
    :param spoilt: sentences about points whose manifest is none, without those that are older than that.
    """

    count: int = 0
    points: tuple[Kept, ...] = ()
    proofs: tuple[Proof, ...] = ()
    spoilt: tuple[str, ...] = ()

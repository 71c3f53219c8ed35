"""Which points are kept, which may go, and which sources are due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from platform_ops.backups.points import point_time
from platform_ops.backups.sources import Retention, Source, Tier

_PERIODS: Mapping[str, Callable[[datetime], object]] = {
    "daily": lambda at: at.date(),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: at.year,
}
EARLY = timedelta(minutes=5)
"""A run that begins this much before the next point is due takes it: schedules do not tick to the second."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to a point.

    :param why: a phrase for people: ``the newest of 2026-11``.
    """

    point: str
    kept: bool
    why: str


def fates(points: Iterable[str], retention: Retention, verified: Iterable[str]) -> tuple[Fate, ...]:
    """Say for each point whether it is kept, newest first.

    The newest verified point is kept whatever the numbers say, and nothing goes that is newer than it: until a newer
    one is verified, that is all there is to restore from. Only verified points stand for their periods; an older one
    that never was verified goes.
    """
    newest_first, sound = sorted(points, reverse=True), set(verified)
    proven = max(sound, default="")
    reasons = _kept([point for point in newest_first if point in sound], retention)
    told = []
    for point in newest_first:
        if point == proven:
            told.append(Fate(point, kept=True, why="the newest verified point"))
        elif point > proven:
            told.append(Fate(point, kept=True, why="no newer point has been verified"))
        elif point in reasons:
            told.append(Fate(point, kept=True, why=reasons[point]))
        elif point in sound:
            told.append(Fate(point, kept=False, why="beyond every period of its retention"))
        else:
            told.append(Fate(point, kept=False, why="it is not verified, and a newer point is"))
    return tuple(told)


def _kept(newest_first: Sequence[str], retention: Retention) -> dict[str, str]:
    """Return why points are kept: the newest of each of the last so many periods that have one."""
    reasons: dict[str, str] = {}
    for name, period in _PERIODS.items():
        seen: set[object] = set()
        for point in newest_first:
            its = period(point_time(point))
            if its in seen:
                continue
            if len(seen) == getattr(retention, name):
                break
            seen.add(its)
            reasons.setdefault(point, f"{name} {len(seen)} of {getattr(retention, name)}")
    return reasons


def is_due(source: Source, newest: datetime | None, now: datetime) -> bool:
    """Say whether a source needs a new point.

    :param newest: when the run of its newest point began; None when it has none.
    """
    if newest is None:
        return True
    if source.tier is Tier.NIGHTLY:
        # The first run after midnight takes them, however late yesterday's was.
        return newest.date() < now.date()
    return now - newest >= source.tier.every - EARLY

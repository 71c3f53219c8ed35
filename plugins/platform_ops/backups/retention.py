"""Which points are kept, which may go, and which sources are due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from platform_ops.backups.points import point_time
from platform_ops.backups.sources import Retention, Source, Tier


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time, all in UTC, of which the newest verified point is kept.

    :param of: returns which one a time is in; a later one compares greater.
    """

    of: Callable[[datetime], Any]
    shortest: timedelta
    longest: timedelta


_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
PERIODS: Mapping[str, Period] = {
    "hourly": Period(lambda at: (at.date(), at.hour), _HOUR, _HOUR),
    "daily": Period(lambda at: at.date(), _DAY, _DAY),
    "weekly": Period(lambda at: at.isocalendar()[:2], 7 * _DAY, 7 * _DAY),
    "monthly": Period(lambda at: (at.year, at.month), 28 * _DAY, 31 * _DAY),
    "yearly": Period(lambda at: at.year, 365 * _DAY, 366 * _DAY),
}
"""By the names a retention has for them, the shortest first."""
_NEXT = {Tier.HOURLY: PERIODS["hourly"], Tier.NIGHTLY: PERIODS["daily"]}


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
    for name, period in PERIODS.items():
        seen: set[object] = set()
        for point in newest_first:
            its = period.of(point_time(point))
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
    # The first run of the next hour or day takes it, however late the one before was.
    period = _NEXT[source.tier]
    return newest is None or period.of(newest) < period.of(now)


def reached(source: Source) -> timedelta:
    """Return the age that some point reaches before it may go, however the periods fall."""
    ages = [(count - 1) * shortest + source.tier.every for count, shortest, _ in _kept_of(source)]
    return max(ages, default=timedelta(0))


def oldest(source: Source) -> timedelta:
    """Return the age that no point outlives, as long as the source is copied regularly."""
    return max((count * longest for count, _, longest in _kept_of(source)), default=timedelta(0))


def _kept_of(source: Source) -> Iterator[tuple[int, timedelta, timedelta]]:
    """Yield how many points are kept for each kind of period, the shortest first, and how far they lie apart."""
    for name, period in PERIODS.items():
        if count := getattr(source.retention, name):
            yield count, max(period.shortest, source.tier.every), max(period.longest, source.tier.every)

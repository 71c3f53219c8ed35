"""How pages and reports say times and spans."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Moment:
    """A time for machines and for people, both UTC."""

    iso: str
    words: str


def moment(value: datetime | None, *, day_of: datetime | None = None) -> Moment | None:
    """Return a time in UTC with seconds.

    :param day_of: on the same day as this, the date is left out.
    """
    return None if value is None else stamp(value, day_of=day_of)


def stamp(value: datetime, *, day_of: datetime | None = None) -> Moment:
    """Return a time in UTC with seconds."""
    utc = value.astimezone(UTC)
    same_day = day_of is not None and day_of.astimezone(UTC).date() == utc.date()
    return Moment(utc.isoformat(timespec="seconds"), f"{utc:%H:%M:%S}" if same_day else f"{utc:%Y-%m-%d %H:%M:%S}")


def span(length: timedelta | float) -> str:
    """Return a length of time in the two largest units: ``4.2 s``, ``3 min 10 s``, ``2 h 5 min``, ``3 d 4 h``.

    :param length: a number is of seconds.
    """
    seconds = max(length.total_seconds() if isinstance(length, timedelta) else length, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // small
            return f"{whole // unit} {name} {rest} {small_name}" if rest else f"{whole // unit} {name}"
    raise AssertionError  # pragma: no cover

"""Where every source stands: one row for each, the worst first. Nothing known is never fine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from platform_ops.backups.history import LISTED, History, Kept
from platform_ops.backups.proofs import Proof, last_proven
from platform_ops.backups.sources import Source
from platform_ops.common.words import span

WINDOW = timedelta(days=30)


class Standing(StrEnum):
    """How a source stands, the worst first; only the last is fine."""

    UNREADABLE = "can't be read"
    NEVER_BACKED_UP = "never backed up"
    NEVER_VERIFIED = "never verified"
    NEVER_PROVEN = "never proven"
    RESTORE_FAILED = "restore failed"
    LATE = "late"
    OVER_TARGET = "over target"
    PROVEN = "proven"

    @property
    def rank(self) -> int:
        """Return how bad it is; 0 is the worst."""
        return list(Standing).index(self)


@dataclass(frozen=True, slots=True)
class Observed:
    """A source, and what was found of it.

    :param source: None where its catalogue file could not be read.
    :param trouble: why nothing was found; empty when its points could be read.
    """

    name: str
    source: Source | None
    history: History = field(default_factory=History)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What drills measured against a target, where there is one.

    :param last: of the newest drill that proved its point; None when there is none.
    :param worst: of 30 days.
    """

    target: timedelta | None
    last: timedelta | None = None
    worst: timedelta | None = None

    @property
    def over(self) -> bool:
        """Say whether the newest measure misses its target."""
        return self.last is not None and self.target is not None and self.last > self.target


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a chart.

    :param size: stored bytes of its newest point; None without one.
    :param rto: the slowest proven restore; None without one.
    :param failed: whether a drill failed.
    """

    size: int | None = None
    rto: timedelta | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ListedPoint:
    """A point that can be named in the form of a restore.

    :param proven_at: when a drill last proved it; None where none did in the time that was looked at.
    """

    kept: Kept
    proven_at: datetime | None


@dataclass(frozen=True, slots=True)
class Row:
    """Where one source stands.

    :param reasons: sentences about all that is not as it should be.
    :param points: how many it has.
    :param listed: the newest of them.
    :param last: its newest point, verified or not.
    :param proof: the newest drill that proved a point.
    :param exposed: age of the newest verified state: what would be lost now.
    :param size: stored bytes of the newest point.
    :param growth: by which part the size grew since the oldest point of 30 days; None without two points.
    :param days: the 30 days up to now, the oldest first.
    """

    name: str
    owner: str
    kind: str
    standing: Standing
    reasons: tuple[str, ...]
    points: int
    listed: tuple[ListedPoint, ...]
    last: Kept | None
    proof: Proof | None
    proof_age: timedelta | None
    exposed: timedelta | None
    rpo: Measured
    rto: Measured
    size: int | None
    growth: float | None
    days: tuple[Day, ...]


def overview(observed: Iterable[Observed], now: datetime) -> tuple[Row, ...]:
    """Return a row for each source: never proven and late ones first, of equals the oldest proof."""
    return tuple(sorted((row(one, now) for one in observed), key=_order))


def _order(row: Row) -> tuple[int, float, str]:
    age = row.proof_age.total_seconds() if row.proof_age is not None else float("inf")
    return row.standing.rank, -age, row.name


def row(observed: Observed, now: datetime) -> Row:
    """Say where a source stands."""
    source, history = observed.source, observed.history
    proof = last_proven(history.proofs)
    verified = next((point for point in history.points if point.verified), None)
    last = history.points[0] if history.points else None
    recent = [one for one in history.proofs if one.proven and one.at >= now - WINDOW]
    found = sorted(_faults(observed, now, proof, verified), key=lambda fault: fault[0].rank)
    sizes = [point.stored_size for point in history.points if point.state_at >= now - WINDOW]
    return Row(
        name=observed.name,
        owner=source.owner if source else "",
        kind=source.kind if source else "",
        standing=found[0][0] if found else Standing.PROVEN,
        reasons=tuple(sentence for _, sentence in found),
        points=history.count,
        listed=_listed(history),
        last=last,
        proof=proof,
        proof_age=now - proof.at if proof else None,
        exposed=now - verified.state_at if verified else None,
        rpo=_measured(source.rpo if source else None, proof.rpo if proof else None, [one.rpo for one in recent]),
        rto=_measured(source.rto if source else None, proof.rto if proof else None, [one.rto for one in recent]),
        size=last.stored_size if last else None,
        growth=sizes[0] / sizes[-1] - 1 if len(sizes) > 1 and sizes[-1] else None,
        days=_days(history, now),
    )


def _listed(history: History) -> tuple[ListedPoint, ...]:
    proven: dict[str, datetime] = {}
    for one in history.proofs:
        if one.proven:
            proven[one.point] = max(one.at, proven.get(one.point, one.at))
    return tuple(ListedPoint(one, proven.get(one.point)) for one in history.points[:LISTED])


def _measured(target: timedelta | None, last: timedelta | None, recent: Sequence[timedelta | None]) -> Measured:
    return Measured(target, last, max((one for one in recent if one is not None), default=None))


def _faults(
    observed: Observed, now: datetime, proof: Proof | None, verified: Kept | None
) -> Iterator[tuple[Standing, str]]:
    """Yield all that is wrong with a source."""
    source, history = observed.source, observed.history
    for sentence in (observed.trouble, *history.spoilt):
        if sentence:
            yield Standing.UNREADABLE, sentence
    if source is None or observed.trouble:
        return
    if not history.count:
        yield Standing.NEVER_BACKED_UP, "It has no point; see back_up_sources."
    elif verified is None:
        yield Standing.NEVER_VERIFIED, "None of its points was verified; see back_up_sources."
    if proof is None:
        yield Standing.NEVER_PROVEN, "No point of it was ever restored and compared."
    elif late := lateness(source, proof, None, now):
        yield Standing.LATE, late
    newest = max(history.proofs, key=lambda one: one.at, default=None)
    if newest and not newest.proven:
        yield Standing.RESTORE_FAILED, f"The newest drill failed: {newest.why}"
    yield from _misses(source, now, proof, verified)


def lateness(source: Source, proof: Proof | None, first: datetime | None, now: datetime) -> str:
    """Say that a source waits too long for a proof; empty when it does not.

    :param proof: the newest drill that proved a point; None when none ever did.
    :param first: when its oldest point or drill was made; None without one: then nothing can be proven yet.
    """
    since = proof.at if proof else first
    if since is None or now - since <= source.drill_every:
        return ""
    age = span(now - since)
    what = f"The last proof is {age} old" if proof else f"It has waited for a proof for {age}"
    return f"{what}; one is due every {span(source.drill_every)}."


def _misses(
    source: Source, now: datetime, proof: Proof | None, verified: Kept | None
) -> Iterator[tuple[Standing, str]]:
    """Yield what is later or slower than the catalogue wants it."""
    if verified and now - verified.state_at > source.rpo:
        age = span(now - verified.state_at)
        yield Standing.LATE, f"The newest verified state is {age} old; at most {span(source.rpo)} may be lost."
    for word, target, found in (
        ("of data would have been lost", source.rpo, proof.rpo if proof else None),
        ("to restore and compare it", source.rto, proof.rto if proof else None),
    ):
        if found is not None and found > target:
            yield Standing.OVER_TARGET, f"The last drill: {span(found)} {word}; the target is {span(target)}."


def _days(history: History, now: datetime) -> tuple[Day, ...]:
    """Return 24-hour slices ending at ``now``, the oldest first."""
    count = WINDOW // timedelta(days=1)
    sizes: dict[int, int] = {}
    slowest: dict[int, timedelta] = {}
    failed: set[int] = set()
    for point in history.points:
        # The newest come first.
        sizes.setdefault((now - point.state_at) // timedelta(days=1), point.stored_size)
    for proof in history.proofs:
        day = (now - proof.at) // timedelta(days=1)
        if not proof.proven:
            failed.add(day)
        elif proof.rto is not None:
            slowest[day] = max(proof.rto, slowest.get(day, proof.rto))
    return tuple(Day(sizes.get(day), slowest.get(day), day in failed) for day in reversed(range(count)))

"""Where a run's time went: each step on one axis, waiting told from working.

Records tell when a task was queued, started and ended, whether it asked a person, and the tries before. Whether a
step that works is watching another system meanwhile is not recorded; both are work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil, floor

from platform_ops.common.records import Attempt, TaskRecord
from platform_ops.common.words import span, stamp
from platform_ops.web.story_model import Bar, Break, Chart, ChartRow, Kind, Step, Tick
from platform_ops.web.story_steps import AGAIN, ENDED, has_run, state_of
from platform_ops.web.story_words import inner, listing

THINNEST_BAR = 0.4
BREAK_WIDTH = 9.0
MOST_BREAKS = 3
SHORTEST_BREAK = timedelta(seconds=10)
ROOM, NARROW_ROOM = 17.0, 32.0
"""Percent of the axis between two times that are written at it, on a wide and on a narrow page."""
_STEPS = (
    1, 2, 5, 10, 15, 30,
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600 * hours for hours in (1, 2, 3, 6, 12)),
    *(86400 * days for days in (1, 2, 7, 14, 28, 91, 364)),
)  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING_LEFT = 0.05
_SHARES = (
    ("of work", (Kind.WORK, Kind.EARLIER)),
    ("waiting for a person", (Kind.PERSON,)),
    ("waiting for a free worker", (Kind.QUEUE,)),
    ("waiting for a next try", (Kind.RETRY,)),
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time that a task spent in one way."""

    kind: Kind
    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """Return its length."""
        return (self.end - self.begin).total_seconds()


def stretches(task: TaskRecord, *, end: datetime, live: bool) -> tuple[Stretch, ...]:
    """Return how a task spent its time, try by try.

    :param end: until when what has no end goes on.
    """
    ran = has_run(task, state_of(task, live=live))
    ended = task.ended_at if task.state in ENDED | AGAIN else None
    newest = Attempt(task.queued_at, task.started_at, ended)
    if not ran:
        newest = Attempt(task.queued_at if live and task.state == "queued" else None, None, None)
    asks = task.state == "awaiting_input" or bool(inner(task.report or {}, "facts").get("may_answer"))
    kind = Kind.PERSON if asks else Kind.EARLIER if task.state in AGAIN else Kind.WORK
    found: list[Stretch] = []
    for attempt in (*task.earlier, newest):
        found += _one_try(attempt, kind if attempt is newest or asks else Kind.EARLIER, end, found)
    if ran and task.state in AGAIN and ended:
        found.append(Stretch(Kind.RETRY, ended, end))
    worked = (Kind.WORK, Kind.EARLIER)
    return tuple(one for one in found if one.begin < one.end or (one.kind in worked and one.begin == one.end))


def _one_try(attempt: Attempt, kind: Kind, end: datetime, before: Sequence[Stretch]) -> Iterator[Stretch]:
    first = min((moment for moment in (attempt.queued_at, attempt.started_at) if moment), default=None)
    if first is None:
        return
    if before:
        yield Stretch(Kind.RETRY, before[-1].end, first)
    yield Stretch(Kind.QUEUE, first, attempt.started_at or end)
    if attempt.started_at:
        yield Stretch(kind, attempt.started_at, max(attempt.ended_at or end, attempt.started_at))


def seconds_by_share(found: Iterable[Stretch]) -> list[tuple[str, float]]:
    """Return how long work, and waits without work, lasted; what happens at the same time counts once, as the first."""
    counted: list[Stretch] = []
    shares, before = [], timedelta()
    every = list(found)
    for name, kinds in _SHARES:
        counted += [one for one in every if one.kind in kinds]
        total = _length(_merged(counted))
        shares.append((name, (total - before).total_seconds()))
        before = total
    return shares


def _length(spans: Iterable[tuple[datetime, datetime]]) -> timedelta:
    return sum((last - first for first, last in spans), timedelta())


def _merged(found: Iterable[Stretch]) -> list[tuple[datetime, datetime]]:
    """Return what stretches cover, without overlaps."""
    merged: list[tuple[datetime, datetime]] = []
    for one in sorted(found, key=lambda one: one.begin):
        if merged and one.begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], one.end))
        else:
            merged.append((one.begin, one.end))
    return merged


def pauses(found: Iterable[Stretch], begin: datetime, end: datetime) -> tuple[tuple[datetime, datetime], ...]:
    """Return the stretches without work that the axis leaves out, since they would leave too little room for the work.

    Those are the longest which last more than twice as long as all work together.
    """
    busy = _merged(one for one in found if one.kind in (Kind.WORK, Kind.EARLIER))
    work = _length(busy)
    if not work:
        return ()
    edges = [begin, *(moment for stretch in busy for moment in stretch), end]
    idle = zip(edges[::2], edges[1::2], strict=True)
    long = [(first, last) for first, last in idle if last - first > max(2 * work, SHORTEST_BREAK)]
    return tuple(sorted(sorted(long, key=lambda pause: pause[0] - pause[1])[:MOST_BREAKS]))


@dataclass(frozen=True, slots=True)
class _Piece:
    begin: datetime
    end: datetime
    start: float
    width: float
    left_out: bool


class Axis:
    """Maps times to percent: to scale, but for the stretches left out, which all get the same small width."""

    def __init__(self, begin: datetime, end: datetime, left_out: Sequence[tuple[datetime, datetime]]) -> None:
        edges = [begin, *(moment for pause in left_out for moment in pause), end]
        scaled = _length(zip(edges[::2], edges[1::2], strict=True)).total_seconds()
        self.per_second = (100 - BREAK_WIDTH * len(left_out)) / scaled if scaled else 0.0
        pieces, at = [], 0.0
        for number, (first, last) in enumerate(pairwise(edges)):
            out = number % 2 == 1
            width = BREAK_WIDTH if out else (last - first).total_seconds() * self.per_second
            pieces.append(_Piece(first, last, at, width, out))
            at += width
        self.pieces = tuple(pieces)

    def at(self, moment: datetime) -> float:
        """Return the place of a time."""
        for piece in self.pieces:
            if moment <= piece.end and piece.begin < piece.end:
                share = (moment - piece.begin) / (piece.end - piece.begin)
                return round(min(max(piece.start + share * piece.width, 0.0), 100.0), 3)
        return 100.0 if self.per_second else 0.0

    def ticks(self) -> tuple[Tick, ...]:
        """Return the lines: where a piece begins, and at round times."""
        step = next((step for step in _STEPS if step * self.per_second >= ROOM), 0)
        begins = [piece.begin for piece in self.pieces if not piece.left_out and piece.begin < piece.end]
        rounds = [moment for piece in self.pieces if not piece.left_out for moment in _round_times(piece, step)]
        wide, narrow = (self._with_room((*begins, *rounds), room) for room in (ROOM, NARROW_ROOM))
        several_days = _day(self.pieces[0].begin) != _day(self.pieces[-1].end)
        found, said = [], ""
        for moment in sorted({*begins, *rounds}):
            exact, day = moment in begins, _day(moment)
            time = _time(moment, step, exact=exact) if moment in wide else ""
            new = day if several_days and time and day not in (said, time) else ""
            said = day if time else said
            at = self.at(moment)
            found.append(Tick(at, time, new, _anchor(at, exact=exact), crowded=moment not in narrow))
        return tuple(found)

    def _with_room(self, moments: Iterable[datetime], room: float) -> set[datetime]:
        """Return the times that stand far enough from all kept before them."""
        kept: dict[datetime, float] = {}
        for moment in moments:
            at = self.at(moment)
            if all(abs(at - other) >= room for other in kept.values()):
                kept[moment] = at
        return set(kept)


def _round_times(piece: _Piece, step: int) -> Iterator[datetime]:
    if not step:
        return
    begin, end = ((moment - _EPOCH).total_seconds() for moment in (piece.begin, piece.end))
    for number in range(ceil(begin / step), floor(end / step) + 1):
        yield _EPOCH + timedelta(seconds=number * step)


def _anchor(at: float, *, exact: bool) -> str:
    """Return where a time stands at its line, so that it stays within the chart."""
    if at > 100 - ROOM / (1 if exact else 2):
        return "end"
    return "start" if exact else "middle"


def _day(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%b}"


def _time(moment: datetime, step: int, *, exact: bool) -> str:
    utc = moment.astimezone(UTC)
    if exact:
        return f"{utc:%H:%M:%S}" if step < 3600 else f"{utc:%H:%M}"
    if step >= 86400:
        return _day(moment)
    return f"{utc:%H:%M}" if step >= 60 else f"{utc:%H:%M:%S}"


def draw(
    steps: Sequence[Step], tasks: Sequence[TaskRecord], *, begin: datetime | None, end: datetime, live: bool
) -> Chart | None:
    """Draw the steps that took time; None while there are none.

    :param begin: of the run; the axis begins earlier when a step did, as in a run that was cleared.
    """
    rows = list(_rows(steps, tasks, end, live=live))
    every = [one for _, _, found in rows for one in found]
    if not every:
        return None
    first = min(one.begin for one in every)
    first = min(first, begin) if begin else first
    last = max(end, *(one.end for one in every))
    axis = Axis(first, last, pauses(every, first, last))
    breaks = tuple(
        Break(axis.at(piece.begin), axis.at(piece.end), span((piece.end - piece.begin).total_seconds()))
        for piece in axis.pieces
        if piece.left_out
    )
    kinds = tuple(kind for kind in Kind if any(one.kind is kind for one in every))
    words = f"Time from {stamp(first).words} to {stamp(last, day_of=first).words} UTC"
    if breaks:
        words += f", without {listing(tuple(pause.words for pause in breaks))} in which no step worked"
    return Chart(
        rows=tuple(_row(title, mark, found, axis, first) for title, mark, found in rows),
        ticks=axis.ticks(),
        breaks=breaks,
        kinds=kinds,
        words=words,
        summary=_summary(every, (last - first).total_seconds(), live=live),
    )


def _rows(
    steps: Sequence[Step], tasks: Sequence[TaskRecord], end: datetime, *, live: bool
) -> Iterator[tuple[str, str, list[Stretch]]]:
    """Return title, mark and stretches of each step; steps of the same tasks share a row."""
    together: dict[tuple[str, ...], list[Step]] = {}
    for step in steps:
        together.setdefault(step.tasks, []).append(step)
    for names, told in together.items():
        found = [one for task in tasks if task.task_id in names for one in stretches(task, end=end, live=live)]
        if found:
            title = ", ".join(step.title for step in told[:2]) + (f" and {len(told) - 2} more" if told[2:] else "")
            timed = next((step for step in told if step.duration), told[0])
            yield title, timed.state.mark, found


def _row(title: str, mark: str, found: Sequence[Stretch], axis: Axis, first: datetime) -> ChartRow:
    in_order = sorted(found, key=lambda one: one.begin)
    (_, worked), *waits = seconds_by_share(found)
    waited = sum(seconds for _, seconds in waits)
    bars = tuple(_bar(one, axis) for one in in_order)
    since, until = (stamp(moment, day_of=first).words for moment in (in_order[0].begin, max(one.end for one in found)))
    return ChartRow(
        title=title,
        mark=mark,
        bars=bars,
        worked=span(worked) if worked >= _NOTHING_LEFT or waited < _NOTHING_LEFT else "",
        waited=span(waited) if waited >= _NOTHING_LEFT else "",
        words=f"{since} to {until}: {', then '.join(bar.words for bar in bars)}",
    )


def _bar(one: Stretch, axis: Axis) -> Bar:
    start = min(axis.at(one.begin), 100 - THINNEST_BAR)
    end = max(axis.at(one.end), start + THINNEST_BAR)
    return Bar(one.kind, round(start, 3), round(end, 3), f"{one.kind} {span(one.seconds)}")


def _summary(found: Sequence[Stretch], whole: float, *, live: bool) -> str:
    """Return how the whole time divides; the parts add up to it."""
    shares = seconds_by_share(found)
    shares.append(("between steps", whole - sum(seconds for _, seconds in shares)))
    parts = ", ".join(f"{_unbroken(seconds)} {name}" for name, seconds in shares if seconds >= _NOTHING_LEFT)
    return f"{_unbroken(whole)} {'so far' if live else 'in all'}: {parts}." if parts else ""


def _unbroken(seconds: float) -> str:
    """Return a length of time that stays on one line."""
    return span(seconds).replace(" ", "\u00a0")

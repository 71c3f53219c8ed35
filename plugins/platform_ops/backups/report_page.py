"""The page of all sources, ready to be written: words, marks and small charts of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from platform_ops.backups.names import REPORT, RESTORE
from platform_ops.backups.overview import Day, ListedPoint, Measured, Row, Standing
from platform_ops.backups.progress import amount
from platform_ops.backups.report import Report
from platform_ops.common.words import Moment, moment, span, stamp

TEMPLATE = "backups.html.j2"
STALE_AFTER = timedelta(hours=26)
"""A report is made every day; one older than this says nothing of today."""
SLOT, HEIGHT = 4, 28
"""Of a small chart, in its own units: the width of a day, and the whole height."""
_WORRYING = frozenset({Standing.LATE, Standing.OVER_TARGET})


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of a small chart, from its ground up."""

    x: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class SmallChart:
    """Thirty days at a glance; a day without a bar is one nothing is known of.

    :param failed: where a drill failed.
    :param target: height of the line that bars should not pass; None without one.
    :param words: the same for those who don't see it.
    """

    bars: tuple[Bar, ...]
    failed: tuple[int, ...]
    target: float | None
    words: str


@dataclass(frozen=True, slots=True)
class MeasureCell:
    """A measure in words; empty where nothing was measured."""

    last: str
    worst: str
    target: str
    over: bool


@dataclass(frozen=True, slots=True)
class PagePoint:
    """One point in the list of a source."""

    name: str
    state_at: Moment
    verified: bool
    proven_at: Moment | None
    size: str


@dataclass(frozen=True, slots=True)
class PageRow:
    """One source on the page.

    :param unlisted: how many points are not in the list.
    """

    name: str
    about: str
    word: str
    tone: str
    reasons: tuple[str, ...]
    proof_age: str
    proof_at: Moment | None
    rpo: MeasureCell
    rto: MeasureCell
    exposed: str
    last: Moment | None
    point: str
    points: str
    listed: tuple[PagePoint, ...]
    unlisted: int
    size: str
    growth: str
    sizes: SmallChart
    drills: SmallChart


def page_values(
    report: Report | None,
    *,
    now: datetime,
    airflow: str,
    address: str,
    run_page: str = "",
    embedded: bool = False,
    note: str = "",
) -> dict[str, Any]:
    """Return what the template writes.

    :param report: None while there is none.
    :param now: a report that is too old then is not taken for news.
    :param address: of the page itself.
    :param run_page: of the run that made the report.
    :param note: sentence about newer runs that left no report.
    """
    stale = report is not None and now - report.at > STALE_AFTER
    tone, title, sentence = _verdict(report, now if stale else None)
    return {
        "tone": tone,
        "title": title,
        "sentence": " ".join(filter(None, (sentence, note))),
        "at": report and stamp(report.at),
        "rows": tuple(page_row(row, stale=stale) for row in report.rows) if report else (),
        "airflow": airflow,
        "start": f"{airflow}/dags/{quote(REPORT)}",
        "restore": f"{airflow}/dags/{quote(RESTORE)}",
        "address": address,
        "run_page": run_page,
        "embedded": embedded,
        "width": SLOT * 30,
        "height": HEIGHT,
        "slot": SLOT,
    }


def _verdict(report: Report | None, too_late: datetime | None) -> tuple[str, str, str]:
    if report is None:
        return "bad", "Nothing is known", "No run of report_backups has left a report. Start it."
    title, _, others = report.sentence.partition(". ")
    if too_late:
        age = span((too_late - report.at).total_seconds())
        return (
            "bad",
            "Out of date",
            f"The newest report is {age} old; what it says may have changed. Start report_backups.",
        )
    if not report.rows:
        return "calm", "No sources", report.sentence
    return tone(min((row.standing for row in report.rows), key=lambda one: one.rank)), title.rstrip("."), others


def tone(standing: Standing) -> str:
    """Return the colour that goes with the word."""
    if standing is Standing.PROVEN:
        return "good"
    return "asking" if standing in _WORRYING else "bad"


def page_row(row: Row, *, stale: bool = False) -> PageRow:
    """Return what the page says of a source.

    :param stale: what was fine when the report was made is not called fine now.
    """
    was = stale and row.standing is Standing.PROVEN
    unknown = row.standing is Standing.UNREADABLE and not row.points
    return PageRow(
        name=row.name,
        about=", ".join(filter(None, (row.kind, row.owner))),
        word=f"was {row.standing}" if was else row.standing.value,
        tone="calm" if was else tone(row.standing),
        reasons=row.reasons,
        proof_age=f"{_span(row.proof_age)} ago" if row.proof_age is not None else "unknown" if unknown else "never",
        proof_at=moment(row.proof.at) if row.proof else None,
        rpo=_measure(row.rpo),
        rto=_measure(row.rto),
        exposed=_span(row.exposed),
        last=moment(row.last.state_at) if row.last else None,
        point=row.last.point if row.last else "",
        points="" if unknown else "1 point" if row.points == 1 else f"{row.points} points",
        listed=tuple(_point(one) for one in row.listed),
        unlisted=row.points - len(row.listed),
        size="" if row.size is None else amount(row.size),
        growth="" if row.growth is None else f"{row.growth:+.1%} in 30 days",
        sizes=size_chart(row.days),
        drills=drill_chart(row.days, row.rto.target),
    )


def _point(one: ListedPoint) -> PagePoint:
    kept = one.kept
    return PagePoint(kept.point, stamp(kept.state_at), kept.verified, moment(one.proven_at), amount(kept.stored_size))


def size_chart(days: Sequence[Day]) -> SmallChart:
    """Draw the size of each day's newest point."""
    sizes = [day.size for day in days if day.size is not None]
    largest = max(sizes, default=0)
    bars = _bars([None if day.size is None else day.size / (largest or 1) for day in days])
    words = (
        f"Size on {len(sizes)} of {len(days)} days: from {amount(min(sizes))} to {amount(largest)}"
        if sizes
        else f"No point in {len(days)} days"
    )
    return SmallChart(bars, (), None, words)


def drill_chart(days: Sequence[Day], target: timedelta | None) -> SmallChart:
    """Draw how long the restores of each day took, and which failed."""
    times = [day.rto for day in days if day.rto is not None]
    highest = max([*times, *([target] if target and times else [])], default=timedelta()) or timedelta(seconds=1)
    failed = tuple(SLOT * number for number, day in enumerate(days) if day.failed)
    words = (
        f"Restores on {len(times)} of {len(days)} days: from {_span(min(times))} to {_span(max(times))}"
        if times
        else f"No proven restore in {len(days)} days"
    )
    if failed:
        words += f"; on {len(failed)} days a restore failed"
    line = round(HEIGHT - target / highest * (HEIGHT - 2), 1) if target and times else None
    return SmallChart(_bars([None if day.rto is None else day.rto / highest for day in days]), failed, line, words)


def _bars(shares: Sequence[float | None]) -> tuple[Bar, ...]:
    heights = [None if share is None else max(round(share * (HEIGHT - 2), 1), 1.0) for share in shares]
    return tuple(
        Bar(SLOT * number, round(HEIGHT - height, 1), height)
        for number, height in enumerate(heights)
        if height is not None
    )


def _measure(measured: Measured) -> MeasureCell:
    return MeasureCell(_span(measured.last), _span(measured.worst), _span(measured.target), measured.over)


def _span(time: timedelta | None) -> str:
    return "" if time is None else span(time.total_seconds())

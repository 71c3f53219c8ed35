"""The rows of the list of releases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from platform_ops.common.records import RunRecord
from platform_ops.common.words import Moment, moment, span
from platform_ops.web.story_words import text, words

_STATES = {
    "success": ("green", "good"),
    "failed": ("red", "bad"),
    "running": ("running", "live"),
    "queued": ("queued", "waiting"),
}


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One run in the list.

    :param href: relative to the list's own address.
    """

    title: str
    run_id: str
    href: str
    state: str
    mark: str
    commit: str
    started: Moment | None
    duration: str
    by: str


def list_releases(runs: Iterable[RunRecord], wanted: Mapping[str, str], *, now: datetime) -> tuple[ReleaseRow, ...]:
    """Return the runs that match, in the order given.

    :param wanted: ``service`` and ``environment`` exactly, ``commit`` by its beginning; empty matches everything.
    """
    return tuple(_row(run, now) for run in runs if _matches(run, wanted))


def _matches(run: RunRecord, wanted: Mapping[str, str]) -> bool:
    named = all(not wanted[key] or text(run.conf, key) == wanted[key] for key in ("service", "environment"))
    return named and text(run.conf, "commit").startswith(wanted["commit"].lower())


def _row(run: RunRecord, now: datetime) -> ReleaseRow:
    state, mark = _STATES.get(run.state, (words(run.state), "waiting"))
    subject = " · ".join(filter(None, (text(run.conf, "service"), text(run.conf, "environment"))))
    began = run.started_at or run.queued_at
    return ReleaseRow(
        title=subject or run.run_id,
        run_id=run.run_id,
        href=f"runs/{quote(run.dag_id, safe='')}/{quote(run.run_id, safe='')}",
        state=state,
        mark=mark,
        commit=text(run.conf, "commit")[:12],
        started=moment(began),
        duration=span(((run.ended_at or now) - began).total_seconds()) if began else "",
        by=words(run.started_by),
    )

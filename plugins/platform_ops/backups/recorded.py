"""What the runs of each DAG of the backups leave, however they end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from platform_ops.backups.names import BACK_UP, CHOOSE, DRILL, PLAN, REPORT, RESTORE, WRITE_REPORT
from platform_ops.backups.verdicts import TEARDOWNS, judge_run
from platform_ops.common.records import RunRecord
from platform_ops.evidence.recording import Recorded


def _sources(run: RunRecord) -> dict[str, Any]:
    return {"sources": run.facts(CHOOSE).get("sources") or []}


def _report(run: RunRecord) -> dict[str, Any]:
    return {"report": run.facts(WRITE_REPORT).get("keys") or []}


def _restore(run: RunRecord) -> dict[str, Any]:
    # What was not planned was at least asked for.
    known = run.conf | run.facts(PLAN)
    return {name: known.get(name) for name in ("source", "point", "target", "subset", "dry_run")}


_SUBJECTS: Mapping[str, Callable[[RunRecord], dict[str, Any]]] = {
    BACK_UP: _sources,
    DRILL: _sources,
    REPORT: _report,
    RESTORE: _restore,
}
RECORDED: Mapping[str, Recorded] = {
    dag_id: Recorded(judge_run, subject, TEARDOWNS) for dag_id, subject in _SUBJECTS.items()
}
"""By DAG."""

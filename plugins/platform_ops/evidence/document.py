"""The evidence document: built from a run's record, in canonical form, with its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import rfc8785

from platform_ops.common.records import RunRecord, TaskRecord

BUCKET = "evidence"
FORMAT = "platform-ops/evidence/1"


def build(
    run: RunRecord,
    *,
    number: int,
    verdict: str,
    subject: Mapping[str, Any],
    observed: Mapping[str, Any],
    differences: Sequence[str],
    without: Collection[str] = (),
    late: str = "",
) -> dict[str, Any]:
    """Return the document of one end of a run.

    :param number: counts the ends of the run, from 1.
    :param subject: what the run was about, in the area's words.
    :param observed: what the systems said when asked again at the end.
    :param differences: sentences, where that is not what the steps reported.
    :param without: tasks that are no steps: they store this document and tell of it.
    :param late: why the run did not store it itself.
    """
    return {
        "format": FORMAT,
        "dag": run.dag_id,
        "run": run.run_id,
        "number": number,
        "started_by": run.started_by,
        "started_at": _stamp(run.started_at),
        "subject": dict(subject),
        "steps": steps(run, without),
        "observed": dict(observed),
        "differences": list(differences),
        "verdict": verdict,
    } | ({"late": late} if late else {})


def steps(run: RunRecord, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return what the document tells of each step."""
    return [_step(task) for task in run.tasks if task.task_id not in without]


def tells_of(document: Mapping[str, Any], run: RunRecord, without: Collection[str] = ()) -> bool:
    """Say whether a document is of this end of the run: of the same tries of its steps, with the same reports."""
    told = json.loads(canonical({"steps": steps(run, without)}))["steps"]
    return bool(document.get("steps") == told)


def step_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the task ids of a document's steps."""
    return tuple(dict.fromkeys(step["step"].partition(" ")[0] for step in document.get("steps", ())))


def with_reports(run: RunRecord, document: Mapping[str, Any]) -> RunRecord | None:
    """Return the run with the reports that a document of it holds; None when the document is of other tries.

    :param run: has the document's steps, without their reports.
    """
    found = {_name(task): task for task in run.tasks}
    told = document.get("steps", ())
    tasks = tuple(replace(found[step["step"]], report=_report(step)) for step in told if step["step"] in found)
    whole = replace(run, tasks=tasks)
    return whole if tells_of(document, whole) else None


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the document's bytes in RFC 8785 form, so that equal documents have equal hashes."""
    return rfc8785.dumps(dict(document))


def sha256(document: Mapping[str, Any]) -> str:
    """Return the sha256 of the canonical form, in hex."""
    return hashlib.sha256(canonical(document)).hexdigest()


def key(dag_id: str, run_id: str, number: int) -> str:
    """Return where the document lies in the evidence bucket."""
    return f"runs/{dag_id}/{run_id}/{number}.json"


def _step(task: TaskRecord) -> dict[str, Any]:
    report = task.report or {}
    return {
        "step": _name(task),
        "state": task.state,
        "try": task.try_number,
        "started_at": _stamp(task.started_at),
        "ended_at": _stamp(task.ended_at),
        "outcome": report.get("outcome"),
        "summary": report.get("summary"),
        "error": report.get("error"),
        "facts": report.get("facts") or {},
        "links": report.get("links") or [],
    }


def _name(task: TaskRecord) -> str:
    return f"{task.task_id} {task.label}".rstrip()


def _report(step: Mapping[str, Any]) -> dict[str, Any] | None:
    keys = ("outcome", "summary", "error", "facts", "links")
    return {key: step[key] for key in keys} if step["outcome"] else None


def _stamp(time: datetime | None) -> str | None:
    return time.isoformat() if time else None

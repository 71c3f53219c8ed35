"""What the checks of a run add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from platform_ops.common.permissions import State
from platform_ops.common.records import RunRecord
from platform_ops.evidence.conclusion import Ending

TEARDOWNS = ("record_evidence", "report_connections")
CHECK = "check_connection"


class Verdict(StrEnum):
    """How a check of the connections ended; only the first is green."""

    SOUND = "sound"
    BROKEN = "broken"
    FAILED = "failed"


def judge_run(run: RunRecord) -> Ending[Verdict]:
    """Say how a run ended; a task that was set to success by hand has reported nothing and counts as failed."""
    steps = [task for task in run.tasks if task.task_id not in TEARDOWNS]
    bad = [step for step in steps if step.state != "success" or (step.report or {}).get("outcome") != "done"]
    if steps and not bad:
        return Ending(Verdict.SOUND, "")
    checked = [step for step in bad if step.task_id == CHECK and step.report]
    if checked and len(checked) == len(bad):
        return Ending(Verdict.BROKEN, ", ".join(step.label or CHECK for step in checked))
    first = next((step for step in bad if step.state == "failed"), None)
    reason = str((first.report or {}).get("summary") or "") if first else ""
    return Ending(Verdict.FAILED, reason or "A task ended without a report.")


def row(connection: str, report: Mapping[str, Any] | None) -> tuple[int, str, str]:
    """Return how bad a connection is (0 the worst), the word for it, and its sentence.

    :param report: what its task left; None when it left nothing.
    """
    words = [*State]
    if not report:
        return 0, "not checked", f"Its task left no report; read the log of {CHECK} for {connection}."
    sentence, facts = str(report.get("summary") or ""), report.get("facts")
    known = facts if isinstance(facts, dict) else {}
    if report.get("outcome") != "done":
        # Nobody was asked where the catalogue says nothing that could be.
        return 0, State.MISSING if "system" in known else "not checked", sentence
    found = known.get("findings")
    states = {each.get("state") for each in found or () if isinstance(each, dict)}
    worst = next((state for state in words if state in states), State.UNKNOWN)
    return words.index(worst), worst, sentence


def table(connections: Sequence[str], reports: Sequence[Mapping[str, Any] | None]) -> list[dict[str, str]]:
    """Return a line for each connection, the worst first."""
    rows = sorted((*row(name, report), name) for name, report in zip(connections, reports, strict=True))
    return [{"connection": name, "state": word, "sentence": sentence} for _, word, sentence, name in rows]

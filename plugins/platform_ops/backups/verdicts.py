"""What the steps of a run of backups add up to."""

from __future__ import annotations

from enum import StrEnum

from platform_ops.approvals.rules import ApprovalRejected
from platform_ops.backups.names import CHOOSE, PLAN
from platform_ops.common.records import RunRecord
from platform_ops.evidence.conclusion import Ending

TEARDOWNS = ("record_evidence",)
_WORK = frozenset({"done", "reused"})
_GOOD = _WORK | {"not needed"}
_CHOOSING = frozenset({CHOOSE, PLAN})
"""Steps that say what would be done."""


class Verdict(StrEnum):
    """How a run ended; the first two are green."""

    DONE = "done"
    NOT_NEEDED = "not needed"
    REJECTED = "rejected"
    FAILED = "failed"


def judge_run(run: RunRecord) -> Ending[Verdict]:
    """Say how a run ended; a step that was set to success by hand has reported no good end and counts as failed."""
    steps = [task for task in run.tasks if task.task_id not in TEARDOWNS]
    bad = [step for step in steps if step.state != "success" or (step.report or {}).get("outcome") not in _GOOD]
    if run.facts(CHOOSE).get("sources") == []:
        # Airflow skips the steps of a mapped group without a source, and what follows them.
        bad = [step for step in bad if not (step.state == "skipped" and step.report is None)]
    if not steps:
        return Ending(Verdict.FAILED, "The run has no steps.")
    if not bad:
        worked = any(step.task_id not in _CHOOSING and (step.report or {}).get("outcome") in _WORK for step in steps)
        return Ending(Verdict.DONE if worked else Verdict.NOT_NEEDED, "")
    failed = [step for step in bad if step.state == "failed"] or bad
    reasons = [str((step.report or {}).get("summary") or f"{step.task_id} {step.label} is {step.state}.")
               for step in failed]  # fmt: skip
    rejected = any((step.report or {}).get("error") == ApprovalRejected.__name__ for step in failed)
    return Ending(Verdict.REJECTED if rejected else Verdict.FAILED, " ".join(reasons))

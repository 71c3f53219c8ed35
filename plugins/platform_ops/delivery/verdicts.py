"""What a run's steps add up to."""

from __future__ import annotations

from enum import StrEnum

from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.evidence.conclusion import Ending
from platform_ops.systems.gitlab.models import CommitState, DeploymentState

TEARDOWNS = ("record_evidence", "report_release")
_GOOD = frozenset({"done", "reused", "not needed"})


class Verdict(StrEnum):
    """How a release ended; the first two are green."""

    RELEASED = "released"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    EXPIRED = "expired"
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def gitlab_state(self) -> CommitState:
        """Return the end state of the commit status."""
        states = {Verdict.RELEASED: CommitState.SUCCESS, Verdict.SUPERSEDED: CommitState.CANCELED}
        return states.get(self, CommitState.FAILED)

    @property
    def deployment_state(self) -> DeploymentState:
        """Return the end state of the deployment."""
        return DeploymentState(self.gitlab_state)


_BY_ERROR = {"ApprovalRejected": Verdict.REJECTED, "ApprovalExpired": Verdict.EXPIRED}


def judge_run(run: RunRecord) -> Ending[Verdict]:
    """Say how a run ended, from its steps' states and reports.

    A step that Airflow calls a success and that reported no good end was set by hand; then the run is not released.
    """
    steps = [task for task in run.tasks if task.task_id not in TEARDOWNS]
    if not steps:
        return Ending(Verdict.FAILED, "The run has no steps.")
    bad = [step for step in steps if not _ended_well(step)]
    if not bad:
        return Ending(Verdict.RELEASED, "")
    # What stands behind a failed step never ran and says nothing.
    failed = next((step for step in bad if step.state == "failed"), None)
    superseded = next((step for step in bad if _is_superseded(step)), None)
    if superseded and not failed:
        return Ending(Verdict.SUPERSEDED, str((superseded.report or {}).get("summary") or ""))
    decisive = failed or bad[0]
    report = decisive.report or {}
    refused = Verdict.REFUSED if report.get("outcome") == "refused" else Verdict.FAILED
    return Ending(_BY_ERROR.get(str(report.get("error")), refused), _reason(decisive))


def _ended_well(step: TaskRecord) -> bool:
    # An XCom can be edited to anything.
    return step.state == "success" and str((step.report or {}).get("outcome")) in _GOOD


def _is_superseded(step: TaskRecord) -> bool:
    return step.state == "skipped" and (step.report or {}).get("outcome") == "superseded"


def _reason(step: TaskRecord) -> str:
    report = step.report or {}
    if step.state == "failed" and report.get("outcome") in ("failed", "refused"):
        return str(report.get("summary") or "")
    return f"{step.task_id} ended as {step.state or 'nothing'} in Airflow without reporting a good end."

"""Which runs Airflow ended without their last steps, and what that left open."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import PlatformError
from platform_ops.common.records import RunRecord, TaskRecord


class RunGoesOn(PlatformError):
    """Somebody cleared the run, or gave it another end, while it was being closed."""


@dataclass(frozen=True, slots=True)
class Closed:
    """One row of what was closed.

    :param ended_as: Airflow's state of the run.
    :param was_open: some of ``evidence``, ``status`` and ``deployment``.
    :param evidence: where the document lies; empty in a dry run.
    :param told: what GitLab shows since; empty in a dry run, and for what GitLab never hears of.
    """

    dag: str
    run: str
    ended_as: str
    was_open: tuple[str, ...]
    verdict: str
    evidence: str
    told: str

    def as_dict(self) -> dict[str, str]:
        """Return the row for the report."""
        return asdict(self) | {"was_open": ", ".join(self.was_open)}


def looks_open(run: RunRecord, last_steps: Collection[str]) -> bool:
    """Say whether an ended run may lack its last steps, judged by their states alone.

    Airflow stamps ``queued_at`` anew whenever somebody clears tasks of a run: what succeeded before that belongs to
    an earlier end of it.

    :param run: with its last steps.
    """
    return {task.task_id for task in run.tasks if _succeeded(run, task)} != set(last_steps)


def _succeeded(run: RunRecord, task: TaskRecord) -> bool:
    begun = task.started_at
    return task.state == "success" and begun is not None and (run.queued_at is None or begun >= run.queued_at)


def why(run: RunRecord) -> str:
    """Return the sentence that evidence and status give for the run that did not close itself."""
    return f"Airflow ended the run as {run.state} without its last steps"


def require_same_end(api: AirflowApi, run: RunRecord) -> None:
    """Look once more whether a run has the end it is being closed with.

    :raises RunGoesOn: it has not; what it left open is its own to end.
    """
    now = api.bare_run(run.dag_id, run.run_id)
    # Airflow queues a run anew when it is cleared.
    if (now.state, now.queued_at) != (run.state, run.queued_at):
        raise RunGoesOn(f"{run.run_id} is {now.state} since it was looked at. The next sweep looks again.")

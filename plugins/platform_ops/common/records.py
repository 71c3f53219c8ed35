"""What Airflow's server knows of a run, its tasks and the answers people gave, as rules and pages read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a task."""

    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task of a run; its times are those of the newest try.

    :param map_index: -1 unless the task is mapped.
    :param label: what a mapped task stands for, as the DAG names it.
    :param report: what the step left (``common/report.py``); None when it left nothing yet.
    :param queued_at: when it was last queued, which for a task that was deferred is after its start.
    :param earlier: the tries before the newest, in their order.
    """

    task_id: str
    state: str | None
    started_at: datetime | None
    ended_at: datetime | None
    try_number: int
    report: dict[str, Any] | None
    map_index: int = -1
    label: str = ""
    queued_at: datetime | None = None
    earlier: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of a DAG.

    :param started_by: the Airflow account that started it.
    """

    dag_id: str
    run_id: str
    state: str
    started_by: str | None
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    conf: dict[str, Any]
    tasks: tuple[TaskRecord, ...]

    def report(self, task_id: str) -> dict[str, Any]:
        """Return the report of a task; empty when there is none."""
        found = next((task for task in self.tasks if task.task_id == task_id), None)
        return (found.report if found else None) or {}

    def facts(self, task_id: str) -> dict[str, Any]:
        """Return the facts a task reported; empty when there are none."""
        facts = self.report(task_id).get("facts")
        return facts if isinstance(facts, dict) else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What Airflow's server keeps of one request to a person.

    :param by: the account that answered, stamped by the server; None for the default taken at expiry.
    :param answered_at: None as long as nobody answered in the gate's newest try.
    """

    subject: str
    body: str
    chosen: tuple[str, ...]
    by: str | None
    answered_at: datetime | None
    assigned: tuple[str, ...]

"""Runs of restore_backup, on a store in memory and real folders."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from platform_ops.approvals.gate import Request
from platform_ops.approvals.rules import (
    APPROVE,
    binding_line,
)
from platform_ops.backups.restore_steps import ApproveRestore, CompareRestore, PlanRestore, RestorePoint
from platform_ops.common.records import Answer
from platform_ops.common.report import StepReport
from tests.unit.backups.installation import Steps

HOUR = timedelta(hours=1)
IDENTITIES = """\
people:
- {name: Paula, emails: [paula@example.com], gitlab: paula, airflow: paula}
- {name: Oscar, emails: [oscar@example.com], gitlab: oscar, airflow: oscar}
"""


class Restores:
    """Runs of restore_backup; ``form`` is what a person filled in."""

    def __init__(self, steps: Steps, target: Path) -> None:
        self.steps, self.target = steps, target
        self.form: dict[str, Any] = {"source": "tree", "point": "latest", "target": str(target), "dry_run": False}
        self.answer: Answer | None = None
        self.starter: str | None = "oscar"
        self.asked: list[tuple[str, str, str]] = []

    def run(self, step: type, task_id: str, **form: Any) -> Any:
        self.form |= form
        return self.steps.run(step, task_id=task_id, run_id="restore 1", form=self.form, starter=self.starter)

    def plan(self, **form: Any) -> Any:
        return self.run(PlanRestore, "plan_restore", **form)

    def restore(self, **form: Any) -> Any:
        return self.run(RestorePoint, "restore_point", **form)

    def compare(self) -> Any:
        return self.run(CompareRestore, "compare_restore")

    def ask(self, **form: Any) -> Request | StepReport:
        self.form |= form
        ti = SimpleNamespace(
            dag_id="a_dag", run_id="restore 1", xcom_pull=lambda *, task_ids, key: self.steps.reports.get(task_ids)
        )
        run = SimpleNamespace(triggering_user_name=self.starter)
        gate = ApproveRestore(task_id="approve_restore")
        return gate.ask({"ti": ti, "params": self.form, "dag_run": run})  # type: ignore[typeddict-item]

    def say(self, what: str = APPROVE, by: str | None = "paula", *, bound_to: str = "", ago: timedelta = HOUR) -> None:
        asked = self.ask()
        assert isinstance(asked, Request)
        text = f"{asked.body}\n\n{binding_line(bound_to or asked.bound_to)}"
        self.answer = Answer(asked.subject, text, (what,), by, datetime.now(UTC) - ago, asked.may_answer)

    def given(self, *asked: str) -> Answer | None:
        self.asked.append(asked)  # type: ignore[arg-type]
        return self.answer

    def production(self, folder: Path, *approvers: str) -> None:
        """Call a folder production."""
        block = {"production": [str(folder)], "approval": {"approvers": list(approvers), "expires_after": "24h"}}
        self.steps.enter("tree", "encryption:", f"restore: {json.dumps(block)}\nencryption:")


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def bad(restores: Restores, kind: type[Exception], says: str, **form: Any) -> None:
    """Expect a plan to be refused, with nothing changed anywhere."""
    objects, room = dict(restores.steps.store.objects), contents(restores.target.parent.parent)
    with pytest.raises(kind, match=says):
        restores.plan(**form)
    assert restores.steps.store.objects == objects
    assert contents(restores.target.parent.parent) == room

"""One installation of backups: a catalogue, a store in memory, keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from platform_ops.backups.points import point_id
from platform_ops.backups.steps import CopySource, VerifyPoint
from tests.unit.backups.memory_store import MemoryStore

NOW = datetime.now(UTC)
ENTRY = """\
source: {name}
owner: platform-team@example.com
kind: directory
what: {{path: {path}}}
tier: hourly
retention: {{daily: 30}}
store: {{}}
encryption: backup_keys
target: {{rpo: 2d, rto: 1h}}
"""


class Steps:
    """One installation: a catalogue, a store, keys; each run has a context of its own."""

    def __init__(
        self, home: Path, tree: Path, store: MemoryStore, recipients: tuple[str, ...], key: str, copier: str
    ) -> None:
        self.home, self.tree, self.store = home, tree, store
        self.recipients, self.key, self.copier = recipients, key, copier
        self.reports: dict[str, Any] = {}

    def enter(self, name: str, old: str = "", new: str = "") -> None:
        text = ENTRY.format(name=name, path=json.dumps(str(self.tree)))
        assert old in text
        (self.home / "include" / "backups" / f"{name}.yaml").write_text(text.replace(old, new, 1))

    def proofs(self) -> list[dict[str, Any]]:
        """Return what drills found."""
        return [json.loads(body) for key, body in self.store.objects.items() if "/proofs/" in key]

    def connection(self, name: str) -> Any:
        found = {
            "backup_keys": SimpleNamespace(password=self.copier, extra_dejson={"recipients": list(self.recipients)}),
            "backup_identity": SimpleNamespace(password=self.key),
        }
        return found[name]

    def run(self, step: type, *, at: datetime = NOW, run_id: str = "r1", **options: Any) -> Any:
        """Run a step and return what it reported; its error is raised, and its report is in ``told``.

        :param options: of the step; ``form`` holds more parameters of the run, ``tries`` its try and the most it has.
        """
        told: list[dict[str, Any]] = []
        params = {"sources": options.pop("sources", None), "at_most": options.pop("at_most", 5)} | options.pop(
            "form", {}
        )
        task_id, tries = options.pop("task_id", "step"), options.pop("tries", (1, 2))

        def push(key: str, value: dict[str, Any]) -> None:
            told.append(value)
            self.reports[task_id] = value

        ti = SimpleNamespace(
            id="0199a1b2-0000-7000-8000-000000000001",
            dag_id="a_dag",
            run_id=run_id,
            try_number=tries[0],
            max_tries=tries[1],
            xcom_push=push,
            map_index=0,
            xcom_pull=lambda *, task_ids, key, map_indexes=None: self.reports.get(task_ids),
        )
        run = SimpleNamespace(run_after=at, conf={}, triggering_user_name=options.pop("starter", "oscar"))
        self.told = told
        step(task_id=task_id, **options).execute({"ti": ti, "task_instance": ti, "params": params, "dag_run": run})
        return told[-1]

    def back_up(self, *, at: datetime = NOW, run_id: str = "r1", source: str = "tree") -> str:
        """Copy and verify, and return the point."""
        self.run(CopySource, source=source, at=at, run_id=run_id)
        self.run(VerifyPoint, source=source, at=at, run_id=run_id)
        return point_id(at, run_id)

    def age(self, point: str, *, days: int, source: str = "tree") -> None:
        """Have a point been verified longer ago."""
        key = f"{source}/{point}/verified.json"
        noted = json.loads(self.store.objects[key]) | {"at": (NOW - timedelta(days=days)).isoformat()}
        self.store.objects[key] = json.dumps(noted).encode()

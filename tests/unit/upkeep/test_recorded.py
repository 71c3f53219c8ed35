"""The evidence of runs that Airflow ended without their last steps, of every DAG that only tells what its steps read."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from jsonschema import Draft202012Validator

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.systems.object_store.hook import ObjectStoreHook
from platform_ops.upkeep import close_steps
from platform_ops.upkeep.close_steps import WAYS, CloseOpenRecords
from platform_ops.upkeep.recorded import RECORDED
from sandbox.processes import ROOT

AT = datetime(2026, 1, 2, tzinfo=UTC)
LATE = "Airflow ended the run as failed without its last steps; close_open_records stored this."
SCHEMA = json.loads((ROOT / "include/schemas/evidence.schema.json").read_text())

Sweep = Callable[..., dict[str, Any]]


def step(task_id: str, state: str | None = "success", label: str = "", **facts: Any) -> TaskRecord:
    report = {"summary": f"{task_id} said.", "outcome": "done", "error": None, "facts": facts, "links": []}
    return TaskRecord(task_id, state, AT, AT, 1, report if facts else None, 0 if label else -1, label)


def killed(dag_id: str, *steps: TaskRecord) -> RunRecord:
    """A run whose last steps never came."""
    last = (TaskRecord(name, None, None, None, 0, None) for name in RECORDED[dag_id].last_steps)
    return RunRecord(dag_id, "scheduled__2026-01-02", "failed", None, AT, AT, AT, {}, (*steps, *last))


COPYING = step("back_up_source.copy_source", "failed", "tree")
RUNS = {
    "check_connections": (
        killed("check_connections", step("list_connections", connections=["a"]), step("check_connection", None)),
        {"connections": ["a"]},
    ),
    "back_up_sources": (
        killed("back_up_sources", step("choose_sources", sources=["tree"]), COPYING),
        {"sources": ["tree"]},
    ),
    "drill_restores": (
        killed("drill_restores", step("choose_sources", sources=["tree"]), step("drill_restore", "failed", "tree")),
        {"sources": ["tree"]},
    ),
    "report_backups": (killed("report_backups", step("write_report", "failed")), {"report": []}),
    "restore_backup": (
        killed("restore_backup", step("plan_restore", source="tree", point="p"), step("restore_point", "failed")),
        {"source": "tree", "point": "p", "target": None, "subset": None, "dry_run": None},
    ),
}
"""Of each DAG a run, and what it was about."""


class World:
    """Airflow with one run, and a bucket."""

    def __init__(self, run: RunRecord) -> None:
        self.ended, self.now = run, run
        self.objects: dict[str, bytes] = {}
        self.api = create_autospec(AirflowApi, instance=True)
        self.api.ended_runs.side_effect = lambda dag_id, **_: iter([self.ended] if dag_id == run.dag_id else [])
        self.api.with_tasks.side_effect = self._with_tasks
        self.api.run.side_effect = self.api.bare_run.side_effect = lambda dag_id, run_id: self.now
        self.store = create_autospec(ObjectStoreHook, instance=True)
        self.store.keys.side_effect = lambda _, prefix: iter([key for key in self.objects if key.startswith(prefix)])
        self.store.read.side_effect = lambda _, key: self.objects.get(key)
        self.store.put_new.side_effect = lambda _, key, body: self.objects.setdefault(key, body) is body
        self.store.url.side_effect = lambda _, key: f"http://store.test/{key}"

    def _with_tasks(self, runs: list[RunRecord], names: tuple[str, ...]) -> Any:
        for run in runs:
            tasks = (replace(task, report=None) for task in self.ended.tasks if task.task_id in names)
            yield replace(run, tasks=tuple(tasks))


@pytest.fixture(params=RUNS)
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(RUNS[request.param][0])
    monkeypatch.setattr(close_steps, "AirflowApi", lambda: made.api)
    for module in ("upkeep.recorded", "evidence.recording"):
        monkeypatch.setattr(f"platform_ops.{module}.ObjectStoreHook", lambda: made.store)
    return made


@pytest.fixture
def sweep() -> Sweep:
    def sweep(**changes: Any) -> dict[str, Any]:
        told: list[dict[str, Any]] = []
        ti = SimpleNamespace(xcom_push=lambda key, value: told.append(value))
        params = {"dry_run": False, "days": 7, "minutes": 5} | changes
        CloseOpenRecords(task_id="close_records").execute({"params": params, "ti": ti})
        return told[-1]

    return sweep


def test_every_dag_that_leaves_evidence_is_swept() -> None:
    dags = {path.stem for path in (ROOT / "dags").rglob("*.py")}
    assert set(WAYS) == dags - {"close_open_records"}
    assert set(RUNS) == set(RECORDED) == set(WAYS) - {"release_service"}


def test_the_evidence_that_a_killed_run_lacks_is_stored_with_the_reason(world: World, sweep: Sweep) -> None:
    run = world.ended
    key = f"runs/{run.dag_id}/{run.run_id}/1.json"
    told = sweep()
    assert told["outcome"] == "done"
    assert told["facts"]["closed"] == [
        {"dag": run.dag_id, "run": run.run_id, "ended_as": "failed", "was_open": "evidence", "verdict": "failed",
         "evidence": key, "told": ""},
    ]  # fmt: skip
    document = json.loads(world.objects[key])
    Draft202012Validator(SCHEMA).validate(document)
    assert (document["verdict"], document["late"]) == ("failed", LATE)
    assert document["subject"] == RUNS[run.dag_id][1]
    assert not {step["step"] for step in document["steps"]} & set(RECORDED[run.dag_id].last_steps)


def test_a_run_that_is_cleared_while_it_is_read_is_left_alone(world: World, sweep: Sweep) -> None:
    world.api.bare_run.side_effect = lambda *_: replace(world.now, state="running")
    assert sweep()["outcome"] == "not needed"
    assert world.objects == {}


def test_a_second_sweep_stores_nothing_and_reads_no_report(world: World, sweep: Sweep) -> None:
    sweep()
    before = dict(world.objects)
    world.api.run.reset_mock()
    assert sweep()["outcome"] == "not needed"
    world.api.run.assert_not_called()
    assert world.objects == before


def test_another_end_of_the_run_gets_a_document_of_its_own(world: World, sweep: Sweep) -> None:
    sweep()
    first, *rest = world.ended.tasks
    world.ended = world.now = replace(world.ended, tasks=(replace(first, try_number=2), *rest))
    assert sweep()["outcome"] == "done"
    assert [key.rpartition("/")[2] for key in world.objects] == ["1.json", "2.json"]


def test_a_dry_run_stores_nothing(world: World, sweep: Sweep) -> None:
    (row,) = sweep(dry_run=True)["facts"]["closed"]
    assert (row["run"], row["evidence"]) == (world.ended.run_id, "")
    assert world.objects == {}


def test_a_run_that_was_cleared_meanwhile_is_left_alone(world: World, sweep: Sweep) -> None:
    world.now = replace(world.ended, state="running")
    assert sweep()["outcome"] == "not needed"
    assert world.objects == {}


def test_a_run_whose_last_steps_went_well_is_not_looked_into(world: World, sweep: Sweep) -> None:
    last = RECORDED[world.ended.dag_id].last_steps
    tasks = [
        replace(task, state="success", started_at=AT) if task.task_id in last else task for task in world.ended.tasks
    ]
    world.ended = replace(world.ended, tasks=tuple(tasks))
    assert sweep()["outcome"] == "not needed"
    world.store.keys.assert_not_called()

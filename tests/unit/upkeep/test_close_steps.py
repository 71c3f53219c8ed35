"""The sweep: every open run is closed, whatever the others are like."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import Busy, NotFound, Unreachable
from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.common.report import StepReport
from platform_ops.delivery import closing
from platform_ops.upkeep import close_steps
from platform_ops.upkeep.close_steps import CloseOpenRecords, RecordsLeftOpen

AT = datetime(2026, 1, 2, tzinfo=UTC)
PARAMS = {"dry_run": False, "days": 7, "minutes": 5}
LOST = "Airflow ended the run as failed without its last steps"


def run(run_id: str, state: str = "failed") -> RunRecord:
    """A run whose last steps ended so."""
    tasks = tuple(TaskRecord(name, state, AT, AT, 1, None) for name in ("record_evidence", "report_release"))
    return RunRecord("release_service", run_id, "failed", None, AT, AT, AT, {}, tasks)


class World:
    """Airflow with some runs, and what closing them does; each run is open until it is closed."""

    def __init__(self) -> None:
        self.runs: list[RunRecord] = []
        self.open: dict[str, tuple[str, ...]] = {}
        self.trouble: dict[str, Exception] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.known_closed: set[str] = set()
        self.api = create_autospec(AirflowApi, instance=True)
        self.api.ended_runs.side_effect = lambda dag_id, **_: iter([one for one in self.runs if one.dag_id == dag_id])
        self.api.with_tasks.side_effect = lambda runs, _: iter(runs)
        self.api.run.side_effect = lambda _, run_id: next(one for one in self.runs if one.run_id == run_id)
        self.api.bare_run.side_effect = self.api.run.side_effect

    def is_closed(self, api: AirflowApi, run: RunRecord) -> bool:
        assert api is self.api
        return run.run_id in self.known_closed

    def open_ends(self, run: RunRecord) -> tuple[str, ...]:
        if run.run_id in self.trouble:
            raise self.trouble[run.run_id]
        return self.open.get(run.run_id, ())

    def record(self, run: RunRecord, late: str, check: Callable[[], None]) -> StepReport:
        check()
        self.calls.append(("record", run.run_id, late))
        return StepReport("Stored.", facts={"key": f"runs/{run.run_id}/1.json"})

    def report(self, run: RunRecord, evidence: dict[str, Any], late: str, check: Callable[[], None]) -> StepReport:
        assert evidence["key"]
        check()
        self.calls.append(("report", run.run_id, late))
        del self.open[run.run_id]
        return StepReport("GitLab shows it.")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(close_steps, "AirflowApi", lambda: made.api)
    for name in ("is_closed", "open_ends", "record", "report"):
        monkeypatch.setattr(closing, name, getattr(made, name))
    return made


@pytest.fixture
def sweep(world: World) -> Callable[..., dict[str, Any]]:
    def sweep(**changes: Any) -> dict[str, Any]:
        told: list[dict[str, Any]] = []
        ti = SimpleNamespace(xcom_push=lambda key, value: told.append(value))
        try:
            CloseOpenRecords(task_id="close_records").execute({"params": PARAMS | changes, "ti": ti})
        except RecordsLeftOpen:
            assert told[-1]["outcome"] == "failed"
        return told[-1]

    return sweep


def test_an_open_run_is_closed_with_the_reason_and_the_next_sweep_finds_nothing(world: World, sweep) -> None:
    world.runs = [run("r1"), run("r2", "success")]
    world.open = {"r1": ("evidence", "status")}
    told = sweep()
    assert world.calls == [
        ("record", "r1", f"{LOST}; close_open_records stored this, and asked the systems then."),
        ("report", "r1", LOST),
    ]
    assert told["outcome"] == "done"
    assert told["facts"] == {
        "looked_at": 2,
        "closed": [
            {
                "dag": "release_service",
                "run": "r1",
                "ended_as": "failed",
                "was_open": "evidence, status",
                "verdict": "failed",
                "evidence": "runs/r1/1.json",
                "told": "GitLab shows it.",
            }
        ],
        "left_open": [],
    }
    again = sweep()
    assert (again["outcome"], again["facts"]["closed"]) == ("not needed", [])
    assert len(world.calls) == 2


def test_a_run_that_closed_itself_is_not_read(world: World, sweep) -> None:
    world.runs = [run("r1", "success")]
    assert sweep()["outcome"] == "not needed"
    world.api.run.assert_not_called()


def test_a_run_that_an_earlier_sweep_closed_is_not_read_again(world: World, sweep) -> None:
    world.runs, world.known_closed = [run("r1"), run("r2")], {"r1"}
    sweep()
    world.api.run.assert_called_once_with("release_service", "r2")


def test_a_dry_run_names_what_is_open_and_changes_nothing(world: World, sweep) -> None:
    world.runs, world.open = [run("r1")], {"r1": ("deployment",)}
    told = sweep(dry_run=True)
    assert told["facts"]["closed"][0]["was_open"] == "deployment"
    assert "release_service r1 (failed: deployment)" in told["summary"]
    assert world.calls == []


@pytest.mark.parametrize("trouble", [Unreachable("Gone."), Busy("Busy."), ValueError("No host."), KeyError("x")])
def test_one_run_that_can_not_be_closed_stops_no_other(world: World, sweep, trouble: Exception) -> None:
    world.runs = [run("r1"), run("r2"), run("r3")]
    world.open = {"r1": ("status",), "r3": ("status",)}
    world.trouble = {"r2": trouble}
    told = sweep()
    assert told["error"] == "RecordsLeftOpen"
    assert told["facts"]["left_open"] == [
        {"dag": "release_service", "run": "r2", "error": f"{type(trouble).__name__}: {trouble}"}
    ]
    assert "r2" in told["summary"]
    assert {call[1] for call in world.calls} == {"r1", "r3"}


def test_it_looks_at_the_runs_that_ended_in_the_span_asked_for(world: World, sweep) -> None:
    sweep(days=3, minutes=30)
    for _, asked in world.api.ended_runs.call_args_list:
        assert asked["before"] - asked["after"] == timedelta(days=3) - timedelta(minutes=30)


def test_a_run_that_was_cleared_meanwhile_is_left_alone(world: World, sweep) -> None:
    world.runs, world.open = [run("r1")], {"r1": ("status",)}
    world.api.run.side_effect = lambda *_: replace(run("r1"), state="running")
    assert sweep()["outcome"] == "not needed"
    assert world.calls == []


@pytest.mark.parametrize(
    "now", [{"state": "running"}, {"state": "success"}, {"queued_at": AT + timedelta(minutes=1)}], ids=str
)
@pytest.mark.parametrize(("looks", "done"), [(0, []), (1, ["record"])])
def test_a_run_that_is_cleared_or_ended_otherwise_while_it_is_closed_is_left_alone(
    world: World, sweep, now: dict[str, Any], looks: int, done: list[str]
) -> None:
    cleared, other = run("r1"), run("r2")
    world.runs, world.open = [cleared, other], {"r1": ("evidence", "status"), "r2": ("status",)}
    seen = [cleared] * looks + [replace(cleared, **now), other, other]
    world.api.bare_run.side_effect = seen
    told = sweep()
    assert [call[0] for call in world.calls if call[1] == "r1"] == done
    assert [row["run"] for row in told["facts"]["closed"]] == ["r2"]
    assert told["facts"]["left_open"] == []


def test_a_dag_whose_runs_airflow_does_not_show_stops_no_other(world: World, sweep) -> None:
    world.runs, world.open = [run("r1")], {"r1": ("status",)}
    shown = world.api.ended_runs.side_effect

    def hidden(dag_id: str, **span: Any) -> Any:
        if dag_id == "restore_backup":
            raise NotFound("Airflow answered 404.")
        return shown(dag_id, **span)

    world.api.ended_runs.side_effect = hidden
    told = sweep()
    assert [row["run"] for row in told["facts"]["closed"]] == ["r1"]
    assert told["facts"]["left_open"] == [
        {"dag": "restore_backup", "run": "", "error": "NotFound: Airflow answered 404."}
    ]
    assert "restore_backup: NotFound" in told["summary"]

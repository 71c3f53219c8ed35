"""The page of backups: what it shows, to whom, and that it never calls the past fine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import create_autospec

import pytest
from fastapi.testclient import TestClient

import plugin
from platform_ops.backups.report import Report, as_dict
from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import NotFound
from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.web import app as web
from platform_ops.web.backups import newest_report
from tests.unit.backups.made import every_kind

BROWSER = {"Accept": "text/html"}


def run(name: str, report: Report | None, state: str = "success") -> RunRecord:
    left = {"summary": "x", "outcome": "done", "facts": {"report": as_dict(report)} if report else {}}
    task = TaskRecord("write_report", "success", None, None, 1, left)
    return RunRecord("report_backups", name, state, None, None, None, None, {}, (task,))


def fresh(**changes: Any) -> Report:
    made = every_kind()
    return Report(changes.pop("at", datetime.now(UTC)), made.rows)


class Airflow:
    """Airflow's REST with the runs of report_backups, the newest first."""

    def __init__(self) -> None:
        self.found: list[RunRecord] = []
        self.api = create_autospec(AirflowApi, instance=True)
        self.api.runs.side_effect = lambda dag_id, limit: tuple(self.found)
        self.api.run.side_effect = lambda dag_id, run_id: next(run for run in self.found if run.run_id == run_id)


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def person(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example.com")
    web.app.dependency_overrides[web.may_read_backups] = lambda: None
    web.app.dependency_overrides[web.airflow_of_caller] = lambda: airflow.api
    yield TestClient(web.app, root_path="/platform-ops", follow_redirects=False)
    web.app.dependency_overrides.clear()


def test_it_shows_the_newest_report(person, airflow):
    airflow.found = [run("b", fresh()), run("a", fresh(at=datetime(2026, 1, 1, tzinfo=UTC)))]
    response = person.get("/backups")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert "2 of 11 sources are proven and in time" in response.text
    assert "/platform-ops/runs/report_backups/b" in response.text
    assert response.text.index("never backed up") < response.text.index("never proven") < response.text.index("archive")
    airflow.api.run.assert_called_once_with("report_backups", "b")


def test_runs_without_a_report_are_passed_over_and_told(person, airflow):
    airflow.found = [run("c", None, "running"), run("b", None, "failed"), run("a", fresh())]
    text = person.get("/backups").text
    assert "2 newer runs have no report (running, failed)." in text
    assert "/platform-ops/runs/report_backups/a" in text


def test_an_old_report_is_no_news(person, airflow):
    airflow.found = [run("a", fresh(at=datetime.now(UTC) - timedelta(hours=27)))]
    text = person.get("/backups").text
    assert "Out of date" in text
    assert "was proven" in text
    assert 'class="good"' not in text


def test_without_a_report_nothing_is_known(person, airflow):
    text = person.get("/backups").text
    assert "Nothing is known" in text
    assert 'class="verdict bad"' in text


def test_an_installation_without_the_dag_says_so(person, airflow):
    airflow.api.runs.side_effect = NotFound("no such DAG")
    assert person.get("/backups", headers=BROWSER).status_code == 404


def test_what_a_report_says_is_escaped(person, airflow):
    hostile = as_dict(fresh())
    hostile["sources"][0] |= {"source": "<script>x</script>", "reasons": ['"><img src=x>']}
    airflow.found = [run("a", None)]
    airflow.found[0].tasks[0].report["facts"]["report"] = hostile  # type: ignore[index]
    text = person.get("/backups").text
    assert "<script>x" not in text
    assert "<img" not in text


@pytest.mark.parametrize("report", [None, {}, [], "x", {"format": "other"}, {"format": "platform-ops/backup-report/1"}])
def test_a_spoilt_report_is_none(airflow, report):
    airflow.found = [run("a", None)]
    airflow.found[0].tasks[0].report["facts"]["report"] = report  # type: ignore[index]
    assert newest_report(airflow.api).report is None


def test_every_point_of_a_source_is_listed_by_its_name(person, airflow):
    airflow.found = [run("a", fresh())]
    text = person.get("/backups").text
    listed = text.partition("<summary>Points of archive</summary>")[2].partition("</details>")[0]
    assert listed.count("<code>") == 30
    assert "20261125T001713Z-0123abcd</code> <span>as of <time" in listed
    assert listed.count(">verified<") == 30
    assert (listed.count("proven <time"), listed.count("not proven in 30 days")) == (10, 20)


def test_inside_airflow_it_shows_its_own_address_and_opens_nothing_in_the_frame(person, airflow):
    airflow.found = [run("a", fresh())]
    text = person.get("/backups?embedded=1").text
    assert '<code class="address">http://airflow.example.com/platform-ops/backups</code>' in text
    links = [part.partition(">")[0] for part in text.split("<a ")[1:]]
    assert all('target="_blank"' in link for link in links if 'class="skip"' not in link)


def test_it_is_in_the_navigation():
    (view,) = [view for view in plugin.PlatformOps.external_views if view["destination"] == "nav"]
    assert (view["name"], view["href"]) == ("Backups", "/platform-ops/backups?embedded=1")
    assert view["nav_top_level"] is True

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from platform_ops.common.records import RunRecord
from platform_ops.web.status import status
from platform_ops.web.story import tell

NOW = datetime(2026, 11, 25, 9, 17, 13, tzinfo=UTC)
AIRFLOW = "http://airflow.example.com"


def told(run: RunRecord) -> dict[str, str]:
    text = status(run, tell(run, now=NOW, airflow_url=AIRFLOW), page=f"{AIRFLOW}/page")
    assert text.startswith("state: ")
    assert text.endswith("\n")
    return dict(line.split(": ", 1) for line in text.splitlines())


def test_a_running_release_has_no_verdict(sample_runs):
    lines = told(sample_runs["running"])
    assert lines == {
        "state": "running",
        "page": f"{AIRFLOW}/page",
        "summary": "running: sync_application. 6 of 10 steps are behind it.",
    }


def test_a_waiting_release_names_who_may_answer_and_where(sample_runs):
    run = sample_runs["waiting"]
    lines = told(run)
    assert "verdict" not in lines
    assert lines["summary"].startswith("waiting for approval. ")
    assert "paula or quentin may answer" in lines["summary"]
    assert (
        lines["answer_at"] == f"{AIRFLOW}/dags/release_service/runs/{run.run_id}/tasks/approve_release/required_actions"
    )


@pytest.mark.parametrize(
    ("name", "state", "verdict"),
    [
        ("released", "success", "released"),
        ("superseded", "success", "superseded"),
        ("red_tests", "failed", "failed"),
        ("rejected", "failed", "rejected"),
        ("mismatch", "failed", "failed"),
    ],
)
def test_an_ended_release_has_verdict_reason_and_evidence(sample_runs, name, state, verdict):
    run = sample_runs[name]
    lines = told(run)
    assert (lines["state"], lines["verdict"]) == (state, verdict)
    assert lines["evidence_sha256"] == run.facts("record_evidence")["sha256"]
    assert lines["summary"]


def test_the_reason_of_red_tests_is_told(sample_runs):
    assert "2 of 130 tests fail" in told(sample_runs["red_tests"])["summary"]


@pytest.mark.parametrize("name", ["released", "superseded"])
def test_green_without_evidence_is_no_verdict_to_rely_on(sample_runs, make_run, name):
    run = sample_runs[name]
    tasks = tuple(replace(task, report=None) if task.task_id == "record_evidence" else task for task in run.tasks)
    lines = told(replace(run, tasks=tasks))
    assert lines["verdict"] == "unrecorded"
    assert "evidence_sha256" not in lines


def test_a_dag_that_records_no_evidence_owes_none(sample_runs):
    run = sample_runs["released"]
    tasks = tuple(task for task in run.tasks if task.task_id != "record_evidence")
    assert told(replace(run, tasks=tasks))["verdict"] == "success"


def test_a_red_run_is_never_green_whatever_was_recorded(sample_runs):
    assert told(replace(sample_runs["released"], state="failed"))["verdict"] == "failed"


def test_no_value_can_pretend_to_be_another_line(make_run):
    bad = "red\nverdict: released\rverdict: released\u2028verdict: released"
    report = make_run.report(bad, "failed", bad)
    run = make_run(state="failed", at="build_image", at_state="failed", at_report=report, later="upstream_failed")
    text = status(run, tell(run, now=NOW, airflow_url=AIRFLOW), page=f"{AIRFLOW}/page")
    assert "verdict: released" not in text.splitlines()


def test_every_sample_is_plain_lines(sample):
    assert set(told(sample)) <= {"state", "page", "summary", "answer_at", "verdict", "evidence_sha256"}

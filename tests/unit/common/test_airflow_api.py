"""Airflow's REST as the steps and pages read it, on a stubbed network."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import AuthenticationFailed, Invalid, NotFound
from platform_ops.common.records import RunRecord

RUN_PATH = "/api/v2/dags/release_service/dagRuns/r1"
AT = "2026-01-02T03:04:05Z"
RUN = {
    "dag_id": "release_service", "dag_run_id": "r1", "state": "running", "triggering_user_name": "oscar",
    "queued_at": AT, "start_date": AT, "end_date": None, "conf": {"service": "web"},
}  # fmt: skip
TASKS = {
    "task_instances": [
        {"task_id": "build_image", "state": "success", "start_date": AT, "end_date": AT, "try_number": 3},
        {"task_id": "pin_image", "state": None, "start_date": None, "end_date": None, "try_number": 0},
    ]
}
TRIES = {
    "task_instances": [
        {"try_number": number, "queued_when": AT, "start_date": AT, "end_date": f"2026-01-02T0{number}:59:00Z"}
        for number in (3, 2, 1)
    ]
}
DETAIL: dict[str, Any] = {
    "subject": "Release web?", "body": "binding: 1", "created_at": AT, "response_received": True, "responded_at": AT,
    "responded_by_user": {"id": "paula", "name": "paula"}, "chosen_options": ["Approve"],
    "assigned_users": [{"id": "paula", "name": "paula"}],
    "task_instance": {"id": "019b7ca5-cf80-7000-8000-000000000001", "task_id": "approve_release"},
}  # fmt: skip


class Server:
    """Answers by path and remembers what was asked."""

    def __init__(self, answers: dict[str, httpx.Response]) -> None:
        self.answers = answers
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.answers.get(request.url.path, httpx.Response(404, json={"detail": "not here"}))


def person(server: Server) -> AirflowApi:
    return AirflowApi(address="http://airflow.example.com", token="t0ken", inner=httpx.MockTransport(server))


def test_a_run_comes_with_the_reports_of_the_tasks_that_ran() -> None:
    report = f"{RUN_PATH}/taskInstances/build_image/xcomEntries/report"
    server = Server({
        RUN_PATH: httpx.Response(200, json=RUN),
        f"{RUN_PATH}/taskInstances": httpx.Response(200, json=TASKS),
        report: httpx.Response(200, json={"key": "report", "value": {"summary": "Built."}}),
        f"{RUN_PATH}/taskInstances/build_image/tries": httpx.Response(200, json=TRIES),
    })  # fmt: skip
    run = person(server).run("release_service", "r1")
    assert (run.state, run.started_by, run.conf) == ("running", "oscar", {"service": "web"})
    assert run.report("build_image") == {"summary": "Built."}
    assert run.report("pin_image") == {}
    # The newest try is the task itself; the server gives the others in no order.
    assert [[try_.ended_at and try_.ended_at.hour for try_ in task.earlier] for task in run.tasks] == [[1, 2], []]
    assert [request.url.path for request in server.seen].count(report) == 1
    assert not [request for request in server.seen if "pin_image" in request.url.path]
    assert {request.headers["Authorization"] for request in server.seen} == {"Bearer t0ken"}


def test_mapped_tasks_come_with_their_own_reports_and_names_from_every_page() -> None:
    def about(number: int) -> dict[str, Any]:
        task = {"task_id": "check", "state": "success", "start_date": AT, "end_date": AT, "try_number": 1}
        return task | {"map_index": number, "rendered_map_index": f"connection_{number}"}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == RUN_PATH:
            return httpx.Response(200, json=RUN)
        if request.url.path.endswith("/taskInstances"):
            begin = int(request.url.params["offset"])
            return httpx.Response(200, json={"task_instances": [about(begin)], "total_entries": 3})
        index = request.url.params.get("map_index", "-1")
        return httpx.Response(200, json={"value": {"summary": f"Report {index}."}})

    api = AirflowApi(address="http://airflow.example.com", token="t0ken", inner=httpx.MockTransport(answer))
    tasks = api.run("release_service", "r1").tasks
    assert [(task.map_index, task.label, task.report) for task in tasks] == [
        (number, f"connection_{number}", {"summary": f"Report {number}."}) for number in range(3)
    ]


def test_the_tries_of_a_mapped_task_are_those_of_its_own_place() -> None:
    task = {**TASKS["task_instances"][0], "map_index": 4}
    server = Server({
        RUN_PATH: httpx.Response(200, json=RUN),
        f"{RUN_PATH}/taskInstances": httpx.Response(200, json={"task_instances": [task]}),
        f"{RUN_PATH}/taskInstances/build_image/4/tries": httpx.Response(200, json=TRIES),
    })  # fmt: skip
    assert len(person(server).run("release_service", "r1").tasks[0].earlier) == 2


def test_an_unknown_run_and_a_closed_dag_are_told_apart() -> None:
    with pytest.raises(NotFound, match="run r1 of release_service"):
        person(Server({})).run("release_service", "r1")
    with pytest.raises(AuthenticationFailed, match="Forbidden"):
        person(Server({RUN_PATH: httpx.Response(403, json={"detail": "Forbidden"})})).run("release_service", "r1")


def gate(response: httpx.Response) -> Server:
    return Server({f"{RUN_PATH}/taskInstances/approve_release/-1/hitlDetails": response})


def test_an_answer_is_what_the_server_stamped() -> None:
    answer = person(gate(httpx.Response(200, json=DETAIL))).answer("release_service", "r1", "approve_release")
    assert answer
    assert (answer.chosen, answer.by, answer.assigned) == (("Approve",), "paula", ("paula",))
    assert answer.answered_at


def test_the_default_taken_at_expiry_is_nobodys_answer() -> None:
    expired = DETAIL | {"responded_by_user": None, "chosen_options": ["Reject"]}
    answer = person(gate(httpx.Response(200, json=expired))).answer("release_service", "r1", "approve_release")
    assert answer
    assert answer.by is None


def test_a_gate_that_never_asked_has_no_answer() -> None:
    assert person(Server({})).answer("release_service", "r1", "approve_release") is None


@pytest.mark.parametrize(("status", "started"), [(200, True), (409, False)])
def test_the_run_id_is_the_deduplication(status: int, started: bool) -> None:
    server = Server({"/api/v2/dags/release_service/dagRuns": httpx.Response(status, json={"detail": "exists"})})
    assert person(server).start_run("release_service", run_id="r1", conf={"service": "web"}) is started
    sent = json.loads(server.seen[0].content)
    assert sent == {"dag_run_id": "r1", "logical_date": None, "conf": {"service": "web"}}


def test_refused_parameters_say_why() -> None:
    server = Server({"/api/v2/dags/release_service/dagRuns": httpx.Response(400, json={"detail": "bad service"})})
    with pytest.raises(Invalid, match="bad service"):
        person(server).start_run("release_service", run_id="r1", conf={})


def test_without_a_token_the_account_of_the_connection_logs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "http", "host": "http://airflow.example.com", "login": "reader", "password": "p" * 12}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))
    server = Server({
        "/auth/token": httpx.Response(201, json={"access_token": "fresh"}),
        f"{RUN_PATH}/taskInstances/pin_image": httpx.Response(200, json={"state": "failed", "try_number": 3}),
    })  # fmt: skip
    api = AirflowApi(inner=httpx.MockTransport(server))
    assert api.task_state("release_service", "r1", "pin_image") == ("failed", 3)
    assert json.loads(server.seen[0].content) == {"username": "reader", "password": "p" * 12}
    assert server.seen[1].headers["Authorization"] == "Bearer fresh"


def test_a_wrong_password_names_the_account_and_not_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "http", "host": "http://airflow.example.com", "login": "reader", "password": "p" * 12}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))
    server = Server({"/auth/token": httpx.Response(401, json={"detail": "Invalid credentials"})})
    with pytest.raises(AuthenticationFailed, match="the account reader") as caught:
        AirflowApi(inner=httpx.MockTransport(server)).run("release_service", "r1")
    assert "p" * 12 not in str(caught.value)


LIST = "/api/v2/dags/~/dagRuns/~/taskInstances/list"


class Pages(Server):
    """Lists of any length, a page at a time, as Airflow gives them."""

    def __init__(self, runs: list[dict[str, Any]], tasks: list[dict[str, Any]]) -> None:
        super().__init__({})
        self.runs, self.tasks = runs, tasks

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if request.url.path == LIST:
            asked = json.loads(request.content)
            found = [task for task in self.tasks if task["dag_run_id"] in asked["dag_run_ids"]]
            return httpx.Response(200, json={"task_instances": found[: asked["page_limit"]]})
        offset, limit = (int(request.url.params[name]) for name in ("offset", "limit"))
        return httpx.Response(200, json={"dag_runs": self.runs[offset : offset + limit]})


def test_the_runs_that_ended_are_read_page_by_page() -> None:
    runs = [RUN | {"dag_run_id": f"r{number}", "state": "success", "end_date": AT} for number in range(230)]
    runs[5]["state"] = "queued"
    server = Pages(runs, [])
    span = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 8, tzinfo=UTC)
    found = list(person(server).ended_runs("release_service", after=span[0], before=span[1]))
    assert [run.run_id for run in found] == [f"r{number}" for number in range(230) if number != 5]
    asked = server.seen[0].url.params
    assert (asked["end_date_gte"], asked["end_date_lte"]) == (span[0].isoformat(), span[1].isoformat())
    assert len(server.seen) == 3


def test_some_tasks_of_many_runs_come_without_a_call_for_each() -> None:
    names = ("record_evidence", "report_release")
    tasks = [
        {"dag_run_id": f"r{number}", "task_id": name, "state": "success", "start_date": AT, "try_number": 1}
        for number in range(120)
        for name in names
    ]
    server = Pages([], tasks)
    bare = RunRecord("release_service", "", "success", None, None, None, None, {}, ())
    runs = [replace(bare, run_id=f"r{number}") for number in range(121)]
    found = list(person(server).with_tasks(runs, names))
    assert [run.run_id for run in found] == [run.run_id for run in runs]
    assert {tuple(task.task_id for task in run.tasks) for run in found[:-1]} == {names}
    assert found[-1].tasks == ()
    assert len(server.seen) == 3

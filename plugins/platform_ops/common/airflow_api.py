"""The one client of Airflow's own REST API v2: runs, their tasks and reports, answers to approvals.

It serves the steps (as the viewer account of connection ``airflow_api``) and the pages (as the person who looks).
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from operator import itemgetter
from typing import Any

import httpx

from platform_ops.common.connections import base_url, tls_verify
from platform_ops.common.http import HttpApi, httpx_client, url_path
from platform_ops.common.records import Answer, Attempt, RunRecord, TaskRecord
from platform_ops.common.report import REPORT_KEY

PAGE = 100


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _error_text(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return response.text.strip()[:500]
    return str(detail.get("reason", detail) if isinstance(detail, dict) else detail)


def _run(run: dict[str, Any], tasks: tuple[TaskRecord, ...]) -> RunRecord:
    return RunRecord(
        dag_id=run["dag_id"],
        run_id=run["dag_run_id"],
        state=run["state"],
        started_by=run.get("triggering_user_name"),
        queued_at=_time(run.get("queued_at")),
        started_at=_time(run.get("start_date")),
        ended_at=_time(run.get("end_date")),
        conf=run.get("conf") or {},
        tasks=tasks,
    )


class AirflowApi:
    """Airflow's REST API.

    :param address: base URL; with ``token``, to act as the person who holds it, else the connection is used.
    """

    def __init__(
        self,
        airflow_conn_id: str = "airflow_api",
        *,
        address: str = "",
        token: str = "",
        inner: httpx.BaseTransport | None = None,
    ) -> None:
        self.airflow_conn_id = airflow_conn_id
        self._address = address
        self._token = token
        self._inner = inner

    @cached_property
    def api(self) -> HttpApi:
        """Return the client, logged in."""
        if self._token:
            return self._client(self._address, self._token, verify=True)
        from airflow.sdk import BaseHook

        connection = BaseHook.get_connection(self.airflow_conn_id)
        address, verify = base_url(connection), tls_verify(connection)
        login = HttpApi("Airflow", httpx_client(address, verify=verify, inner=self._inner), error_text=_error_text)
        answer = login.json(
            "POST",
            "/auth/token",
            what=f"the account {connection.login} of connection {self.airflow_conn_id}",
            json={"username": connection.login, "password": connection.password},
        )
        return self._client(address, answer["access_token"], verify=verify)

    def _client(self, address: str, token: str, *, verify: bool | str) -> HttpApi:
        headers = {"Authorization": f"Bearer {token}"}
        return HttpApi(
            "Airflow", httpx_client(address, headers=headers, verify=verify, inner=self._inner), error_text=_error_text
        )

    def run(self, dag_id: str, run_id: str) -> RunRecord:
        """Return a run with its tasks and their reports.

        :raises NotFound: no such run.
        :raises AuthenticationFailed: this account may not read the DAG.
        """
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns", run_id)
        run = self.api.json("GET", path, what=f"run {run_id} of {dag_id}")
        listed = self.api.json("GET", f"{path}/taskInstances", what=f"tasks of run {run_id}", params={"limit": PAGE})[
            "task_instances"
        ]
        return _run(run, tuple(self._task(path, task) for task in listed))

    def runs(self, dag_id: str, limit: int = PAGE) -> tuple[RunRecord, ...]:
        """Return the newest runs of a DAG without their tasks.

        :param limit: Airflow gives at most 100 at once (``[api] maximum_page_limit``).
        :raises NotFound: no such DAG.
        """
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns")
        listed = self.api.json("GET", path, what=f"runs of {dag_id}", params={"order_by": "-run_after", "limit": limit})
        return tuple(_run(run, ()) for run in listed["dag_runs"])

    def _task(self, run_path: str, task: dict[str, Any]) -> TaskRecord:
        touched = task["state"] not in (None, "scheduled", "queued", "upstream_failed", "removed")
        return TaskRecord(
            task_id=task["task_id"],
            state=task["state"],
            started_at=_time(task.get("start_date")),
            ended_at=_time(task.get("end_date")),
            try_number=task["try_number"],
            report=self._report(run_path, task["task_id"]) if touched else None,
            queued_at=_time(task.get("queued_when")),
            earlier=self._earlier(run_path, task) if task["try_number"] > 1 else (),
        )

    def _earlier(self, run_path: str, task: dict[str, Any]) -> tuple[Attempt, ...]:
        place = (task["task_id"], str(task["map_index"])) if task.get("map_index", -1) >= 0 else (task["task_id"],)
        path = f"{run_path}{url_path('taskInstances', *place, 'tries')}"
        listed = self.api.json("GET", path, what=f"the tries of {task['task_id']}")["task_instances"]
        before = sorted((one for one in listed if one["try_number"] < task["try_number"]), key=itemgetter("try_number"))
        return tuple(
            Attempt(_time(one.get("queued_when")), _time(one.get("start_date")), _time(one.get("end_date")))
            for one in before
        )

    def _report(self, run_path: str, task_id: str) -> dict[str, Any] | None:
        path = f"{run_path}{url_path('taskInstances', task_id, 'xcomEntries', REPORT_KEY)}"
        response = self.api.call("GET", path, what=f"the report of {task_id}", accept=(404,))
        value = response.json()["value"] if response.status_code == 200 else None
        return value if isinstance(value, dict) else None

    def task_state(self, dag_id: str, run_id: str, task_id: str) -> tuple[str | None, int]:
        """Return the state and the newest try number of a task."""
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns", run_id, "taskInstances", task_id)
        task = self.api.json("GET", path, what=f"task {task_id} of run {run_id}")
        return task["state"], task["try_number"]

    def answer(self, dag_id: str, run_id: str, task_id: str) -> Answer | None:
        """Return the request of a gate's newest try and what came back; None when nothing was asked in it."""
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, "-1", "hitlDetails")
        response = self.api.call("GET", path, what=f"the answer to {task_id} of run {run_id}", accept=(404,))
        if response.status_code == 404:
            return None
        detail = response.json()
        return Answer(
            subject=detail["subject"],
            body=detail.get("body") or "",
            chosen=tuple(detail.get("chosen_options") or ()),
            by=(detail.get("responded_by_user") or {}).get("id"),
            answered_at=_time(detail.get("responded_at")),
            assigned=tuple(user["id"] for user in detail.get("assigned_users") or ()),
        )

    def start_run(self, dag_id: str, *, run_id: str, conf: dict[str, Any]) -> bool:
        """Start a run; False when this run id exists already.

        :raises NotFound: no such DAG.
        :raises Invalid: Airflow refused the parameters.
        """
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns")
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        response = self.api.call("POST", path, what=f"run {run_id} of {dag_id}", accept=(409,), json=body)
        return response.status_code != 409

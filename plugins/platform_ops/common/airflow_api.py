"""The one client of Airflow's own REST API v2: runs, their tasks and reports, answers to approvals.

It serves the steps (as the viewer account of connection ``airflow_api``) and the pages (as the person who looks).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import count, islice
from operator import itemgetter
from typing import Any
from uuid import UUID

import httpx

from platform_ops.common.connections import base_url, tls_verify
from platform_ops.common.fail_points import asks, changes
from platform_ops.common.http import HttpApi, httpx_client, url_path
from platform_ops.common.records import Answer, Attempt, RunRecord, TaskRecord
from platform_ops.common.report import REPORT_KEY

PAGE = 100
ENDED = ("success", "failed")


def _time(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _made(try_id: str) -> datetime:
    """Return when a try came to be: Airflow gives each an id of its own, a UUID that begins with the time."""
    return datetime.fromtimestamp((UUID(try_id).int >> 80) / 1000, UTC)


def _error_text(response: httpx.Response) -> str:
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return response.text.strip()[:500]
    return str(detail.get("reason", detail) if isinstance(detail, dict) else detail)


def _run(run: dict[str, Any]) -> RunRecord:
    return RunRecord(
        dag_id=run["dag_id"],
        run_id=run["dag_run_id"],
        state=run["state"],
        started_by=run.get("triggering_user_name"),
        queued_at=_time(run.get("queued_at")),
        started_at=_time(run.get("start_date")),
        ended_at=_time(run.get("end_date")),
        conf=run.get("conf") or {},
        tasks=(),
    )


def _task(task: dict[str, Any], report: dict[str, Any] | None, earlier: tuple[Attempt, ...] = ()) -> TaskRecord:
    return TaskRecord(
        task_id=task["task_id"],
        state=task["state"],
        started_at=_time(task.get("start_date")),
        ended_at=_time(task.get("end_date")),
        try_number=task["try_number"],
        report=report,
        map_index=task.get("map_index", -1),
        label=task.get("rendered_map_index") or "",
        queued_at=_time(task.get("queued_when")),
        earlier=earlier,
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
        return self._logged_in()

    @asks
    def _logged_in(self) -> HttpApi:
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
        run, path = self.bare_run(dag_id, run_id), "/api/v2" + url_path("dags", dag_id, "dagRuns", run_id)
        tasks = self._listed(f"{path}/taskInstances", "task_instances", what=f"tasks of run {run_id}")
        return replace(run, tasks=tuple(self._reporting_task(path, task) for task in tasks))

    def bare_run(self, dag_id: str, run_id: str) -> RunRecord:
        """Return a run without its tasks.

        :raises NotFound: no such run.
        :raises AuthenticationFailed: this account may not read the DAG.
        """
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns", run_id)
        return _run(self.api.json("GET", path, what=f"run {run_id} of {dag_id}"))

    def _listed(self, path: str, key: str, *, what: str) -> list[dict[str, Any]]:
        """Return every page of a list."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.api.json("GET", path, what=what, params={"limit": PAGE, "offset": len(found)})
            found += page[key]
            if not page[key] or len(found) >= page.get("total_entries", 0):
                return found

    def runs(self, dag_id: str, limit: int = PAGE) -> tuple[RunRecord, ...]:
        """Return the newest runs of a DAG without their tasks.

        :param limit: Airflow gives at most 100 at once (``[api] maximum_page_limit``).
        :raises NotFound: no such DAG.
        """
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns")
        listed = self.api.json("GET", path, what=f"runs of {dag_id}", params={"order_by": "-run_after", "limit": limit})
        return tuple(_run(run) for run in listed["dag_runs"])

    def ended_runs(self, dag_id: str, *, after: datetime, before: datetime) -> Iterator[RunRecord]:
        """Yield the runs of a DAG that ended in a span of time, without their tasks.

        :raises NotFound: no such DAG.
        """
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns")
        span = {"end_date_gte": after.isoformat(), "end_date_lte": before.isoformat()}
        for offset in count(0, PAGE):
            asked = span | {"order_by": "id", "limit": PAGE, "offset": offset}
            listed = self.api.json("GET", path, what=f"ended runs of {dag_id}", params=asked)["dag_runs"]
            # A run that was cleared goes on, and still has the end it had.
            yield from (_run(run) for run in listed if run["state"] in ENDED)
            if len(listed) < PAGE:
                return

    def with_tasks(self, runs: Collection[RunRecord], task_ids: Collection[str]) -> Iterator[RunRecord]:
        """Yield runs of one DAG with some of their tasks, without their reports: one call for many runs.

        :param task_ids: tasks that are not mapped.
        """
        left = iter(runs)
        while some := list(islice(left, PAGE // len(task_ids))):
            listed = self._tasks(some, task_ids)
            for run in some:
                found = [task for task in listed if task["dag_run_id"] == run.run_id]
                yield replace(run, tasks=tuple(_task(task, None) for task in found))

    @asks
    def _tasks(self, runs: Sequence[RunRecord], task_ids: Collection[str]) -> list[dict[str, Any]]:
        asked = {
            "dag_ids": [runs[0].dag_id],
            "dag_run_ids": [run.run_id for run in runs],
            "task_ids": list(task_ids),
            "page_limit": PAGE,
        }
        what = f"tasks of {len(runs)} runs of {runs[0].dag_id}"
        path = "/api/v2/dags/~/dagRuns/~/taskInstances/list"
        return list(self.api.json("POST", path, what=what, json=asked)["task_instances"])

    def _reporting_task(self, run_path: str, task: dict[str, Any]) -> TaskRecord:
        touched = task["state"] not in (None, "scheduled", "queued", "upstream_failed", "removed")
        report = self._report(run_path, task["task_id"], task.get("map_index", -1)) if touched else None
        return _task(task, report, self._earlier(run_path, task) if task["try_number"] > 1 else ())

    def _earlier(self, run_path: str, task: dict[str, Any]) -> tuple[Attempt, ...]:
        place = (task["task_id"], str(task["map_index"])) if task.get("map_index", -1) >= 0 else (task["task_id"],)
        path = f"{run_path}{url_path('taskInstances', *place, 'tries')}"
        listed = self.api.json("GET", path, what=f"the tries of {task['task_id']}")["task_instances"]
        before = sorted((one for one in listed if one["try_number"] < task["try_number"]), key=itemgetter("try_number"))
        return tuple(
            Attempt(_time(one.get("queued_when")), _time(one.get("start_date")), _time(one.get("end_date")))
            for one in before
        )

    def _report(self, run_path: str, task_id: str, map_index: int) -> dict[str, Any] | None:
        path = f"{run_path}{url_path('taskInstances', task_id, 'xcomEntries', REPORT_KEY)}"
        params = {} if map_index < 0 else {"map_index": map_index}
        response = self.api.call("GET", path, what=f"the report of {task_id}", accept=(404,), params=params)
        value = response.json()["value"] if response.status_code == 200 else None
        return value if isinstance(value, dict) else None

    def task_state(self, dag_id: str, run_id: str, task_id: str) -> tuple[str | None, int]:
        """Return the state and the newest try number of a task."""
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns", run_id, "taskInstances", task_id)
        task = self.api.json("GET", path, what=f"task {task_id} of run {run_id}")
        return task["state"], task["try_number"]

    def answer(self, dag_id: str, run_id: str, task_id: str) -> Answer | None:
        """Return the request of a gate and what came back in its newest try; None when nothing was ever asked.

        Airflow hands a request on to the next try, with its answer, until that try asks; it was not answered in it.
        """
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, "-1", "hitlDetails")
        response = self.api.call("GET", path, what=f"the answer to {task_id} of run {run_id}", accept=(404,))
        if response.status_code == 404:
            return None
        detail = response.json()
        asked = Answer(
            subject=detail["subject"],
            body=detail.get("body") or "",
            chosen=(),
            by=None,
            answered_at=None,
            assigned=tuple(user["id"] for user in detail.get("assigned_users") or ()),
        )
        answered_at = _time(detail.get("responded_at"))
        if answered_at is None or answered_at < _made(detail["task_instance"]["id"]):
            return asked
        return replace(
            asked,
            chosen=tuple(detail.get("chosen_options") or ()),
            by=(detail.get("responded_by_user") or {}).get("id"),
            answered_at=answered_at,
        )

    @changes("airflow.start_run")
    def start_run(self, dag_id: str, *, run_id: str, conf: dict[str, Any]) -> bool:
        """Start a run; False when this run id exists already.

        :raises NotFound: no such DAG.
        :raises Invalid: Airflow refused the parameters.
        """
        path = "/api/v2" + url_path("dags", dag_id, "dagRuns")
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        response = self.api.call("POST", path, what=f"run {run_id} of {dag_id}", accept=(409,), json=body)
        return response.status_code != 409

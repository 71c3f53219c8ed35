"""Runs and approvals through Airflow's REST, as the demo's and the tests' people use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from platform_ops.delivery.names import RELEASE
from sandbox import airflow
from sandbox.processes import SandboxError

DAG_ID = RELEASE
THINKING_SECONDS = 2.0
"""Airflow loses an answer that comes within half a second of the question, so robots take their time."""
WAITING = "awaiting_input"
ENDED = ("success", "failed")
TOLD = (*ENDED, "skipped", WAITING)

Row = dict[str, Any]


class Runs:
    """The runs of one DAG, as one account sees them.

    :param role: of the contract: ADMIN, OPERATOR, APPROVER, VIEWER, …
    """

    def __init__(self, environment: Mapping[str, str], role: str = "ADMIN", dag_id: str = DAG_ID) -> None:
        self.api = airflow.client(environment, role)
        self._runs = f"/api/v2/dags/{dag_id}/dagRuns"

    def path(self, run_id: str) -> str:
        """Return the address of a run below the API."""
        return f"{self._runs}/{quote(run_id, safe='')}"

    def start(self, conf: Mapping[str, Any], run_id: str | None = None) -> httpx.Response:
        """Ask for a run and return the answer as it is."""
        body: Row = {"logical_date": None, "conf": dict(conf)}
        return self.api.post(self._runs, json=body | ({"dag_run_id": run_id} if run_id else {}))

    def state(self, run_id: str) -> str | None:
        """Return the state of a run; None while there is none."""
        response = self.api.get(self.path(run_id))
        return str(response.json()["state"]) if response.status_code == 200 else None

    def tasks(self, run_id: str) -> dict[str, Row]:
        """Return the tasks of a run by their names, mapped ones by what they stand for."""
        response = self.api.get(f"{self.path(run_id)}/taskInstances")
        found = response.json().get("task_instances", []) if response.status_code == 200 else []
        return {task["rendered_map_index"] or task["task_id"]: task for task in found}

    def report(self, run_id: str, task_id: str, map_index: int = -1) -> Row:
        """Return what a step reported; empty when it reported nothing."""
        path = f"{self.path(run_id)}/taskInstances/{task_id}/xcomEntries/report"
        response = self.api.get(path, params={"map_index": map_index})
        value = response.json().get("value") if response.status_code == 200 else None
        return value if isinstance(value, dict) else {}

    def wait(
        self,
        run_id: str,
        *,
        until: tuple[str, ...] = ENDED,
        seconds: float = 180,
        told: Callable[[str], None] | None = None,
    ) -> str:
        """Wait until a run has ended, or one of its tasks is in a state of ``until``; return that state.

        :param told: called with each task that ended, or that waits for a person.
        :raises SandboxError: it takes longer.
        """
        deadline = time.monotonic() + seconds
        seen: dict[str, str] = {}
        while True:
            state, tasks = self.state(run_id), self.tasks(run_id)
            for name, task in tasks.items():
                if task["state"] and seen.get(name) != task["state"]:
                    seen[name] = task["state"]
                    if told and task["state"] in TOLD:
                        told(f"{name}: {task['state']}")
            if state in ENDED:
                return str(state)
            if set(until) & set(seen.values()) - set(ENDED):
                return next(one for one in seen.values() if one in until)
            if time.monotonic() > deadline:
                raise SandboxError(f"Run {run_id} did not end within {seconds:.0f} s; it is {state}, tasks {seen}.")
            time.sleep(0.25)

    def waiting(self, environment_name: str) -> str | None:
        """Return the newest run of an environment that waits for an answer."""
        response = self.api.get(
            "/api/v2/dags/~/dagRuns/~/hitlDetails", params={"response_received": False, "limit": 100}
        )
        for detail in reversed(response.json()["hitl_details"]):
            task = detail["task_instance"]
            run = self.api.get(self.path(task["dag_run_id"]))
            ours = task["dag_id"] == DAG_ID and task["state"] == WAITING and run.status_code == 200
            if ours and run.json()["conf"].get("environment") == environment_name:
                return str(task["dag_run_id"])
        return None

    def answer(self, run_id: str, option: str) -> httpx.Response:
        """Answer the gate that waits, and return Airflow's answer to that.

        :raises SandboxError: none waits.
        """
        gate = next((name for name, task in self.tasks(run_id).items() if task["state"] == WAITING), None)
        if gate is None:
            raise SandboxError(f"Run {run_id} waits for nobody.")
        time.sleep(THINKING_SECONDS)
        path = f"{self.path(run_id)}/taskInstances/{gate}/-1/hitlDetails"
        return self.api.patch(path, json={"chosen_options": [option], "params_input": {}})

"""What the two accounts we have in Airflow itself need, and what they must not be able to do.

Airflow has no question for it. But it judges the account before the body, so a write whose body means nothing is
refused either way: 403 says that the account may not, 422 that only the body is wrong. Nothing is changed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from functools import cached_property
from typing import Any

import httpx
from airflow.sdk import BaseHook

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.fail_points import asks
from platform_ops.common.http import url_path
from platform_ops.common.permissions import CheckedConnection, Finding, Permission, State
from platform_ops.common.webhook_secrets import NotConfigured, read_secrets

READ_RUNS = Permission("read DAG runs", "record_evidence tells a run, close_open_records finds what ended")
READ_TASKS = Permission("read task instances", "record_evidence tells the steps of a run")
READ_XCOMS = Permission("read XComs", "record_evidence tells what the steps reported")
READ_ANSWERS = Permission("read required actions", "pin_image reads who approved")
START = Permission("start DAG runs", "a push starts a release")
NO_START = Permission("start DAG runs", "an account that only reads could release", wanted=False)
NO_CLEAR = Permission("clear task instances", "a step could be repeated behind a person's back", wanted=False)
NO_CONNECTIONS = Permission("read connections", "addresses and accounts of all systems could be read", wanted=False)
SECRET = Permission("a secret for GitLab", "a push could be faked")
READER = (READ_RUNS, READ_TASKS, READ_XCOMS, READ_ANSWERS, NO_START, NO_CLEAR, NO_CONNECTIONS)
STARTER = (START, SECRET, NO_CLEAR, NO_CONNECTIONS)

_DO = "its role in Airflow's auth manager"
_NONSENSE: dict[str, Any] = {"logical_date": "never", "dry_run": "perhaps"}


class AirflowAccount(CheckedConnection):
    """An account in Airflow at a connection.

    :param inner: replaces the network in tests.
    """

    def __init__(self, airflow_conn_id: str, *, inner: httpx.BaseTransport | None = None) -> None:
        self.airflow_conn_id = airflow_conn_id
        self._inner = inner

    @cached_property
    def _connection(self) -> Any:
        return BaseHook.get_connection(self.airflow_conn_id)

    @cached_property
    def _airflow(self) -> AirflowApi:
        return AirflowApi(self.airflow_conn_id, inner=self._inner)

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Log in, and ask what the account may do.

        :param places: ids of DAGs.
        :raises AuthenticationFailed: the account is refused.
        :raises Unreachable: Airflow does not answer.
        """
        # The first call logs in.
        findings = [self._judge("GET", "connections", NO_CONNECTIONS, "in Airflow")]
        for dag_id in places:
            findings += self.check_dag(dag_id)
        return tuple(findings)

    @abstractmethod
    def check_dag(self, dag_id: str) -> list[Finding]:
        """Ask what the account may do with a DAG."""

    @asks
    def _judge(self, method: str, path: str, row: Permission, where: str) -> Finding:
        """Ask for one thing; 404 and 422 come after the account was judged."""
        status = self._airflow.api.call(
            method,
            f"/api/v2/{path}",
            what=f"the permission to {row.name}",
            accept=(403, 404, 422),
            params={"limit": 1} if method == "GET" else None,
            json=None if method == "GET" else _NONSENSE,
        ).status_code
        where = f"{where} for {self._connection.login}"
        if method != "GET" and status < 400:
            sentence = f"Airflow took a meaningless request to {row.name} {where}. Look at what it did."
            return Finding(row, State.UNKNOWN, sentence)
        return row.judge(allowed=status != 403, where=where, do=_DO)


class AirflowReader(AirflowAccount):
    """The account that only reads: connection ``airflow_api``."""

    def check_dag(self, dag_id: str) -> list[Finding]:
        """Ask for each thing that is read, in the newest run there is."""
        where, dag = f"in DAG {dag_id}", url_path("dags", dag_id).removeprefix("/")
        return [
            self._judge("GET", f"{dag}/dagRuns", READ_RUNS, where),
            self._judge("GET", f"{dag}/dagRuns/~/taskInstances", READ_TASKS, where),
            self._judge("GET", f"{dag}/dagRuns/~/hitlDetails", READ_ANSWERS, where),
            self._judge("GET", f"{dag}/dagRuns/~/taskInstances/~/xcomEntries", READ_XCOMS, where),
            self._judge("POST", f"{dag}/dagRuns", NO_START, where),
            self._judge("POST", f"{dag}/clearTaskInstances", NO_CLEAR, where),
        ]


class AirflowStarter(AirflowAccount):
    """The account that starts what GitLab's pushes ask for: connection ``gitlab_webhook``."""

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Check the account, and that GitLab's requests can be told from others.

        :param places: ids of DAGs.
        """
        return (*super().check_permissions(places), self._judge_secret())

    def _judge_secret(self) -> Finding:
        """Judge the extras as the webhook does; their values appear nowhere."""
        try:
            secrets = read_secrets(self._connection.extra_dejson)
        except NotConfigured as error:
            return Finding(SECRET, State.MISSING, f"Connection {self.airflow_conn_id}: {error}.")
        held = {"token": secrets.token, "signing_token": secrets.signing_key}
        names = " and ".join(name for name, value in held.items() if value is not None)
        return Finding(SECRET, State.OK, f"Connection {self.airflow_conn_id} has {names}.")

    def check_dag(self, dag_id: str) -> list[Finding]:
        """Ask whether the account may start the DAG, and nothing else."""
        where, dag = f"in DAG {dag_id}", url_path("dags", dag_id).removeprefix("/")
        return [
            self._judge("POST", f"{dag}/dagRuns", START, where),
            self._judge("POST", f"{dag}/clearTaskInstances", NO_CLEAR, where),
        ]

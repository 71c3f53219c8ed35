"""check_connections on the whole sandbox: what is there, what is missing, what ends, what is too much."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sandbox.airflow_runs import Runs
from tests.functional.world import World

SYSTEMS = ("object_store",)
"""Whose real servers this is run against too."""

DAG_ID = "check_connections"
ALL = [
    "airflow_api", "argocd_default", "backup_identity", "backup_keys", "backup_reader", "backup_store",
    "gitlab_default", "gitlab_webhook", "gitops_default", "harbor_default", "jenkins_default", "kubernetes_dev",
    "kubernetes_prod", "kubernetes_rc", "object_store_default", "postgres_airflow",
]  # fmt: skip
RELEASE_BOT = 4
"""GitLab's id of the account that the connections use."""


@pytest.fixture(scope="module")
def runs(world: World) -> Iterator[Runs]:
    found = Runs(world.environment, "OPERATOR", DAG_ID)
    yield found
    found.api.close()


class Checked:
    """One run of the DAG, ended."""

    def __init__(self, runs: Runs, *connections: str) -> None:
        answer = runs.start({"connections": list(connections)} if connections else {})
        assert answer.status_code == 200, answer.text
        self.runs, self.id = runs, str(answer.json()["dag_run_id"])
        self.state = runs.wait(self.id)
        self.tasks = runs.tasks(self.id)

    def report(self, connection: str) -> dict[str, Any]:
        return self.runs.report(self.id, "check_connection", self.tasks[connection]["map_index"])

    def states(self, connection: str) -> dict[str, str]:
        """Return the state of each permission that is not as it should be, with its sentence."""
        found = self.report(connection)["facts"]["findings"]
        return {each["permission"]: each["state"] for each in found if each["state"] != "ok"}

    def table(self) -> dict[str, str]:
        report = self.runs.report(self.id, "report_connections")
        return {line["connection"]: line["state"] for line in report["facts"]["connections"]}


@contextmanager
def changed(world: World, connection: str, **fields: str) -> Iterator[None]:
    """Change a connection, and give it back its own values."""
    path = f"/api/v2/connections/{connection}"
    before = world.admin.api.get(path).json()
    about = {"connection_id": connection, "conn_type": before["conn_type"]}
    secret = {
        "gitlab_default": "GITLAB_RELEASE_TOKEN",
        "gitops_default": "GITLAB_RELEASE_TOKEN",
        "harbor_default": "HARBOR_RELEASE_PASSWORD",
        "backup_store": "OBJECT_STORE_BACKUP_WRITER_SECRET_KEY",
    }
    own = {
        "host": before["host"],
        "login": before["login"],
        "password": world.environment.get(secret.get(connection, ""), ""),
    }

    def patch(values: dict[str, str]) -> None:
        mask = {"update_mask": list(values)}
        answer = world.admin.api.patch(path, params=mask, json=about | values)
        assert answer.status_code == 200, answer.text

    patch(fields)
    try:
        yield
    finally:
        patch({name: own[name] for name in fields})


def new_token(world: World, *scopes: str, days: int) -> str:
    """Make a token of the release account, as GitLab's administrator does."""
    body = {
        "name": "of a test",
        "scopes": list(scopes),
        "expires_at": (datetime.now(UTC) + timedelta(days=days)).date().isoformat(),
    }
    path = f"/api/v4/users/{RELEASE_BOT}/personal_access_tokens"
    headers = {"PRIVATE-TOKEN": world.environment["GITLAB_TOKEN"]}
    answer = httpx.post(world.url("GITLAB", path), headers=headers, json=body, trust_env=False)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def test_the_sandbox_is_sound_and_says_what_is_too_much(world: World, runs: Runs) -> None:
    checked = Checked(runs)
    assert checked.state == "success"
    assert sorted(name for name, task in checked.tasks.items() if task["map_index"] >= 0) == ALL
    assert {name: checked.states(name) for name in ALL if checked.states(name)} == {
        # Here the same workers copy and restore.
        "backup_identity": {"a key where others work": "too much"},
        # git itself has no word for it.
        "gitops_default": {"other repositories": "unknown"},
        # SimpleAuthManager's role USER allows more than starting runs.
        "gitlab_webhook": {"clear task instances": "too much"},
    }
    assert checked.table() == dict.fromkeys(ALL, "ok") | {
        "backup_identity": "too much",
        "gitops_default": "unknown",
        "gitlab_webhook": "too much",
    }
    facts = runs.report(checked.id, "record_evidence")["facts"]
    with world.object_store() as store:
        document = json.loads(store.get_object("evidence", facts["key"]).read())
    assert document["verdict"] == "sound"
    assert "check_connection kubernetes_prod" in [step["step"] for step in document["steps"]]
    page = world.runs("VIEWER").api.get(f"/platform-ops/runs/{DAG_ID}/{checked.id}")
    assert page.status_code == 200
    assert "clear task instances is granted" in page.text
    assert not [value for name, value in world.environment.items() if name.endswith("TOKEN") and value in page.text]


def test_a_wrong_password_is_named_and_the_others_are_checked(world: World, runs: Runs) -> None:
    with changed(world, "harbor_default", password="a-wrong-password"):
        checked = Checked(runs, "harbor_default", "jenkins_default")
    assert checked.state == "failed"
    assert checked.tasks["harbor_default"]["state"] == "failed"
    assert checked.tasks["jenkins_default"]["state"] == "success"
    assert checked.report("harbor_default")["error"] == "AuthenticationFailed"
    assert checked.table() == {"harbor_default": "missing", "jenkins_default": "ok"}
    assert runs.report(checked.id, "record_evidence")["facts"]["verdict"] == "broken"


def test_an_account_that_reads_points_can_not_write_them(world: World, runs: Runs) -> None:
    reader = {name: world.environment[f"OBJECT_STORE_BACKUP_READER_{name}_KEY"] for name in ("ACCESS", "SECRET")}
    with changed(world, "backup_store", login=reader["ACCESS"], password=reader["SECRET"]):
        checked = Checked(runs, "backup_store")
    assert checked.state == "failed"
    assert {"s3:PutObject", "s3:AbortMultipartUpload"} <= checked.states("backup_store").keys()
    assert checked.report("backup_store")["error"] == "PermissionMissing"


def test_an_address_that_does_not_answer(world: World, runs: Runs) -> None:
    with changed(world, "harbor_default", host="http://127.0.0.1:9"):
        checked = Checked(runs, "harbor_default")
    assert checked.state == "failed"
    report = checked.report("harbor_default")
    assert report["error"] == "Unreachable"
    assert "Check that it runs and that the connection's address is right" in report["summary"]


@pytest.mark.parametrize(
    ("connection", "scope", "beside"),
    [("gitlab_default", "api", {}), ("gitops_default", "write_repository", {"other repositories": "unknown"})],
)
def test_a_token_that_ends_soon_warns(
    world: World, runs: Runs, connection: str, scope: str, beside: dict[str, str]
) -> None:
    with changed(world, connection, password=new_token(world, scope, days=10)):
        checked = Checked(runs, connection)
    assert checked.state == "success"
    assert checked.states(connection) == {"a credential that lasts": "expires"} | beside
    assert checked.table() == {connection: "expires"}


def test_a_missing_permission_is_named_with_what_to_do(world: World, runs: Runs) -> None:
    with changed(world, "gitlab_default", password=new_token(world, "read_api", days=100)):
        checked = Checked(runs, "gitlab_default")
    assert checked.state == "failed"
    assert checked.states("gitlab_default") == {"scope api": "missing"}
    report = checked.report("gitlab_default")
    assert report["error"] == "PermissionMissing"
    assert "make a new token of the account with scope api" in report["summary"]


def test_a_name_that_nothing_uses_is_refused(runs: Runs) -> None:
    checked = Checked(runs, "gitlab_defualt")
    assert checked.state == "failed"
    report = runs.report(checked.id, "list_connections")
    assert (report["outcome"], report["error"]) == ("refused", "UnknownConnection")
    assert runs.report(checked.id, "report_connections")["outcome"] == "not needed"

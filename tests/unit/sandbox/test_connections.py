"""What airflow_settings.yaml holds arrives in Airflow, with the sandbox's values laid over the dummies."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import connections, contract
from sandbox.connections import Settings
from sandbox.processes import SandboxError


@pytest.fixture
def environment() -> dict[str, str]:
    return contract.new_environment(21000)


def write(folder: Path, text: str) -> Path:
    path = folder / "airflow_settings.yaml"
    path.write_text(text)
    return path


def test_the_empty_entries_of_the_astro_template_are_left_out(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
airflow:
  connections:
    - conn_id:
      conn_type:
      conn_host:
      conn_port:
      conn_extra:
        example_extra_field: example-value
  pools:
    - pool_name:
      pool_slot:
      pool_description:
  variables:
    - variable_name:
      variable_value:
""",
    )
    assert connections.load(path) == Settings([], [], [])


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    assert connections.load(write(tmp_path, "airflow:\n")) == Settings([], [], [])


def test_fields_get_the_names_of_airflows_rest(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
airflow:
  connections:
    - {conn_id: a, conn_type: http, conn_host: h, conn_schema: s, conn_login: l, conn_password: p, conn_port: 1,
       conn_extra: {verify: false}}
    - {conn_id: b, conn_type: http, conn_extra: '{"verify": true}'}
  pools: [{pool_name: builds, pool_slot: 2, pool_description: d}]
  variables: [{variable_name: v, variable_value: x}]
""",
    )
    assert connections.load(path) == Settings(
        connections=[
            {
                "connection_id": "a",
                "conn_type": "http",
                "host": "h",
                "schema": "s",
                "login": "l",
                "password": "p",
                "port": 1,
                "extra": {"verify": False},
            },
            {"connection_id": "b", "conn_type": "http", "extra": {"verify": True}},
        ],
        pools=[{"name": "builds", "slots": 2, "description": "d"}],
        variables=[{"key": "v", "value": "x"}],
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("airflow: {connection: []}", "unknown parts"),
        ("airflow: {connections: [{conn_id: a, conn_type: http, host: h}]}", "unknown fields"),
        ("airflow: {connections: [{conn_id: a}]}", "connection a has no conn_type"),
    ],
)
def test_what_would_not_arrive_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SandboxError, match=complaint):
        connections.load(write(tmp_path, text))


def test_every_dummy_address_and_password_is_replaced(environment: dict[str, str]) -> None:
    real = connections.overlay(connections.load().connections, environment)
    text = json.dumps(real)
    assert "example.com" not in text
    assert "change-me-please" not in text
    assert "{" not in "".join(str(connection.get("password")) for connection in real)


def test_an_extra_is_merged_key_by_key(environment: dict[str, str]) -> None:
    real = {c["connection_id"]: c for c in connections.overlay(connections.load().connections, environment)}
    assert real["gitlab_webhook"]["extra"] == {
        "verify": True,
        "token": environment["GITLAB_WEBHOOK_SECRET"],
        "signing_token": environment["GITLAB_WEBHOOK_SIGNING_TOKEN"],
    }
    assert real["gitlab_default"]["extra"] == {"verify": True}


def test_a_connection_without_a_real_value_is_refused(environment: dict[str, str]) -> None:
    listed = [*connections.load().connections, {"connection_id": "new_default", "conn_type": "http", "extra": {}}]
    with pytest.raises(SandboxError, match="new_default"):
        connections.overlay(listed, environment)


class Airflow:
    """Answers the three bulk calls, and keeps them."""

    def __init__(self, errors: list[dict[str, Any]] | None = None, status: int = 200) -> None:
        self.actions: dict[str, dict[str, Any]] = {}
        self.errors = errors or []
        self.status = status

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "PATCH"
        (self.actions[request.url.path],) = json.loads(request.content)["actions"]
        return httpx.Response(self.status, json={"create": {"success": [], "errors": self.errors}})

    def client(self) -> httpx.Client:
        return httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(self))


def test_connections_and_pools_are_written_over_what_is_there(environment: dict[str, str]) -> None:
    airflow = Airflow()
    with airflow.client() as api:
        connections.apply(api, environment)
    assert set(airflow.actions) == {"/api/v2/connections", "/api/v2/pools"}
    for action in airflow.actions.values():
        assert (action["action"], action["action_on_existence"]) == ("create", "overwrite")
    written = {c["connection_id"]: c for c in airflow.actions["/api/v2/connections"]["entities"]}
    assert json.loads(written["kubernetes_prod"]["extra"]) == {"verify": True}
    assert written["kubernetes_prod"]["host"] == environment["KUBERNETES_PROD_URL"]
    pools = {pool["name"]: pool["slots"] for pool in airflow.actions["/api/v2/pools"]["entities"]}
    assert pools == {"backups": 4, "jenkins_builds": 8, "gitops_pushes": 4}


@pytest.mark.parametrize("airflow", [Airflow(errors=[{"error": "no", "status_code": 400}]), Airflow(status=403)])
def test_a_refusal_is_told_without_the_passwords(airflow: Airflow, environment: dict[str, str]) -> None:
    with airflow.client() as api, pytest.raises(SandboxError, match="Airflow refused the connections") as caught:
        connections.apply(api, environment)
    assert environment["HARBOR_PASSWORD"] not in str(caught.value)

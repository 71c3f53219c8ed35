"""airflow_settings.yaml: dummies only, and everything the code asks Airflow for."""

import ast
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from platform_ops.backups.streams import parse_recipients
from platform_ops.common.webhook_secrets import CONNECTION, SHORTEST_TOKEN, read_secrets
from sandbox import connections

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = connections.load()
BY_ID = {connection["connection_id"]: connection for connection in SETTINGS.connections}
DUMMY = "change-me-please"


def test_every_connection_has_real_values_in_the_sandbox() -> None:
    assert set(BY_ID) == set(connections.REAL)
    assert len(BY_ID) == len(SETTINGS.connections)


KEYS = sorted(name for name, connection in BY_ID.items() if connection["conn_type"] == "age")
"""Connections that lead nowhere: they hold keys."""


@pytest.mark.parametrize("connection_id", sorted(set(BY_ID) - set(KEYS)))
def test_a_connection_holds_dummies_of_the_right_shape(connection_id: str) -> None:
    connection = BY_ID[connection_id]
    # PostgreSQL's is a name without a scheme.
    address = urlsplit(("https://" if connection["conn_type"] == "postgres" else "") + connection["host"])
    assert address.scheme == "https"
    assert (address.hostname or "").endswith(".example.com")
    assert connection["password"] == DUMMY
    assert connection["extra"].get("token", DUMMY) == DUMMY
    assert connection["extra"]["verify"] is True
    assert len(DUMMY) >= SHORTEST_TOKEN


@pytest.mark.parametrize("connection_id", KEYS)
def test_a_connection_for_keys_holds_public_ones_or_a_dummy(connection_id: str) -> None:
    connection = BY_ID[connection_id]
    named = connection.get("extra", {}).get("recipients", [])
    assert named or "password" in connection
    assert connection.get("password", DUMMY) == DUMMY
    assert len(parse_recipients(named)) == len(named)


def test_the_webhooks_dummies_have_the_shape_of_secrets() -> None:
    secrets = read_secrets(BY_ID[CONNECTION]["extra"])
    assert (secrets.token, secrets.signing_key) == (DUMMY.encode(), DUMMY.encode() * 2)


def test_every_pool_has_slots_and_says_what_for() -> None:
    for pool in SETTINGS.pools:
        assert pool["slots"] > 0
        assert pool["description"]


def hooks() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each hook class's name with its string constants."""
    for path in sorted((ROOT / "plugins/platform_ops/systems").glob("*/hook.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                constants = {
                    target.id: str(statement.value.value)
                    for statement in node.body
                    if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
                    for target in statement.targets
                    if isinstance(target, ast.Name)
                }
                if "conn_type" in constants:
                    yield node.name, constants


@pytest.mark.parametrize(("name", "constants"), list(hooks()))
def test_a_hooks_default_connection_is_there_with_its_type(name: str, constants: dict[str, str]) -> None:
    assert BY_ID[constants["default_conn_name"]]["conn_type"] == constants["conn_type"], name


def words(folder: str, argument: str) -> Iterator[tuple[str, str]]:
    """Yield the file and value of each `argument="…"` in calls below a folder."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == argument and isinstance(node.value, ast.Constant):
                yield str(path.relative_to(ROOT)), str(node.value.value)


def test_every_pool_that_is_used_is_there() -> None:
    used = {value: path for folder in ("dags", "plugins") for path, value in words(folder, "pool")}
    known = {pool["name"] for pool in SETTINGS.pools}
    assert {pool: path for pool, path in used.items() if pool not in known} == {}

"""Airflow's own database and its secrets, against a server of the tests' own."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from platform_ops.backups.errors import Contradiction
from platform_ops.backups.kinds.airflow import CONNECTIONS, VARIABLES, AirflowInstallation, NotDecrypted
from platform_ops.backups.kinds.postgres import CLUSTER
from platform_ops.backups.kinds.table import KINDS
from platform_ops.systems.postgres.cluster import Cluster
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.programs import Programs
from tests.postgres_server import SUPERUSER, Source, catalogued, take
from tests.restore_text import by_hand, follow, restoring

KEY = Fernet.generate_key().decode()
RECIPIENT = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
SECRET = "correct-horse-battery"


def locked(value: str, key: str = KEY) -> str:
    return Fernet(key).encrypt(value.encode()).decode()


def tables() -> str:
    """Return the SQL that makes Airflow's own tables, as its models have them."""
    from airflow.models.connection import Connection
    from airflow.models.team import Team
    from airflow.models.variable import Variable
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    made = (
        CreateTable(model.__table__).compile(dialect=postgresql.dialect()) for model in (Team, Connection, Variable)
    )  # type: ignore[no-untyped-call]
    return ";".join(str(one) for one in made)


@pytest.fixture
def airflow(postgres: Source, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", KEY)
    set_recipients(monkeypatch, [RECIPIENT])
    postgres.make("airflow", f"{tables()}; {ROWS}")
    return postgres


ROWS = f"""
        INSERT INTO connection (conn_id, conn_type, host, port, password, extra, is_encrypted, is_extra_encrypted) VALUES
            ('harbor', 'http', 'h.test', 443, '{locked(SECRET)}', '{locked('{"a": 1}')}', true, true),
            ('plain', 'http', null, null, null, null, false, false);
        INSERT INTO variable (key, val, description, is_encrypted) VALUES
            ('limit', '{locked("5")}', null, true), ('told', 'x', 'why', false);
"""


def set_recipients(monkeypatch: pytest.MonkeyPatch, recipients: list[str]) -> None:
    fields: dict[str, Any] = {"conn_type": "age", "extra": {"recipients": recipients}}
    monkeypatch.setitem(os.environ, "AIRFLOW_CONN_KEYS", json.dumps(fields))


def kind(encryption: str | None = "keys") -> AirflowInstallation:
    made = KINDS["airflow"](replace(catalogued("airflow"), kind="airflow", encryption_connection=encryption))
    assert isinstance(made, AirflowInstallation)
    return made


def test_secrets_are_exported_as_airflow_imports_them(airflow: Source) -> None:
    point = take(kind())
    connections = json.loads(point.parts[CONNECTIONS])
    assert connections["harbor"] | {"description": None} == {
        "conn_type": "http", "description": None, "host": "h.test", "login": None, "password": SECRET, "port": 443,
        "schema": None, "extra": '{"a": 1}',
    }  # fmt: skip
    assert sorted(connections) == ["harbor", "plain"]
    assert json.loads(point.parts[VARIABLES]) == {"limit": "5", "told": {"value": "x", "description": "why"}}
    # Neither the manifest nor the dump holds them in plain text.
    assert SECRET not in json.dumps(dict(point.manifest.state))
    assert SECRET.encode() not in point.parts["airflow.dump"]


def test_airflow_reads_what_was_exported(airflow: Source, tmp_path: Path) -> None:
    from airflow.secrets.local_filesystem import load_connections_dict, load_variables

    point = take(kind())
    for name in (CONNECTIONS, VARIABLES):
        (tmp_path / name).write_bytes(point.parts[name])
    connections = load_connections_dict(str(tmp_path / CONNECTIONS))
    assert (connections["harbor"].password, connections["harbor"].port) == (SECRET, 443)
    assert load_variables(str(tmp_path / VARIABLES))["limit"] == "5"


def test_what_is_restored_is_what_was_backed_up(airflow: Source, target: Path) -> None:
    subject = kind()
    point = take(subject)
    subject.restore(point, target)
    assert subject.compare(point, target) == []


def test_differences_are_named_and_nothing_of_a_secret_is_told(airflow: Source, target: Path) -> None:
    subject = kind()
    point = take(subject)
    subject.restore(point, target)
    with Cluster(target / CLUSTER, Programs()).running(SUPERUSER) as server:
        spoilt = Source(server)
        spoilt.sql(f"UPDATE connection SET password = '{locked('another-secret')}' WHERE conn_id = 'harbor'", "airflow")
        spoilt.sql("DELETE FROM connection WHERE conn_id = 'plain'", "airflow")
        spoilt.sql("INSERT INTO variable (key, val, is_encrypted) VALUES ('new', 'y', false)", "airflow")
    told = subject.compare(point, target)
    assert {
        "Connection harbor is not what was backed up.",
        "Connection plain is missing.",
        "Variable new was not backed up.",
    } <= set(told)
    assert [line for line in told if SECRET in line or "another-secret" in line] == []


@pytest.mark.parametrize("recipients", [None, []])
def test_without_encryption_nothing_is_read(
    airflow: Source, monkeypatch: pytest.MonkeyPatch, recipients: list[str] | None
) -> None:
    if recipients is not None:
        set_recipients(monkeypatch, recipients)
    with pytest.raises(Contradiction, match="not encrypted"), kind(None if recipients is None else "keys").read():
        pass


@pytest.mark.parametrize("key", ["", Fernet.generate_key().decode()])
def test_a_worker_without_the_key_makes_no_point(airflow: Source, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", key)
    with pytest.raises(NotDecrypted, match="Connection harbor is encrypted"):
        take(kind())


def test_older_keys_still_count(airflow: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", f"{Fernet.generate_key().decode()},{KEY}")
    assert json.loads(take(kind()).parts[CONNECTIONS])["harbor"]["password"] == SECRET


def settings(server: Server, home: Path) -> dict[str, str]:
    """Return the environment of an Airflow that has its database there, and a home and a Fernet key of its own."""
    return {
        "LC_ALL": "C",
        "PGHOST": server.host,
        "PGUSER": SUPERUSER,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{SUPERUSER}@/airflow?host={server.host}",
    }


@pytest.mark.parametrize("own_database", [False, True])
def test_its_text_brings_the_secrets_to_an_airflow_with_another_key(
    postgres: Source,
    monkeypatch: pytest.MonkeyPatch,
    target: Path,
    tmp_path: Path,
    bin_folder: Path,
    own_database: bool,
) -> None:
    path = [bin_folder, Path(sys.executable).parent]
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", KEY)
    set_recipients(monkeypatch, [RECIPIENT])
    postgres.make("airflow")
    follow(["airflow db migrate"], tmp_path, settings(postgres.server, tmp_path), path)
    postgres.sql(ROWS, "airflow")
    subject = kind()
    point = take(subject)
    for name, body in point.parts.items():
        (target / name).write_bytes(body)
    (block,) = restoring(point.manifest, subject.commands(point.manifest))
    # The first is for a server that is not there yet.
    _, _, secrets = by_hand(block).partition("--pgdata=restored\n")
    cluster = Cluster(target / CLUSTER, Programs())
    cluster.create(SUPERUSER)
    with cluster.running(SUPERUSER) as server:
        environment = settings(server, tmp_path)
        told = follow([block], target, environment, path)
        if own_database:
            environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{tmp_path}/airflow.db"
            follow(["airflow db migrate"], target, environment, path)
        told += follow([f"set -e\n{secrets}"], target, environment, path)
        exported = ["airflow connections export found.json", "airflow variables export values.json"]
        follow(exported, target, environment, path)
    assert SECRET not in told
    assert json.loads((target / "found.json").read_text()) == json.loads(point.parts[CONNECTIONS])
    found = json.loads((target / "values.json").read_text())
    assert (int(found["limit"]), found["told"]) == (5, {"value": "x", "description": "why"})

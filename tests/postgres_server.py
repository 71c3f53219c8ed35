"""Fixtures: a PostgreSQL server of the tests' own, by a socket only, so it needs neither sandbox nor network."""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from platform_ops.systems.postgres import programs as room
from platform_ops.systems.postgres.cluster import Cluster
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.programs import Programs
from sandbox import postgres

SUPERUSER = "keeper"


@dataclass(frozen=True)
class Source:
    """The server that is backed up."""

    server: Server

    def sql(self, statements: str, database: str = "template1") -> str:
        """Have psql run statements and return what it prints."""
        arguments = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command"]
        return (
            Programs().run("psql", [*arguments, statements], self.server.environment(database), what="the test").strip()
        )

    def make(self, database: str, statements: str = "") -> None:
        """Make a database."""
        quoted = database.replace('"', '""')
        self.sql(f'CREATE DATABASE "{quoted}"')
        if statements:
            self.sql(statements, database)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that the server's user can get to, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as made:
        path = Path(made)
        path.chmod(0o711)
        yield path
        postgres.remove_outside(path)


@pytest.fixture(scope="session")
def bin_folder(folder: Path) -> Path:
    return postgres.programs(folder)


@pytest.fixture
def postgres_programs(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv(room.BIN, str(bin_folder))
    return Programs()


@pytest.fixture
def target(folder: Path) -> Iterator[Path]:
    """An empty folder to restore into."""
    with tempfile.TemporaryDirectory(prefix="t-", dir=folder) as made:
        yield Path(made)


@pytest.fixture
def source_cluster(postgres_programs: Programs, folder: Path) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="s-", dir=folder) as made:
        cluster = Cluster(Path(made) / "c", postgres_programs)
        cluster.create(SUPERUSER)
        yield cluster


@pytest.fixture
def source(source_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    with source_cluster.running(SUPERUSER) as server:
        fields = {"conn_type": "postgres", "host": server.host, "port": server.port, "login": SUPERUSER,
                  "schema": "template1"}  # fmt: skip
        monkeypatch.setitem(os.environ, "AIRFLOW_CONN_PG", json.dumps(fields))
        yield Source(server)

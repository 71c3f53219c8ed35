"""Fixtures: a PostgreSQL server of the tests' own, by a socket only, so it needs neither sandbox nor network."""

import io
import json
import os
import pwd
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from platform_ops.backups.kinds.shape import Kind
from platform_ops.backups.points import Manifest, Member, stored_name
from platform_ops.backups.sources import Retention, Tier
from platform_ops.backups.sources import Source as CatalogueSource
from platform_ops.backups.streams import Reader
from platform_ops.systems.postgres import programs as room
from platform_ops.systems.postgres.cluster import SERVER_USER, Cluster
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.programs import Programs
from sandbox import postgres as sandbox_postgres
from tests.restore_text import by_hand, restoring, run

SUPERUSER = "keeper"
LEFT = (
    "SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database WHERE oid > 16383",
    "SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE oid > 16383",
    "SELECT 'ALTER SYSTEM RESET ALL'",
)
"""What a test left, as statements that take it away; what initdb makes has lower numbers."""


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


@dataclass
class Point:
    """A point in memory."""

    manifest: Manifest
    parts: dict[str, bytes]

    @contextmanager
    def open(self, name: str) -> Iterator[Reader]:
        yield io.BytesIO(self.parts[name])


class Collected:
    """Takes bytes, and does something at the first."""

    def __init__(self, at_first: Callable[[], object] = lambda: None) -> None:
        self.data = bytearray()
        self._at_first = at_first

    def write(self, data: bytes, /) -> int:
        if not self.data:
            self._at_first()
        self.data += data
        return len(data)


def catalogued(*databases: str, query: str | None = None, method: str = "logical") -> CatalogueSource:
    """A catalogue entry of these databases."""
    what: dict[str, Any] = {"databases": list(databases), "method": method} | ({"query": query} if query else {})
    day = timedelta(days=1)
    return CatalogueSource(
        "pg", "postgres", "o@example.com", "pg", what, Tier.NIGHTLY, Retention(1, 0, 0, 0), "s", "backups", None,
        timedelta(0), day, day, day
    )  # fmt: skip


def take(kind: Kind, meanwhile: Callable[[], object] = lambda: None) -> Point:
    """Read a source into a point."""
    with kind.read() as reading:
        meanwhile()
        parts = {}
        for part in reading.parts:
            out = Collected()
            part.write(out)
            parts[part.name] = bytes(out.data)
    now = datetime.now(UTC)
    members = tuple(
        Member(stored_name(name, encrypted=False), len(body), "", len(body), "") for name, body in parts.items()
    )
    manifest = Manifest("pg", "postgres", "p", "place", "r", reading.at, now, now, reading.state, members, reading.tools,
                        state_until=reading.until)  # fmt: skip
    return Point(manifest, parts)


def look(point: Point, commands: str, target: Path, path: Path, statements: str) -> str:
    """Follow the text of a base backup as a person does, as the server's account; return what psql printed."""
    for name, body in point.parts.items():
        (target / name).write_bytes(body)
    owner = server_user()
    if owner:
        for file in (target, *target.iterdir()):
            os.chown(file, *owner)
    (block,) = restoring(point.manifest, commands)
    start = f"set -e\n{by_hand(block)} --no-psqlrc --tuples-only --no-align --quiet <<'END'\n{statements}\nEND"
    environment = {"LC_ALL": "C"}
    try:
        ran = run([block, start], target, environment, [target, path], owner)
        log = target / "restored.log"
        assert ran.returncode == 0, ran.stdout + ran.stderr + (log.read_text() if log.exists() else "")
    finally:
        run(["pg_ctl --pgdata=restored --mode=immediate stop"], target, environment, [path], owner)
    return ran.stdout.splitlines()[-1]


def server_user() -> tuple[int, int] | None:
    """Return who runs servers; None for whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(SERVER_USER)
    return entry.pw_uid, entry.pw_gid


def end_server(folder: str) -> None:
    """Have a server end at once."""
    os.kill(int((Path(folder) / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that the server's user can get to, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as made:
        path = Path(made)
        path.chmod(0o711)
        yield path
        sandbox_postgres.remove_outside(path)


@pytest.fixture(scope="session")
def bin_folder(folder: Path) -> Path:
    return sandbox_postgres.programs(folder)


@pytest.fixture
def postgres_programs(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv(room.BIN, str(bin_folder))
    return Programs()


@pytest.fixture
def target(folder: Path) -> Iterator[Path]:
    """An empty folder to restore into."""
    with tempfile.TemporaryDirectory(prefix="t-", dir=folder) as made:
        yield Path(made)


@contextmanager
def _running(folder: Path, programs: Programs, elsewhere: Mapping[str, str] = {}) -> Iterator[Server]:
    """Run a cluster.

    :param elsewhere: files of settings that do not lie among the data, by the setting that names them.
    """
    with tempfile.TemporaryDirectory(prefix="s-", dir=folder) as made:
        cluster = Cluster(Path(made) / "c", programs)
        cluster.create(SUPERUSER)
        Path(made).chmod(0o711)
        settings = {name: str((Path(made) / "c" / file).rename(Path(made) / file)) for name, file in elsewhere.items()}
        # Beside a scratch cluster's settings: base backups are made of this one.
        with cluster.running(SUPERUSER, {"wal_level": "replica", "max_wal_senders": "2"} | settings) as server:
            yield server


@contextmanager
def _connected(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    fields = {"conn_type": "postgres", "host": server.host, "port": server.port, "login": SUPERUSER,
              "schema": "template1"}  # fmt: skip
    monkeypatch.setitem(os.environ, "AIRFLOW_CONN_PG", json.dumps(fields))
    yield Source(server)


@pytest.fixture(scope="session")
def server(folder: Path, bin_folder: Path) -> Iterator[Server]:
    with _running(folder, Programs(str(bin_folder))) as running:
        yield running


@pytest.fixture
def postgres(server: Server, postgres_programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """A server without databases or roles of others; it goes on, so a test must not end it."""
    with _connected(server, monkeypatch) as connected:
        yield connected
        for statement in LEFT:
            for line in connected.sql(statement).splitlines():
                connected.sql(line)


@pytest.fixture
def mortal_source(folder: Path, postgres_programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """A server that a test may end."""
    with _running(folder, postgres_programs) as running, _connected(running, monkeypatch) as connected:
        yield connected


@pytest.fixture
def debian_source(folder: Path, postgres_programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """A server whose settings lie elsewhere than its data, as Debian makes them."""
    elsewhere = {"config_file": "postgresql.conf", "hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}
    with _running(folder, postgres_programs, elsewhere) as running, _connected(running, monkeypatch) as connected:
        yield connected

"""Databases of a PostgreSQL server: a dump of each, the roles, and what was in them at that moment."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from platform_ops.backups.kinds.postgres_part import RESTORE, TEMPLATE, DatabasePart, find_part
from platform_ops.backups.kinds.shape import OpenPoint, Part, Reading, Selection
from platform_ops.backups.points import Manifest
from platform_ops.backups.sources import Source
from platform_ops.backups.streams import CHUNK, Writer
from platform_ops.systems.postgres.cluster import Cluster
from platform_ops.systems.postgres.errors import QueryFailed
from platform_ops.systems.postgres.hook import PostgresHook
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.programs import Programs
from platform_ops.systems.postgres.script import run_script
from platform_ops.systems.postgres.session import Session

ROLES = "roles.sql"
INVENTORY = "inventory.jsonl"
_EARLIER_INVENTORY = "contents.jsonl"
"""Its name in points made before 2026-11-30; kinds that share contents list those under it."""
CLUSTER = "cluster"
QUERY = "The catalogue's query"
_PLAIN = re.compile(r"(?!hex-)[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_DIGEST = re.compile(r"(?<= rows), (checksum|sha256) .*", re.DOTALL)

Contents = dict[str, str]
"""What there is, in a person's words, and how much or which; equal for equal clusters."""


class Postgres:
    """Databases of one server.

    All are dumped from snapshots taken together at the start. What the snapshots held is a part of the point: a line
    for each table, role and query. It is no part of the manifest, which anybody may read and which stays small.
    """

    def __init__(self, source: Source) -> None:
        self._hook = PostgresHook(str(source.connection))
        self._databases = tuple(source.what["databases"])
        self._query = source.what.get("query")

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """Open a snapshot in every database."""
        # Before the first snapshot, by the clock that measures what would have been lost.
        at = datetime.now(UTC)
        with ExitStack() as stack:
            sessions = [stack.enter_context(self._hook.session(name)) for name in self._databases]
            snapshots = [session.export() for session in sessions]
            until = datetime.now(UTC)
            state = server_state(sessions[0])
            passwords = bool(
                sessions[0].value("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')")
            )
            notes = self._notes(sessions[0], passwords=passwords)
            contents: Contents = {}
            parts = [Part(ROLES, partial(self._write_roles, sessions[0], contents, passwords))]
            for session, snapshot in zip(sessions, snapshots, strict=True):
                write = partial(self._write_dump, session, snapshot, contents, state)
                parts.append(Part(part_name(session.database), write))
            parts += self.more_parts(sessions[0])
            parts.append(Part(INVENTORY, partial(_write_contents, contents)))
            # As it was then: the catalogue's may be another one when the point is compared.
            state |= {"databases": list(self._databases), "query": self._query or ""}
            tools = {"pg_dump": self._hook.programs.version("pg_dump")}
            yield Reading(at, parts, state, tools, notes, until=until)

    def more_parts(self, session: Session) -> list[Part]:  # noqa: ARG002
        """Return what a kind adds that knows what is in its first database."""
        return []

    def more_differences(self, point: OpenPoint, server: Server) -> list[str]:  # noqa: ARG002
        """Return how what was added differs from what the restored server holds."""
        return []

    def _notes(self, session: Session, *, passwords: bool) -> list[str]:
        rows = session.rows("SELECT datname FROM pg_catalog.pg_database WHERE NOT datistemplate ORDER BY 1")
        others = sorted({str(row[0]) for row in rows} - set(self._databases) - {"postgres"})
        notes = []
        if others:
            notes.append(
                f"The server's databases {', '.join(others)[:400]} are not in the catalogue, and not backed up."
            )
        if not passwords:
            notes.append("The account may not read pg_authid, so the roles are backed up without their passwords.")
        return notes

    def _write_roles(self, session: Session, contents: Contents, passwords: bool, out: Writer) -> None:  # noqa: FBT001
        self._hook.write_roles(out, passwords=passwords)
        contents |= session.roles()

    def _write_dump(
        self, session: Session, snapshot: str, contents: Contents, state: dict[str, Any], out: Writer
    ) -> None:
        self._hook.write_dump(session, snapshot, out)
        found = _of_database(session)
        contents |= found
        state["tables"] = state.get("tables", 0) + sum(": table " in name for name in found)
        if self._query and session.database == self._databases[0]:
            contents[QUERY] = session.answer(self._query)

    def restore(self, point: OpenPoint, target: Path) -> None:
        """Make a cluster below the target, put roles and databases into it, and stop it, ready to be started."""
        self._restore(point, target, [DatabasePart(name) for name in point.manifest.state["databases"]])

    def restore_some(self, point: OpenPoint, target: Path, subset: str) -> None:
        """Do so with one database, or with the rows of one table."""
        self._restore(point, target, [find_part(subset, point.manifest, _contents(point))])

    def _restore(self, point: OpenPoint, target: Path, parts: list[DatabasePart]) -> None:
        superuser = str(point.manifest.state["superuser"])
        programs = Programs()
        cluster = Cluster(target / CLUSTER, programs)
        cluster.create(superuser)
        with cluster.running(superuser) as server:
            environment = server.environment(TEMPLATE)
            with point.open(ROLES) as plain:
                run_script(server, TEMPLATE, _without(plain.read(-1), _create_role(superuser)), ROLES)
            for part in parts:
                with _whole(point, part_name(part.database), target) as dump:
                    for arguments in part.selections:
                        programs.run("pg_restore", [*arguments, str(dump)], environment,
                                     what=f"database {part.database!r}")  # fmt: skip

    def compare(self, point: OpenPoint, target: Path) -> list[str]:
        """Start the cluster again and hold every table, role and the query against what the snapshots held."""
        with _running(point, target) as server:
            found = _of_server(server, point.manifest)
            more = self.more_differences(point, server)
        return more + _differences(_contents(point), found)

    def compare_some(self, point: OpenPoint, target: Path, subset: str) -> list[str]:
        """Do so with what the part holds."""
        expected = _contents(point)
        part = find_part(subset, point.manifest, expected)
        with _running(point, target) as server, Session(server, part.database) as session:
            found = _of_database(session)
        return _differences(*({name: held[name] for name in held if part.holds(name)} for held in (expected, found)))

    def select(self, point: OpenPoint, subset: str) -> Selection:
        """Count the tables of a part; its bytes are those of the dump that holds it."""
        contents = _contents(point)
        part = find_part(subset, point.manifest, contents)
        tables = sum(": table " in name for name in contents if part.holds(name))
        dump = point.manifest.member(part_name(part.database))
        return Selection(tables, dump.plain_size if dump else 0)

    def commands(self, manifest: Manifest) -> str:
        """Make a cluster, and fill it by ``psql`` and ``pg_restore``."""
        superuser = str(manifest.state["superuser"])
        lines = [line.decode() for line in sorted(_create_role(superuser))]
        excluded = " ".join(f"--regexp={shlex.quote(line)}" for line in lines)
        restores = "\n".join(
            f"pg_restore {' '.join(RESTORE)} --dbname={TEMPLATE} {part_name(name)}"
            for name in manifest.state["databases"]
        )
        return (
            f"# An empty PostgreSQL {manifest.state['server']} or later, whose superuser has the old one's name:\n"
            f"#   initdb --username={shlex.quote(superuser)} --encoding=UTF8 --locale=C --pgdata=restored\n"
            "# PGHOST, PGPORT and PGPASSWORD say how it is reached.\n"
            f"export PGUSER={shlex.quote(superuser)}\n"
            f"grep --invert-match --line-regexp --fixed-strings {excluded} {ROLES} > other-roles.sql\n"
            f"psql --no-psqlrc --set=ON_ERROR_STOP=1 --dbname={TEMPLATE} --file=other-roles.sql\n"
            f"{restores}\n"
            f"# {INVENTORY} says how many rows each table must have.\n"
        )


def part_name(database: str) -> str:
    """Return the file name of a database's dump: its own where that is harmless everywhere, else in hex."""
    return f"{database if _PLAIN.fullmatch(database) else 'hex-' + database.encode().hex()}.dump"


def server_state(session: Session) -> dict[str, Any]:
    """Return what the manifest says of a server: its version, where it stands in its log, and its first superuser."""
    ((version, superuser, standby),) = session.rows(
        "SELECT current_setting('server_version'), (SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10), "
        "pg_catalog.pg_is_in_recovery()"
    )
    position = "pg_last_wal_replay_lsn" if standby else "pg_current_wal_lsn"
    lsn = session.value(f"SELECT pg_catalog.{position}()::text")
    return {"server": str(version), "lsn": str(lsn), "superuser": str(superuser)}


def _of_database(session: Session) -> Contents:
    return {f"Database {session.database!r}: {name}": value for name, value in session.contents()}


def _of_server(server: Server, manifest: Manifest) -> Contents:
    contents: Contents = {}
    query = manifest.state["query"]
    for number, name in enumerate(manifest.state["databases"]):
        with Session(server, name) as session:
            if not number:
                contents |= session.roles()
            contents |= _of_database(session)
            if query and not number:
                # Last: a query that fails ends what the session can be asked.
                contents[QUERY] = _answer(session, query)
    return contents


def _answer(session: Session, query: str) -> str:
    try:
        return session.answer(query)
    except QueryFailed as error:
        return f"no answer: {error}"


def _write_contents(contents: Contents, out: Writer) -> None:
    for name, value in sorted(contents.items()):
        out.write(json.dumps([name, value]).encode() + b"\n")


def _contents(point: OpenPoint) -> Contents:
    name = INVENTORY if point.manifest.member(INVENTORY) else _EARLIER_INVENTORY
    with point.open(name) as plain:
        return dict(json.loads(line) for line in plain.read(-1).splitlines())


@contextmanager
def _running(point: OpenPoint, target: Path) -> Iterator[Server]:
    with Cluster(target / CLUSTER, Programs()).running(str(point.manifest.state["superuser"])) as server:
        yield server


def _differences(expected: Contents, found: Contents) -> list[str]:
    return [
        f"{name} {_difference(expected.get(name), found.get(name))}."
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


def _difference(expected: str | None, found: str | None) -> str:
    if found is None:
        return "is missing"
    if expected is None:
        return f"was not backed up, but is there: {_told(found)}"
    if _DIGEST.search(found) and _DIGEST.search(expected):
        return f"has other rows or another answer: {_told(found)} instead of {_told(expected)}"
    return f"is {_told(found)!r} instead of {_told(expected)!r}"


def _told(value: str) -> str:
    """Return what may leave this process: a digest of few rows could be guessed at."""
    return _DIGEST.sub("", value)


def _create_role(name: str) -> frozenset[bytes]:
    """Return the lines of roles.sql that would make a role the new cluster has from the start."""
    quoted = '"' + name.replace('"', '""') + '"'
    return frozenset({f"CREATE ROLE {name};".encode(), f"CREATE ROLE {quoted};".encode()})


def _without(script: bytes, lines: frozenset[bytes]) -> bytes:
    return b"\n".join(line for line in script.split(b"\n") if line not in lines)


@contextmanager
def _whole(point: OpenPoint, name: str, folder: Path) -> Iterator[Path]:
    """Lend a part as a file: whether it is what was backed up shows at its end, and before that nothing of it may run.

    :param folder: holds the file meanwhile.
    """
    path = folder / name
    with point.open(name) as plain, path.open("xb") as file:
        shutil.copyfileobj(plain, file, CHUNK)
    try:
        yield path
    finally:
        path.unlink()

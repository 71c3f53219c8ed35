"""A PostgreSQL server at an Airflow connection."""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from airflow.sdk import BaseHook

from platform_ops.common.connections import plain_host
from platform_ops.common.errors import PlatformError
from platform_ops.common.permissions import CheckedConnection, Finding, State, lasts
from platform_ops.systems.postgres.base_backup import ALGORITHM
from platform_ops.systems.postgres.errors import BadConnection, DatabaseMissing, LoginRefused, ServerGone
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.permissions import CONNECT, CREATEROLE, FILES, READ, REPLICATION, SUPERUSER, WRITE
from platform_ops.systems.postgres.programs import Programs, Writable
from platform_ops.systems.postgres.session import Session, try_replication

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_WAIT_FOR_LOCKS = "60s"
_UNREADABLE = """
    SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE')
            AND CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
                ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END)
    ORDER BY 1 LIMIT 5
"""
_WRITABLE = """
    SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
"""
_ACCOUNT = """
    SELECT rolsuper, rolcreaterole, nullif(rolvaliduntil, 'infinity')
    FROM pg_catalog.pg_roles WHERE rolname = current_user
"""


class PostgresHook(CheckedConnection, BaseHook):
    """A server at an Airflow connection: host, port, login, password; ``schema`` is the database to ask in.

    The extra may name ``bin``, the folder of PostgreSQL's programs, and ``verify``, as in all connections: a server
    elsewhere must show a certificate for its name.
    """

    conn_name_attr = "postgres_conn_id"
    default_conn_name = "postgres_airflow"
    conn_type = "postgres"
    hook_name = "PostgreSQL server"

    def __init__(self, postgres_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.postgres_conn_id = postgres_conn_id

    @cached_property
    def _connection(self) -> Any:
        return self.get_connection(self.postgres_conn_id)

    @cached_property
    def server(self) -> Server:
        """Return the server.

        :raises Invalid: the connection names no host, or no login.
        """
        found = self._connection
        address = plain_host(found)
        if not found.login:
            raise BadConnection(f"Connection {self.postgres_conn_id} needs a login; enter the account's name there.")
        sslmode, bundle = self._tls(address)
        return Server(address, int(found.port or 5432), found.login, found.password or "", sslmode, bundle)

    def _tls(self, host: str) -> tuple[str, str]:
        verify = self._connection.extra_dejson.get("verify", True)
        if verify is False:
            return "require", ""
        if host in _LOOPBACK or host.startswith("/"):
            # What never leaves the machine needs no certificate.
            return "prefer", ""
        return "verify-full", verify if isinstance(verify, str) else os.environ.get("SSL_CERT_FILE", "system")

    @cached_property
    def programs(self) -> Programs:
        """Return the client programs."""
        return Programs(self._connection.extra_dejson.get("bin"))

    @property
    def maintenance_database(self) -> str:
        """Return the database in which the server itself is asked."""
        return str(self._connection.schema or "postgres")

    def session(self, database: str | None = None) -> Session:
        """Return a snapshot of a database, to be opened by ``with``."""
        return Session(self.server, database or self.maintenance_database)

    def write_roles(self, out: Writable, *, passwords: bool) -> None:
        """Write the SQL that makes the server's roles, as ``pg_dumpall`` does.

        :param passwords: only who reads ``pg_authid`` gets the hashes of passwords.
        """
        options = [] if passwords else ["--no-role-passwords"]
        self.programs.stream(
            "pg_dumpall",
            # It does not read PGDATABASE, and takes a name with `=` for an address.
            ["--roles-only", "--no-password", f"--database={as_address(self.maintenance_database)}", *options],
            self.server.environment(self.maintenance_database),
            out,
            what=f"the roles at {self.server.address}",
        )

    def write_dump(self, session: Session, snapshot: str, out: Writable) -> None:
        """Write a database in ``pg_dump``'s custom format, uncompressed.

        :param session: holds the snapshot.
        :raises ServerGone: the server was restarted or stopped meanwhile.
        """
        try:
            self.programs.stream(
                "pg_dump",
                ["--format=custom", "--compress=0", "--no-password", f"--snapshot={snapshot}",
                 f"--lock-wait-timeout={_WAIT_FOR_LOCKS}"],
                self.server.environment(session.database),
                out,
                what=f"database {session.database!r} at {self.server.address}",
            )  # fmt: skip
        except PlatformError:
            # Whatever the program said, in whatever language: a lost snapshot explains it.
            session.confirm()
            raise

    def write_base_backup(self, out: Writable) -> None:
        """Write the files of the whole server as one tar, with the WAL that makes them consistent and a manifest.

        :raises ServerGone: the server was restarted or stopped meanwhile.
        """
        began = self._started_at()
        try:
            self.programs.stream(
                "pg_basebackup",
                ["--pgdata=-", "--format=tar", "--wal-method=fetch", "--checkpoint=fast",
                 f"--manifest-checksums={ALGORITHM}", "--label=platform-ops", "--no-password"],
                self.server.environment(self.maintenance_database),
                out,
                what=f"the server at {self.server.address}",
            )  # fmt: skip
        except PlatformError as error:
            if self._started_at() != began:
                raise ServerGone(
                    f"PostgreSQL at {self.server.address} was restarted while its files were read. Nothing half is "
                    "kept; the next try begins anew."
                ) from error
            raise

    def _started_at(self) -> datetime:
        with self.session() as session:
            found: datetime = session.value("SELECT pg_catalog.pg_postmaster_start_time()")
        return found

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Ask the server what the account may do.

        :param places: databases, and ``FILES``.
        :raises LoginRefused: the credential is refused.
        :raises ServerGone: the server does not answer.
        """
        with self.session() as session:
            (superuser, createrole, until), *_ = session.rows(_ACCOUNT)
        where, do = f"at {self.server.address}", "ALTER ROLE, as an administrator of the server"
        findings = [
            lasts(until, now=datetime.now(UTC), renew="Set a later VALID UNTIL"),
            SUPERUSER.judge(allowed=superuser, where=where, do=do),
            CREATEROLE.judge(allowed=createrole, where=where, do=do),
        ]
        for place in places:
            findings += [self._check_replication()] if place == FILES else self._check_database(place)
        return tuple(findings)

    def _check_replication(self) -> Finding:
        where, do = f"at {self.server.address}", "ALTER ROLE … REPLICATION, and a line for replication in pg_hba.conf"
        try:
            try_replication(self.server)
        except LoginRefused as refused:
            return Finding(
                REPLICATION, State.MISSING, f"REPLICATION is not granted {where}: {refused}. Grant it: {do}."
            )
        return REPLICATION.judge(allowed=True, where=where, do=do)

    def _check_database(self, database: str) -> list[Finding]:
        where = f"on database {database!r}"
        try:
            with self.session(database) as session:
                unreadable = [str(row[0]) for row in session.rows(_UNREADABLE)]
                writable = int(session.value(_WRITABLE))
        except (DatabaseMissing, LoginRefused) as refused:
            return [Finding(CONNECT, State.MISSING, f"CONNECT is not granted {where}: {refused}")]
        read = READ.judge(allowed=not unreadable, where=where, do="GRANT pg_read_all_data TO the account")
        if unreadable:
            read = Finding(READ, State.MISSING, f"{read.sentence} Not readable: {', '.join(unreadable)}.")
        return [
            CONNECT.judge(allowed=True, where=where, do=""),
            read,
            WRITE.judge(allowed=bool(writable), where=where, do="REVOKE what lets it write to tables"),
        ]


def as_address(database: str) -> str:
    """Return a database's name as libpq's connection string."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"

"""One snapshot of one database: what is in it, in a form that two clusters can be compared by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from platform_ops.common.errors import PlatformError
from platform_ops.systems.postgres.errors import LoginRefused, QueryFailed, ServerGone
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.programs import classify, without_rows

_SETTINGS = {
    # Nothing that a database or a role sets may change how a value is written.
    "search_path": "",
    "client_encoding": "UTF8",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "lc_monetary": "C",
    # Rather an error than the rows that a policy lets through.
    "row_security": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
_OURS = r"""
    n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e'
    )
"""
"""What is neither PostgreSQL's own nor an extension's, which the extension makes again."""

_TABLES = f"""
    SELECT n.nspname, c.relname, (
        SELECT coalesce(string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname), '')
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    )
    FROM (SELECT oid, 'pg_catalog.pg_class'::regclass AS class FROM pg_catalog.pg_class) o
    JOIN pg_catalog.pg_class c ON c.oid = o.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND {_OURS}
    ORDER BY 1, 2
"""  # noqa: S608 - made of constants
_OBJECTS = f"""
    SELECT o.kind, count(*) FROM (
        SELECT oid, 'pg_catalog.pg_class'::regclass AS class, relnamespace AS schema, CASE relkind
            WHEN 'r' THEN 'tables' WHEN 'p' THEN 'partitioned tables' WHEN 'S' THEN 'sequences' WHEN 'v' THEN 'views'
            WHEN 'm' THEN 'materialized views' WHEN 'f' THEN 'foreign tables' WHEN 'c' THEN 'composite types'
            ELSE 'indexes' END AS kind
        FROM pg_catalog.pg_class WHERE relkind <> 't' AND relpersistence <> 't'
        UNION ALL SELECT oid, 'pg_catalog.pg_proc'::regclass, pronamespace, 'functions' FROM pg_catalog.pg_proc
        UNION ALL SELECT oid, 'pg_catalog.pg_constraint'::regclass, connamespace, 'constraints'
            FROM pg_catalog.pg_constraint WHERE contype IN ('c', 'f', 'p', 'u', 'x')
        UNION ALL SELECT t.oid, 'pg_catalog.pg_trigger'::regclass, r.relnamespace, 'triggers'
            FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
    ) o JOIN pg_catalog.pg_namespace n ON n.oid = o.schema WHERE {_OURS} GROUP BY 1
    UNION ALL SELECT 'large objects', count(*) FROM pg_catalog.pg_largeobject_metadata HAVING count(*) > 0
    ORDER BY 1
"""  # noqa: S608 - made of constants
_ROLES = """
    SELECT r.rolname, concat_ws(' ',
        CASE WHEN r.rolsuper THEN 'superuser' END, CASE WHEN r.rolinherit THEN 'inherit' END,
        CASE WHEN r.rolcreaterole THEN 'createrole' END, CASE WHEN r.rolcreatedb THEN 'createdb' END,
        CASE WHEN r.rolcanlogin THEN 'login' END, CASE WHEN r.rolreplication THEN 'replication' END,
        CASE WHEN r.rolbypassrls THEN 'bypassrls' END,
        CASE WHEN r.rolconnlimit >= 0 THEN 'limit ' || r.rolconnlimit END,
        'until ' || r.rolvaliduntil, 'settings ' || g.setconfig::text,
        'member of ' || (
            SELECT string_agg(quote_ident(b.rolname) || CASE WHEN m.admin_option THEN ' (admin)' ELSE '' END, ', '
                ORDER BY b.rolname)
            FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles b ON b.oid = m.roleid WHERE m.member = r.oid
        ))
    FROM pg_catalog.pg_roles r
    LEFT JOIN pg_catalog.pg_db_role_setting g ON g.setrole = r.oid AND g.setdatabase = 0
    WHERE r.rolname !~ '^pg_' ORDER BY 1
"""


class Session:
    """A transaction that reads one snapshot and can write nothing; open as long as the block.

    PostgreSQL 11 or later, for ``hashtextextended``.
    """

    def __init__(self, server: Server, database: str) -> None:
        self._server = server
        self.database = database
        self._connection: Any = None

    def __enter__(self) -> Self:
        import psycopg2  # type: ignore[import-untyped]

        try:
            self._connection = psycopg2.connect(**self._server.parameters(self.database))
        except (psycopg2.Error, UnicodeDecodeError) as error:
            raise classify(f"The login to {self._where}", str(error), ServerGone) from error
        try:
            self._connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            for name, value in _SETTINGS.items():
                self.rows("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    def _where(self) -> str:
        return f"database {self.database!r} at {self._server.address}"

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Ask.

        :raises ServerGone: the server ended, or ended this session.
        :raises QueryFailed: it does not take the statement.
        :raises LoginRefused: the account may not read that.
        """
        with self._judged(), self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    @contextmanager
    def _judged(self) -> Iterator[None]:
        import psycopg2

        try:
            yield
        except psycopg2.Error as error:
            if self._connection.closed or _is_end(error):
                raise self.gone() from error
            if isinstance(error, psycopg2.errors.InsufficientPrivilege):
                raise LoginRefused(
                    f"The account {self._server.user} may not read all of {self._where}: {_line(error)}. "
                    "Grant it pg_read_all_data."
                ) from error
            # Without the cause, which could show a row.
            raise QueryFailed(f"{self._where} does not take a query: {_line(error)}") from None

    def gone(self) -> ServerGone:
        """Return the error for a server that took the snapshot with it."""
        return ServerGone(
            f"PostgreSQL at {self._server.address} was restarted or stopped while database {self.database!r} was "
            "read, and the snapshot went with it. Nothing half is kept; the next try begins anew."
        )

    def confirm(self) -> None:
        """Make sure that the snapshot still is there.

        :raises ServerGone: it is not.
        """
        self.rows("SELECT 1")

    def export(self) -> str:
        """Return the name under which a program finds this snapshot."""
        return str(self.value("SELECT pg_catalog.pg_export_snapshot()"))

    def value(self, statement: str) -> Any:
        """Return the one value of an answer."""
        return self.rows(statement)[0][0]

    def contents(self) -> Iterator[tuple[str, str]]:
        """Yield what is in the database: each table's rows and checksum, and how many objects of which kind.

        The checksum is the sum of a hash of each row, its columns in the order of their names: neither the order of
        rows nor that of columns, which a restore may change, counts. Unlogged tables are not looked at.
        """
        for kind, count in self.rows(_OBJECTS):
            yield kind, str(count)
        for schema, table, columns in self.rows(_TABLES):
            quoted = f"{_quoted(schema)}.{_quoted(table)}"
            count, total = self.rows(
                f'SELECT count(*), coalesce(sum(hashtextextended(ROW({columns})::text COLLATE "C", 0)::numeric), 0) '  # noqa: S608 - identifiers are quoted
                f"FROM ONLY {quoted}"
            )[0]
            yield f"table {quoted}", f"{count} rows, checksum {int(total) % 2**64:016x}"

    def answer(self, query: str) -> str:
        """Return what a query of the catalogue gives: how many rows, and the sha256 of all.

        :raises QueryFailed: the database does not take it.
        """
        # A person writes names as they do elsewhere.
        self.rows("SELECT pg_catalog.set_config('search_path', reset_val, false) "
                  "FROM pg_catalog.pg_settings WHERE name = 'search_path'")  # fmt: skip
        try:
            rows = sorted(repr([None if cell is None else str(cell) for cell in row]) for row in self.rows(query))
        finally:
            with suppress(PlatformError):
                self.rows("SELECT pg_catalog.set_config('search_path', '', false)")
        digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
        return f"{len(rows)} rows, sha256 {digest}"

    def roles(self) -> Iterator[tuple[str, str]]:
        """Yield each role of the server and what it may do; passwords are not looked at."""
        for role, attributes in self.rows(_ROLES):
            yield f"role {_quoted(role)}", str(attributes)


def try_replication(server: Server) -> None:
    """Open a connection as ``pg_basebackup`` does, and close it.

    :raises LoginRefused: the server refuses it.
    :raises ServerGone: it does not answer.
    """
    import psycopg2
    from psycopg2.extras import PhysicalReplicationConnection  # type: ignore[import-untyped]

    try:
        psycopg2.connect(**server.parameters(""), connection_factory=PhysicalReplicationConnection).close()
    except (psycopg2.Error, UnicodeDecodeError) as error:
        raise classify(f"The login to {server.address} for replication", str(error), LoginRefused) from error


def _is_end(error: Any) -> bool:
    """Say whether the server went away.

    A server's answer carries a code (57P: it is shutting down; 08: connection lost); an error of psycopg2 itself has
    none. ``closed`` is set only at the next use, and the error class varies.
    """
    import psycopg2

    if error.pgcode is None:
        return not isinstance(error, psycopg2.ProgrammingError)
    return str(error.pgcode).startswith(("57P", "08"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _line(error: BaseException) -> str:
    return " / ".join(without_rows(str(error)))[:300]

"""What an Airflow connection becomes, and what the account is asked for."""

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform_ops.common.errors import AuthenticationFailed, Invalid
from platform_ops.common.permissions import State
from platform_ops.systems.postgres.errors import DatabaseMissing, LoginRefused, QueryFailed, ServerGone
from platform_ops.systems.postgres.hook import PostgresHook
from platform_ops.systems.postgres.models import Server
from tests.postgres_server import Source

Connect = Callable[..., PostgresHook]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Connect:
    def make(**fields: Any) -> PostgresHook:
        known = {"conn_type": "postgres", "host": "db.test", "login": "reader", "password": "a-good-password"}
        monkeypatch.setitem(os.environ, "AIRFLOW_CONN_PG", json.dumps(known | fields))
        return PostgresHook("pg")

    return make


def test_a_server_elsewhere_must_prove_its_name(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert connect().server == Server("db.test", 5432, "reader", "a-good-password", "verify-full", "system")
    assert connect(extra={"verify": "/ca.pem"}).server.sslrootcert == "/ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", "/bundle.pem")
    assert connect(extra={"verify": True}).server.sslrootcert == "/bundle.pem"
    assert connect(extra={"verify": False}).server.sslmode == "require"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "/run/postgresql"])
def test_what_never_leaves_the_machine_needs_no_certificate(connect: Connect, host: str) -> None:
    assert connect(host=host, port=5433).server == Server(host, 5433, "reader", "a-good-password")


@pytest.mark.parametrize("fields", [{"host": ""}, {"login": ""}])
def test_a_connection_without_host_or_login_is_refused(connect: Connect, fields: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="Connection pg"):
        _ = connect(**fields).server


def test_the_programs_of_the_connection_are_used(connect: Connect, tmp_path: Path) -> None:
    program = tmp_path / "pg_dumpall"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o700)
    hook = connect(schema="it's \\ dbname=other", extra={"bin": str(tmp_path)})

    class Out:
        data = b""

        def write(self, data: bytes, /) -> int:
            self.data += data
            return len(data)

    out = Out()
    hook.write_roles(out, passwords=False)
    assert out.data.decode().splitlines() == [
        "--roles-only", "--no-password", r"--database=dbname='it\'s \\ dbname=other'", "--no-role-passwords"]  # fmt: skip


def test_a_server_that_is_not_there_is_a_reason_to_try_again(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(ServerGone, match="failed"):
        connect(host=str(tmp_path)).check_permissions()


def states(hook: PostgresHook, *places: str) -> dict[str, State]:
    return {finding.permission.name: finding.state for finding in hook.check_permissions(places)}


def test_an_account_that_only_reads_is_what_is_wanted(postgres: Source, connect: Connect) -> None:
    postgres.make("shop", "CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE SEQUENCE s.q")
    postgres.sql("CREATE ROLE reader LOGIN IN ROLE pg_read_all_data")
    hook = connect(host=postgres.server.host, port=postgres.server.port, schema="postgres")
    assert set(states(hook, "shop").values()) == {State.OK}
    assert len(states(hook, "shop")) == 6
    assert hook.test_connection()[0]


def test_what_is_missing_and_what_is_too_much_is_named(postgres: Source, connect: Connect) -> None:
    postgres.make("shop", "CREATE TABLE t (a int); CREATE TABLE u (a int)")
    postgres.sql("CREATE ROLE reader LOGIN CREATEROLE VALID UNTIL '2001-01-01'")
    postgres.sql("GRANT SELECT, INSERT ON u TO reader", "shop")
    hook = connect(host=postgres.server.host, port=postgres.server.port, schema="postgres")
    assert states(hook, "shop") == {
        "a credential that lasts": State.MISSING,
        "SUPERUSER": State.OK,
        "CREATEROLE": State.TOO_MUCH,
        "CONNECT": State.OK,
        "pg_read_all_data": State.MISSING,
        "pg_write_all_data": State.TOO_MUCH,
    }
    (told,) = [
        finding.sentence
        for finding in hook.check_permissions(["shop"])
        if finding.permission.name.startswith("pg_read")
    ]
    assert told.endswith("Not readable: public.t.")
    assert states(hook, "nowhere")["CONNECT"] is State.MISSING
    postgres.sql("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    assert states(hook, "shop")["CONNECT"] is State.MISSING


def test_who_copies_files_is_asked_to_connect_as_the_copy_does(postgres: Source, connect: Connect) -> None:
    postgres.sql("CREATE ROLE reader LOGIN IN ROLE pg_read_all_data")
    hook = connect(host=postgres.server.host, port=postgres.server.port, schema="postgres")
    assert "REPLICATION" not in states(hook)
    assert states(hook, "*")["REPLICATION"] is State.MISSING
    assert "ALTER ROLE … REPLICATION" in hook.check_permissions(["*"])[-1].sentence
    postgres.sql("ALTER ROLE reader REPLICATION")
    assert states(hook, "*")["REPLICATION"] is State.OK


def test_a_server_that_went_away_meanwhile_refuses_nobody(
    postgres: Source, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Server) -> None:
        raise ServerGone("It does not answer.")

    postgres.sql("CREATE ROLE reader LOGIN")
    monkeypatch.setattr("platform_ops.systems.postgres.hook.try_replication", gone)
    with pytest.raises(ServerGone):
        connect(host=postgres.server.host, port=postgres.server.port, schema="postgres").check_permissions(["*"])


def test_what_may_not_be_read_is_named_and_no_reason_to_try_again(postgres: Source, connect: Connect) -> None:
    postgres.make("shop", "CREATE TABLE t (a int)")
    postgres.sql("CREATE ROLE reader LOGIN")
    hook = connect(host=postgres.server.host, port=postgres.server.port, schema="postgres")
    with hook.session("shop") as session, pytest.raises(LoginRefused, match="permission denied for table t") as refused:
        list(session.contents())
    assert isinstance(refused.value, AuthenticationFailed)


def test_rows_that_a_policy_hides_are_an_error_and_not_left_out(postgres: Source, connect: Connect) -> None:
    postgres.make("shop", "CREATE TABLE t (a int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; INSERT INTO t VALUES (1)")
    postgres.sql("CREATE ROLE reader LOGIN IN ROLE pg_read_all_data")
    hook = connect(host=postgres.server.host, port=postgres.server.port, schema="postgres")
    with hook.session("shop") as session, pytest.raises(LoginRefused, match="row-level security"):
        list(session.contents())


def test_a_missing_database_is_named(postgres: Source) -> None:
    with pytest.raises(DatabaseMissing, match="nowhere"), PostgresHook("pg").session("nowhere"):
        pass


def test_settings_of_a_database_do_not_change_how_values_are_written(postgres: Source) -> None:
    made = "CREATE TABLE t AS SELECT now() AS at, 0.1::float8 AS x, '\\x00ff'::bytea AS b, 1.5::float4 AS y"
    postgres.make("plain", made)
    postgres.sql("UPDATE t SET at = '2026-01-02 03:04:05+00'", "plain")
    postgres.sql('CREATE DATABASE "odd" TEMPLATE plain')
    for setting in ("timezone = 'Asia/Seoul'", "datestyle = 'German'", "bytea_output = 'escape'",
                    "extra_float_digits = -10", "search_path = 'nowhere'"):  # fmt: skip
        postgres.sql(f"ALTER DATABASE odd SET {setting}")
    found = []
    for database in ("plain", "odd"):
        with PostgresHook("pg").session(database) as session:
            found.append(list(session.contents()))
    assert found[0] == found[1]
    assert found[0][-1][1].startswith("1 rows, checksum ")


def test_the_order_of_rows_does_not_count_but_their_number_does(postgres: Source) -> None:
    rows = {"up": "(1), (2), (2)", "down": "(2), (2), (1)", "fewer": "(1), (2)", "other": "(1), (1), (2)"}
    sums = {}
    for database, values in rows.items():
        postgres.make(database, f"CREATE TABLE t (n int); INSERT INTO t VALUES {values}")
        with PostgresHook("pg").session(database) as session:
            sums[database] = dict(session.contents())['table "public"."t"']
    assert sums["up"] == sums["down"]
    assert len(set(sums.values())) == 3


def test_a_query_that_fails_shows_no_row(postgres: Source) -> None:
    postgres.make("shop", "CREATE TABLE t AS SELECT 'my-secret'::text AS a")
    for query in ("SELECT a::int FROM t", "SELECT (a || 1)::date FROM t", "SELECT a::json FROM t"):
        with PostgresHook("pg").session("shop") as session, pytest.raises(QueryFailed) as failed:
            session.answer(query)
        assert "my-secret" not in "".join(traceback.format_exception(failed.value)), query


def test_an_answer_shows_no_row_but_tells_answers_apart(postgres: Source) -> None:
    postgres.make("shop")
    with PostgresHook("pg").session("shop") as session:
        one, other = session.answer("SELECT 'my-secret'"), session.answer("SELECT 'another'")
    assert one.startswith("1 rows, sha256 ")
    assert one != other
    assert "my-secret" not in one

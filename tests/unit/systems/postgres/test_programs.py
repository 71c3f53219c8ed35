"""Programs are run without secrets among their arguments, and a bad end is never taken for a good one."""

import io
import stat
from pathlib import Path

import pytest

from platform_ops.common.errors import PlatformError
from platform_ops.systems.postgres.errors import (
    DatabaseMissing,
    LoginRefused,
    ProgramFailed,
    ProgramMissing,
    ServerGone,
)
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.programs import BIN, Programs, classify

SERVER = Server("db.test", 5433, "reader", "a-good-password", "verify-full", "system")


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(str(tmp_path))


def program(folder: Path, body: str, name: str = "pg_dump") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_password_is_in_the_environment_and_in_no_argument(programs: Programs, tmp_path: Path) -> None:
    program(tmp_path, 'echo "$@"; env')
    told = programs.run("pg_dump", ["--format=custom"], SERVER.environment("a=b"), what="a")
    arguments, _, environment = told.partition("\n")
    assert arguments == "--format=custom"
    assert {"PGPASSWORD=a-good-password", "PGDATABASE=a=b", "PGHOST=db.test", "PGPORT=5433", "PGUSER=reader",
            "PGSSLMODE=verify-full", "PGSSLROOTCERT=system", "PGPASSFILE=/dev/null/none"} <= set(environment.splitlines())  # fmt: skip
    assert "a-good-password" not in repr(SERVER)


def test_settings_of_who_runs_the_task_do_not_count(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere.test")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=evil")
    program(tmp_path, "env")
    told = programs.run("pg_dump", [], {}, what="a").splitlines()
    assert [line for line in told if line.startswith(("PGHOST", "PGOPTIONS"))] == []


def test_a_bad_end_after_all_output_is_an_error(programs: Programs, tmp_path: Path) -> None:
    program(tmp_path, "echo whole; echo 'pg_dump: error: something' >&2; exit 3")
    out = io.BytesIO()
    with pytest.raises(ProgramFailed, match="pg_dump of shop failed: pg_dump: error: something"):
        programs.stream("pg_dump", [], {}, out, what="shop")
    assert out.getvalue() == b"whole\n"


def test_many_complaints_do_not_stop_a_program(programs: Programs, tmp_path: Path) -> None:
    program(tmp_path, "head -c 300000 /dev/zero | tr '\\0' x >&2; echo done")
    assert programs.run("pg_dump", [], {}, what="shop") == "done\n"


def test_a_missing_program_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProgramMissing, match=f"no program pg_dump in {tmp_path}.*extra `bin`"):
        Programs(str(tmp_path)).path("pg_dump")
    monkeypatch.setenv(BIN, "/nowhere")
    with pytest.raises(ProgramMissing, match="in /nowhere"):
        Programs().path("pg_dump")
    monkeypatch.delenv(BIN)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramMissing, match="on PATH"):
        Programs().path("pg_dump")


def test_a_version_is_what_the_program_says(programs: Programs, tmp_path: Path) -> None:
    program(tmp_path, "echo 'pg_dump (PostgreSQL) 18.4 (Debian 18.4-1)'")
    assert programs.version("pg_dump") == "18.4 (Debian 18.4-1)"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('connection to server at "db" failed: FATAL:  password authentication failed for user "x"', LoginRefused),
        ('connection to server at "db" failed: FATAL:  database "x" does not exist', DatabaseMissing),
        ('connection to server at "db" failed: Connection refused', ServerGone),
        ("pg_dump: error: query failed: ERROR:  permission denied for table a", LoginRefused),
        ("pg_dump: error: query failed: FATAL:  terminating connection due to administrator command", ServerGone),
        ("server closed the connection unexpectedly", ServerGone),
        ("pg_dump: error: aborting because of server version mismatch", ProgramFailed),
        ("", ProgramFailed),
    ],
)
def test_words_have_classes(said: str, kind: type[PlatformError]) -> None:
    assert type(classify("pg_dump of x", said)) is kind


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            (
                'pg_restore: error: COPY failed for table "t": ERROR:  duplicate key value violates unique constraint "u"\n'
                "DETAIL:  Key (mail)=(secret\nERROR:  secret) already exists.\nCONTEXT:  COPY t, line 3"
            ),
            'pg_restore: error: COPY failed for table "t": ERROR:  duplicate key value violates unique constraint "u"',
        ),
        (
            (
                'pg_dump: error: Dumping the contents of table "t" failed: PQgetResult() failed.\n'
                "pg_dump: detail: Error message from server: ERROR:  invalid page\nZEILE 1: secret\n"
                "pg_dump: detail: Command was: COPY t (secret) TO stdout;"
            ),
            (
                'pg_dump: error: Dumping the contents of table "t" failed: PQgetResult() failed. / '
                "pg_dump: detail: Error message from server: ERROR:  invalid page"
            ),
        ),
        (
            (
                "pg_restore: error: could not execute query: ERROR:  it is not so\nCommand was: SELECT\n'secret'\n\n"
                "pg_restore: hint: look"
            ),
            "pg_restore: error: could not execute query: ERROR:  it is not so / pg_restore: hint: look",
        ),
        (
            'psql:<stdin>:3: ERROR:  invalid input syntax for type integer: "secret\nsecret"\nLINE 1: secret\n   ^',
            'psql:<stdin>:3: ERROR:  invalid input syntax for type integer: "…"',
        ),
        ('psql:<stdin>:3: ERROR:  value "secret" is out of range', 'psql:<stdin>:3: ERROR:  value "…" is out of range'),
        ("STATEMENT: secret", "without a word"),
        (
            (
                'connection to server at "::1" failed: no\n\tIs the server running on that host?\n'
                'connection to server at "127.0.0.1" failed: no'
            ),
            (
                'connection to server at "::1" failed: no / \tIs the server running on that host? / '
                'connection to server at "127.0.0.1" failed: no'
            ),
        ),
    ],
)
def test_an_error_names_what_failed_and_shows_no_row(said: str, told: str) -> None:
    assert str(classify("x", said)) == f"x failed: {told}"

"""A script goes to the server as one query: nobody else reads it, and it is done whole or not at all."""

from pathlib import Path

import pytest

from platform_ops.systems.postgres.errors import QueryFailed, ServerGone
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.script import run_script
from tests.postgres_server import Source

ROLES = "SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE oid > 16383"


def test_what_pg_dumpall_writes_for_psql_is_left_out_and_its_encoding_counts(postgres: Source) -> None:
    script = "\\restrict Ab1\n\nSET client_encoding = 'LATIN1';\nCREATE ROLE \"né\";\n\\unrestrict Ab1\n".encode(
        "latin-1"
    )
    run_script(postgres.server, "template1", script, "roles.sql")
    assert postgres.sql(ROLES) == "né"


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (rb"\! touch x", "line 2 of roles.sql"),
        (b"CREATE ROLE first;", 'role "first" already exists'),
        (b"ALTER ROLE first 'SCRAM-SHA-256$4096:abc'", "line 2 of roles.sql"),
        (b"ALTER ROLE first PASSWORD 'SCRAM-SHA-256$4096:abc", "line 2 of roles.sql"),
        (b"COMMENT ON ROLE first IS '\0'", "roles.sql"),
    ],
)
def test_nothing_is_done_of_a_script_that_fails_and_no_string_is_shown(
    postgres: Source, last: bytes, said: str
) -> None:
    with pytest.raises(QueryFailed, match="nothing of it was done") as caught:
        run_script(postgres.server, "template1", b"CREATE ROLE first;\n" + last, "roles.sql")
    assert said in str(caught.value)
    assert "SCRAM" not in str(caught.value)
    assert postgres.sql(ROLES) == ""


def test_a_server_that_is_not_there_is_no_fault_of_the_script(tmp_path: Path) -> None:
    with pytest.raises(ServerGone):
        run_script(Server(str(tmp_path), 5432, "keeper"), "template1", b"SELECT 1", "roles.sql")

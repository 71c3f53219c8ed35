"""SQL that a program wrote, sent to a server as it is.

The server takes all of it or nothing, and knows SQL only: psql would also do what lines with a backslash say, such as
running programs on this machine.
"""

from __future__ import annotations

import re

from platform_ops.systems.postgres.errors import QueryFailed, ServerGone
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.programs import classify, without_rows

_FOR_PSQL = re.compile(rb"^\\(un)?restrict [0-9A-Za-z]+\n", re.MULTILINE)
"""What pg_dump and pg_dumpall write since 2025, so that psql takes no other command between (CVE-2025-8714)."""
_ENCODING = re.compile(rb"^SET client_encoding = '(\w+)';$", re.MULTILINE)


def run_script(server: Server, database: str, script: bytes, name: str) -> None:
    """Have a server run a script, in one transaction.

    :param name: what a person calls the script.
    :raises QueryFailed: the server does not take all of it; nothing of it is done.
    :raises ServerGone: it ended.
    """
    import psycopg2  # type: ignore[import-untyped]

    script = _FOR_PSQL.sub(b"", script)
    try:
        connection = psycopg2.connect(**server.parameters(database))
    except psycopg2.Error as error:
        raise classify(f"The login to {server.address}", str(error), ServerGone) from error
    try:
        connection.autocommit = True
        if encoding := _ENCODING.search(script):
            # The server reads all of it before it does what the first line says.
            connection.set_client_encoding(encoding[1].decode())
        with connection.cursor() as cursor:
            cursor.execute(script)
    except (psycopg2.Error, ValueError) as error:
        # Without the cause, which could show the hash of a password.
        raise QueryFailed(_told(error, script, name)) from None
    finally:
        connection.close()


def _told(error: BaseException, script: bytes, name: str) -> str:
    position = getattr(getattr(error, "diag", None), "statement_position", None)
    where = f"line {script.decode(errors='replace')[: int(position) - 1].count(chr(10)) + 1} of " if position else ""
    # A string may be the hash of a password.
    said = " / ".join(without_rows(str(error)))[:300].partition(" at or near \"'")[0]
    return f"PostgreSQL does not take {where}{name}, so nothing of it was done: {said}."

"""This installation itself: its metadata database, and its connections and variables as Airflow imports them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from functools import partial
from typing import Any

from platform_ops.backups.errors import Contradiction
from platform_ops.backups.keys import recipients
from platform_ops.backups.kinds.postgres import Postgres
from platform_ops.backups.kinds.shape import OpenPoint, Part
from platform_ops.backups.points import Manifest
from platform_ops.backups.sources import Source
from platform_ops.backups.streams import Writer
from platform_ops.common.errors import PlatformError, Refused
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.session import Session

CONNECTIONS = "connections.json"
VARIABLES = "variables.json"
_CONNECTIONS = """
    SELECT conn_id, conn_type, description, host, schema, login, port, password, is_encrypted, extra, is_extra_encrypted
    FROM public.connection ORDER BY conn_id
"""
_VARIABLES = "SELECT key, val, is_encrypted, description FROM public.variable ORDER BY key"
_FORGET = "DELETE FROM connection; DELETE FROM variable"

Entries = dict[str, Any]


class NotDecrypted(Refused):
    """A secret of the database is not for the Fernet key of this worker."""


class AirflowInstallation(Postgres):
    """Airflow's database, with its secrets beside it.

    In the dump the secrets are encrypted with Airflow's Fernet key, and the dump does not contain that key. Those
    beside it leave the task encrypted by age or not at all. Comparisons name connections and variables, never what is
    in them. What a secrets backend holds is not Airflow's, and not in here.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._source = source

    def more_parts(self, session: Session) -> list[Part]:
        """Add what ``airflow connections import`` and ``airflow variables import`` read.

        :raises Contradiction: it would be stored for everybody to read.
        """
        if not recipients(self._source):
            raise Contradiction(
                f"{self._source.name} holds every secret of Airflow in plain text, and its points are not encrypted. "
                "Name in its `encryption` a connection with recipients."
            )
        return [
            Part(CONNECTIONS, partial(_write, session, _connections)),
            Part(VARIABLES, partial(_write, session, _variables)),
        ]

    def more_differences(self, point: OpenPoint, server: Server) -> list[str]:
        """Hold connections and variables of the restored database against those that were exported."""
        wrong = []
        with Session(server, point.manifest.state["databases"][0]) as session:
            for name, what, read in ((CONNECTIONS, "Connection", _connections), (VARIABLES, "Variable", _variables)):
                with point.open(name) as plain:
                    expected = json.loads(plain.read(-1))
                try:
                    found = read(session)
                except PlatformError as error:
                    wrong.append(f"{what}s of the restored database can't be read: {error}")
                    continue
                wrong += [
                    f"{what} {key} {_difference(key, expected, found)}."
                    for key in sorted(expected.keys() | found.keys())
                    if expected.get(key) != found.get(key)
                ]
        return wrong

    def commands(self, manifest: Manifest) -> str:
        """Restore the database; an Airflow with another Fernet key gets the secrets by Airflow itself."""
        database = shlex.quote(str(manifest.state["databases"][0]))
        return (
            f"{super().commands(manifest)}"
            "# The Fernet key of the database is not in here. An Airflow with another one neither reads nor replaces\n"
            f"# the restored secrets; {CONNECTIONS} and {VARIABLES} have them in plain text. With the settings of\n"
            "# that Airflow, whether it takes the restored database or has one of its own:\n"
            f"#   PGDATABASE={database} psql --no-psqlrc --command='{_FORGET}'\n"
            f"#   airflow connections import --overwrite {CONNECTIONS}\n"
            f"#   airflow variables import {VARIABLES}\n"
            f"# Then delete {CONNECTIONS} and {VARIABLES}.\n"
        )


def _write(session: Session, read: Any, out: Writer) -> None:
    out.write(json.dumps(read(session), indent=1, sort_keys=True).encode())


def _connections(session: Session) -> Entries:
    fernet = _Fernet()
    found = {}
    for name, kind, told, host, schema, login, port, password, locked, extra, extra_locked in session.rows(
        _CONNECTIONS
    ):
        where = f"Connection {name}"
        found[name] = {
            "conn_type": kind,
            "description": told,
            "host": host,
            "schema": schema,
            "login": login,
            "port": port,
            "password": fernet.plain(password, where) if locked else password,
            "extra": fernet.plain(extra, where) if extra_locked else extra,
        }
    return found


def _variables(session: Session) -> Entries:
    fernet = _Fernet()
    found: Entries = {}
    for key, value, locked, told in session.rows(_VARIABLES):
        plain = fernet.plain(value, f"Variable {key}") if locked else value
        # Values as text: Airflow imports anything else as JSON.
        found[key] = {"value": plain, "description": told} if told else plain
    return found


class _Fernet:
    """The key of this installation, which its workers have in their settings."""

    def __init__(self) -> None:
        from airflow.sdk import conf
        from cryptography.fernet import Fernet, MultiFernet

        keys = str(conf.get("core", "fernet_key", fallback="") or "")
        self._fernet = MultiFernet([Fernet(key.encode()) for key in keys.split(",")]) if keys else None

    def plain(self, value: str | None, where: str) -> str | None:
        from cryptography.fernet import InvalidToken

        if not value:
            return value
        if self._fernet is None:
            raise NotDecrypted(f"{where} is encrypted, and this worker has no Fernet key: set [core] fernet_key there.")
        try:
            return self._fernet.decrypt(value.encode()).decode()
        except InvalidToken:
            # Without the cause, which could show the value.
            raise NotDecrypted(
                f"{where} is encrypted for another Fernet key than this worker has: set [core] fernet_key there to all "
                "keys of the installation, the newest first."
            ) from None


def _difference(key: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    if key not in found:
        return "is missing"
    return "is not what was backed up" if key in expected else "was not backed up"

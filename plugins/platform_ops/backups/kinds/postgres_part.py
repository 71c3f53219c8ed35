"""A part of a point of PostgreSQL: one database, or the rows of one table in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from platform_ops.backups.errors import NoPoint
from platform_ops.backups.points import Manifest
from platform_ops.systems.postgres.hook import as_address

TEMPLATE = "template1"
RESTORE = ("--create", "--clean", "--if-exists", "--exit-on-error", "--no-tablespaces")
"""The archive makes its database, with owner, encoding and rights; ``--clean`` is for those a new cluster has."""

_NAMES = re.compile(r'"((?:[^"]|"")*)"\."((?:[^"]|"")*)"')
"""Schema and table, as the list of contents has them."""


@dataclass(frozen=True, slots=True)
class DatabasePart:
    """What is restored of one database.

    :param schema: of the table; empty for the whole database.
    """

    database: str
    schema: str = ""
    table: str = ""

    @property
    def selections(self) -> list[list[str]]:
        """Return the arguments of each run of ``pg_restore``.

        A table needs its schema and its types, so all definitions of the database come with it, but no index and no
        constraint: those may need rows of other tables.
        """
        whole = [*RESTORE, f"--dbname={TEMPLATE}"]
        if not self.table:
            return [whole]
        rows = ["--data-only", "--exit-on-error", f"--schema={self.schema}", f"--table={self.table}"]
        return [[*whole, "--section=pre-data"], [*rows, f"--dbname={as_address(self.database)}"]]

    def holds(self, name: str) -> bool:
        """Say whether a line of the list of contents is about the part."""
        about = _about(self.database)
        if not self.table:
            return name.startswith(about)
        return name == f"{about}table {_quoted(self.schema)}.{_quoted(self.table)}"


def find_part(subset: str, manifest: Manifest, contents: Iterable[str]) -> DatabasePart:
    """Return what is meant by ``<database>`` or ``<database>/<schema>.<table>``; names may be quoted as in SQL.

    :param contents: the names in the list of contents.
    :raises NoPoint: the point has nothing of that name.
    """
    for database in manifest.state["databases"]:
        if subset == database:
            return DatabasePart(database)
        if not subset.startswith(f"{database}/"):
            continue
        wanted, about = subset.removeprefix(f"{database}/"), f"{_about(database)}table "
        for name in contents:
            found = _NAMES.fullmatch(name.removeprefix(about)) if name.startswith(about) else None
            if found is None:
                continue
            schema, table = (part.replace('""', '"') for part in found.groups())
            if wanted in (f"{schema}.{table}", found[0]):
                return DatabasePart(database, schema, table)
    raise NoPoint(
        f"Point {manifest.point} of {manifest.source} has no {subset[:200]!r}. Name one of its databases "
        f"({', '.join(manifest.state['databases'])[:400]}), or a table that has rows of its own, as "
        "<database>/<schema>.<table>."
    )


def _about(database: str) -> str:
    return f"Database {database!r}: "


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

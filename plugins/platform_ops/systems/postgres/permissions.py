"""What our account needs at a PostgreSQL server, in PostgreSQL's words."""

from __future__ import annotations

from platform_ops.common.permissions import VALID, Permission

CONNECT = Permission("CONNECT", "a database that can't be opened can't be backed up")
READ = Permission("pg_read_all_data", "every table is read")
WRITE = Permission("pg_write_all_data", "what is backed up could be changed", wanted=False)
SUPERUSER = Permission("SUPERUSER", "everything on the server could be changed, and its machine used", wanted=False)
CREATEROLE = Permission("CREATEROLE", "it could make itself a stronger account", wanted=False)
REPLICATION = Permission("REPLICATION", "with `method: physical` the files of the whole server are copied")
PERMISSIONS = (CONNECT, READ, REPLICATION, VALID, WRITE, SUPERUSER, CREATEROLE)

FILES = "*"
"""Stands for the files of the whole server."""

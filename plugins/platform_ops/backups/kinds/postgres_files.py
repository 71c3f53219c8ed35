"""The files of a whole PostgreSQL server, for servers too large to be dumped."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from platform_ops.backups.kinds.extraction import extract
from platform_ops.backups.kinds.postgres import CLUSTER, server_state
from platform_ops.backups.kinds.shape import OpenPoint, Part, Reading
from platform_ops.backups.points import Manifest
from platform_ops.backups.sources import Source
from platform_ops.common.errors import PlatformError
from platform_ops.systems.postgres.base_backup import differences
from platform_ops.systems.postgres.cluster import Cluster
from platform_ops.systems.postgres.hook import PostgresHook
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.programs import Programs
from platform_ops.systems.postgres.session import Session

FILES = "base.tar"


class PostgresFiles:
    """All databases of a server, by ``pg_basebackup``.

    Its state is that at the end of the copy, which no snapshot shows: what is proven is that every file is as it was
    sent, that PostgreSQL makes a consistent server of them, and that every row of the catalogue's databases can be
    read.
    """

    def __init__(self, source: Source) -> None:
        self._hook = PostgresHook(str(source.connection))
        self._databases = tuple(source.what["databases"])
        self._query = source.what.get("query")

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """Ask the server what it is; the copy itself begins with the part."""
        at = datetime.now(UTC)
        with ExitStack() as stack:
            # A database that does not exist is told before hours of copying.
            sessions = [stack.enter_context(self._hook.session(name)) for name in self._databases]
            state = server_state(sessions[0])
        state |= {"databases": list(self._databases), "query": self._query or ""}
        tools = {"pg_basebackup": self._hook.programs.version("pg_basebackup")}
        yield Reading(at, (Part(FILES, self._hook.write_base_backup),), state, tools)

    def restore(self, point: OpenPoint, target: Path) -> None:
        """Extract the files; the first start brings them to one state."""
        folder = target / CLUSTER
        folder.mkdir(mode=0o700)
        with point.open(FILES) as plain:
            extract(plain, folder)
        Cluster(folder, Programs()).take_over()

    def compare(self, point: OpenPoint, target: Path) -> list[str]:
        """Hold every file against the manifest PostgreSQL wrote, start the server, and read every row."""
        cluster = Cluster(target / CLUSTER, Programs())
        # The first start changes files, and takes this one away.
        wrong = list(differences(target / CLUSTER)) if (target / CLUSTER / "backup_label").exists() else []
        if wrong:
            return wrong
        cluster.set_aside_settings()
        with cluster.running(str(point.manifest.state["superuser"])) as server:
            for number, name in enumerate(point.manifest.state["databases"]):
                query = "" if number else str(point.manifest.state["query"])
                wrong += _unreadable(server, name, query)
        return wrong

    def commands(self, manifest: Manifest) -> str:
        """Extract, verify and start."""
        state = manifest.state
        return _COMMANDS.format(files=FILES, version=state["server"], superuser=shlex.quote(str(state["superuser"])))


_COMMANDS = """\
mkdir --mode=700 restored
tar --extract --file {files} --directory restored --preserve-permissions
pg_verifybackup restored
# Debian keeps these in /etc/postgresql, where no base backup looks, and without them no server starts.
[ -e restored/postgresql.conf ] || echo 'max_prepared_transactions = 1000' > restored/postgresql.conf
[ -e restored/pg_hba.conf ] || echo 'local all all peer' > restored/pg_hba.conf
[ -e restored/pg_ident.conf ] || : > restored/pg_ident.conf
# Look through these and postgresql.auto.conf: what they say was meant for the old server. Then start it, as the account
# of PostgreSQL, never root, with programs of PostgreSQL {version}, so that only that account gets to it:
#   mkdir restored/first-look
#   echo 'local all all trust' > restored/first-look/pg_hba.conf
#   options='-c hba_file=restored/first-look/pg_hba.conf -c unix_socket_directories=first-look'
#   options="$options -c listen_addresses= -c archive_mode=off"
#   pg_ctl --pgdata=restored --log=restored.log --options="$options" --wait start
#   psql --host="$PWD/restored/first-look" --username={superuser} --dbname=template1
# When all is as you expect, stop it, and start it again without the options.
"""


def _unreadable(server: Server, database: str, query: str) -> list[str]:
    try:
        with Session(server, database) as session:
            for _ in session.contents():
                pass
            if query:
                session.answer(query)
    except PlatformError as error:
        return [f"Database {database!r} can't be read: {error}"]
    return []

"""A cluster of our own: made below a folder, and running for the time of a block only.

Fence: it listens on a socket inside its own folder and nowhere else, so no other cluster is in its way. A shell watches
over it: when this process ends, even killed, the pipe to the shell closes and the shell stops the server.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from platform_ops.systems.postgres.errors import ClusterFailed
from platform_ops.systems.postgres.models import Server
from platform_ops.systems.postgres.programs import Programs

PORT = 5432
SERVER_USER = "nobody"
START_SECONDS = 300
STOP_SECONDS = 120.0
LONGEST_SOCKET = 107
"""Bytes that a socket's path may have (unix(7), sun_path)."""

LOG = "server.log"
_OF_ROWS = re.compile(r"\b(DETAIL|CONTEXT|STATEMENT|QUERY):  ")
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_directories": ".",
    # Its data is in a backup: when the machine fails meanwhile, the restore begins anew.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "archive_mode": "off",
    "max_wal_size": "4GB",
    "maintenance_work_mem": "256MB",
    "lc_messages": "C",
}
_ADOPTED = {
    # What stood in the old server's files is for the old server: addresses, keys, libraries, archives.
    "config_file": "platform-ops.conf",
    "hba_file": "platform-ops-hba.conf",
    "ident_file": "platform-ops.conf",
    "ssl": "off",
    "shared_preload_libraries": "",
    "max_prepared_transactions": "1000",
}
"""For a cluster that another server wrote; files are in its folder, where it is started."""

_WATCH = """
"$1" --silent --wait --timeout="$4" --pgdata="$2" --log="$3" --options="$5" start </dev/null >&2 || exit 1
echo started
cat >/dev/null
"$1" --silent --wait --mode=fast --pgdata="$2" stop || exec "$1" --silent --mode=immediate --pgdata="$2" stop
"""


class Cluster:
    """A cluster in one folder.

    :param folder: absolute.
    """

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._folder = folder
        self._programs = programs

    def create(self, superuser: str) -> None:
        """Make it, empty.

        :param superuser: the role that owns it: the name that role has on the server whose roles are restored.
        :raises ClusterFailed: initdb said no.
        """
        self._check_path()
        self._folder.mkdir(mode=0o700)
        self._hand_over()
        done = self._run(
            "initdb", f"--pgdata={self._folder}", f"--username={superuser}", "--auth-local=trust", "--auth-host=reject",
            "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
        )  # fmt: skip
        if done.returncode:
            raise ClusterFailed(f"initdb of {self._folder} failed: {done.stderr.strip()[-600:]}")

    def take_over(self) -> None:
        """Give what a base backup was extracted to the server's user."""
        self._folder.chmod(0o700)
        self._hand_over()

    def set_aside_settings(self) -> None:
        """Have it start with settings of our own; its own are left as they were."""
        (self._folder / _ADOPTED["config_file"]).write_text("")
        (self._folder / _ADOPTED["hba_file"]).write_text("local all all trust\n")
        for left in self._folder.glob(".s.PGSQL.*"):
            # A server that has its socket among its data sent the lock along.
            left.unlink()

    def _hand_over(self) -> None:
        owner = _server_user()
        if owner is None:
            return
        for path in (self._folder, *self._folder.rglob("*")):
            os.chown(path, *owner, follow_symlinks=False)
        # The server's user has to get to its folder; what else is there stays closed to it.
        parent = self._folder.parent
        parent.chmod(parent.stat().st_mode | 0o011)

    def _check_path(self) -> None:
        path = str(self._folder / f".s.PGSQL.{PORT}")
        if len(os.fsencode(path)) > LONGEST_SOCKET:
            raise ClusterFailed(
                f"The folder {self._folder} has too long a path for a socket of PostgreSQL: {path} has more than "
                f"{LONGEST_SOCKET} bytes. Choose a shorter target."
            )

    def _run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self._programs.path(name), *arguments]
        try:
            return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False,
                                  **self._as_server())  # fmt: skip
        except PermissionError as error:
            raise ClusterFailed(
                f"{SERVER_USER} can't reach {command[0]} or {self._folder}: PostgreSQL refuses to run as root, so root "
                f"runs it as {SERVER_USER}. Run this task as another user, or open the folders above."
            ) from error

    def _as_server(self) -> dict[str, Any]:
        """Return how the server's processes are started: PostgreSQL refuses to run as root."""
        owner = _server_user()
        how: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}}
        return how | {"user": owner[0], "group": owner[1], "extra_groups": []} if owner else how

    @contextmanager
    def running(self, user: str, settings: Mapping[str, str] = {}) -> Iterator[Server]:
        """Start it, and stop it at the end of the block, whatever the end is.

        :param user: the role that asks.
        :param settings: beside our own, and over them; constants, for they pass a shell.
        :raises ClusterFailed: it does not start; the message has its last words.
        """
        self._check_path()
        adopted = _ADOPTED if (self._folder / _ADOPTED["config_file"]).exists() else {}
        options = " ".join(f"-c {name}={value}" for name, value in {**_SETTINGS, **adopted, **settings}.items())
        watch = subprocess.Popen(
            ["sh", "-c", _WATCH, "watch", self._programs.path("pg_ctl"), str(self._folder),
             str(self._folder / LOG), str(START_SECONDS), options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A signal to our group must not end the watch before it has stopped the server.
            start_new_session=True,
            **self._as_server() | {"cwd": self._folder},
        )  # fmt: skip
        try:
            if cast("IO[bytes]", watch.stdout).readline() != b"started\n":
                raise ClusterFailed(f"PostgreSQL in {self._folder} does not start: {self._last_words()}")
            yield Server(str(self._folder), PORT, user)
        finally:
            cast("IO[bytes]", watch.stdin).close()
            self._await_end(watch)
            cast("IO[bytes]", watch.stdout).close()

    def _await_end(self, watch: subprocess.Popen[bytes]) -> None:
        try:
            watch.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            watch.kill()
            watch.wait()
            self._run("pg_ctl", "--silent", "--mode=immediate", f"--pgdata={self._folder}", "stop")

    def _last_words(self) -> str:
        log = self._folder / LOG
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        # Lines that go on begin with a tab; what they and these say may be of rows.
        lines = [line for line in lines if not line.startswith("\t") and not _OF_ROWS.search(line)]
        return " / ".join(lines[-5:])[:600] or "without a word"


def _server_user() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(SERVER_USER)
    return entry.pw_uid, entry.pw_gid

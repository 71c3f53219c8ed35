"""What a real server has to tell of itself, and how one runs as the child of the proxy that stands before it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from starlette.types import ASGIApp

from sandbox.forward import Counted, Forward
from sandbox.processes import SandboxError, clean_environment
from sandbox.real.programs import Program

START_SECONDS = 60.0
STOP_SECONDS = 5.0
PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started.

    :param variables: of its environment; secrets belong there, not into the command, which everybody can read.
    """

    command: list[str]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Server:
    """A real server.

    :param launch: from the program, the folder of its data, its port and the contract.
    :param health: a path that answers less than 500 when it works.
    :param effect: what happened when a request (method, path, query) had succeeded, in the system's own terms.
    :param grant: makes the accounts of the contract beside the main one; it may find them there.
    """

    program: Program
    launch: Callable[[Path, Path, int, Mapping[str, str]], Launch]
    health: str
    effect: Callable[[str, str, str], str | None]
    grant: Callable[[Mapping[str, str]], None]


@contextmanager
def running(
    server: Server, program: Path, folder: Path, port: int, environment: Mapping[str, str]
) -> Iterator[ASGIApp]:
    """Run a server for as long as the block lasts and stand before it; when it ends by itself, so does this process.

    It writes where we write, so whoever looks for what we left behind finds it (`processes.left_over`).

    :raises SandboxError: it died, or does not get ready.
    """
    # Else SIGTERM would end us before we end it.
    signal.signal(signal.SIGTERM, _leave)
    with started(server, program, folder, port, environment) as child:
        threading.Thread(target=_end_with, args=(server.program.name, child), daemon=True).start()
        yield Counted(Forward(f"http://127.0.0.1:{port}"), server.effect, folder / "effects.json")


@contextmanager
def started(
    server: Server, program: Path, folder: Path, port: int, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for as long as the block lasts, with nothing before it.

    :raises SandboxError: it died, or does not get ready.
    """
    launch = server.launch(program, folder, port, environment)
    variables = clean_environment({"HOME": str(folder)} | dict(launch.variables))
    child = subprocess.Popen(launch.command, stdin=subprocess.DEVNULL, env=variables, cwd=folder)
    try:
        _wait_until_ready(server, child, port)
        yield child
    finally:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS)
        child.kill()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _end_with(name: str, child: subprocess.Popen[bytes]) -> None:
    print(f"{name} ended with {child.wait()}", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_until_ready(server: Server, child: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _works(port, server.health):
        if child.poll() is not None:
            raise SandboxError(f"{server.program.name} ended with {child.returncode} while it started.")
        if time.monotonic() > deadline:
            raise SandboxError(f"{server.program.name} was not ready after {START_SECONDS:.0f} s.")
        time.sleep(PAUSE_SECONDS)


def _works(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

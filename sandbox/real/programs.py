"""Programs that are built from their Go module, once for each version, into the user's cache folder.

A build works in a folder of its own and ends with one rename. So a program that is there is whole, whatever was killed,
and two copies may build at once: the last one puts the same in the place of the same.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.processes import SandboxError

TELL_SECONDS = 5.0
BUILD_SECONDS = 1800.0
TAIL_LINES = 15
BUILDING = ".building-"
"""What the name of a build's own folder begins with."""

Tell = Callable[[str], object]


class NoGoError(SandboxError):
    """The program is not built yet, and there is no Go to build it with."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program.

    :param name: of the binary.
    :param package: the Go package that holds its main function.
    :param version: of the package's module.
    """

    name: str
    package: str
    version: str

    @property
    def path(self) -> Path:
        """Return where it lies once it is built."""
        return cache() / f"{self.name}-{self.version}" / self.name


def cache() -> Path:
    """Return our folder below the user's cache (XDG Base Directory Specification: a relative one does not count)."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "platform-ops"


def get(program: Program, tell: Tell) -> Path:
    """Return where a program lies; build it where it is not there yet.

    :param tell: called with a sentence every few seconds of a build.
    :raises NoGoError: it has to be built, and there is no Go.
    :raises SandboxError: the build failed.
    """
    if program.path.exists():
        return program.path
    go = shutil.which("go")
    if go is None:
        raise NoGoError(
            f"{program.name} is built from its Go module, and there is no `go` on the PATH. Install Go, or leave out "
            "what asks for it."
        )
    with _own_folder() as folder:
        _install(program, go, folder, tell)
        program.path.parent.mkdir(exist_ok=True)
        (folder / program.name).replace(program.path)
    return program.path


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Make a folder for one build, and remove those of builds that were killed: nobody holds their lock any more."""
    cache().mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # One at a time: between its making and its lock a new folder looks like one that was left.
        with _locked(cache(), fcntl.LOCK_EX):
            for left in cache().glob(f"{BUILDING}*"):
                with suppress(BlockingIOError), _locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(left)
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix=BUILDING, dir=cache()))
            stack.enter_context(_locked(Path(name), fcntl.LOCK_EX))
        yield Path(name)


@contextmanager
def _locked(folder: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _install(program: Program, go: str, folder: Path, tell: Tell) -> None:
    wanted = f"{program.package}@{program.version}"
    # -v names each package when it is compiled, which is all there is to show how far it is.
    command = [go, "install", "-v", "-trimpath", "-ldflags", "-s -w", wanted]
    # A Go that is too old shall say so, and not fetch a newer one.
    environment = os.environ | {"GOBIN": str(folder), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    output = folder / "output"
    tell(f"{program.name} {program.version} is built from {program.package}; the first time takes minutes")
    with (
        output.open("wb") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        ) as child,
    ):
        try:
            _wait(program, child, output, tell)
        except BaseException:
            # Compilers too.
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
    if child.returncode or not (folder / program.name).is_file():
        end = "\n".join(f"  {line}" for line in _lines(output)[-TAIL_LINES:])
        raise SandboxError(
            f"{program.name} can't be built: `go install {wanted}` ended with {child.returncode}.\n{end}"
        )


def _wait(program: Program, child: subprocess.Popen[bytes], output: Path, tell: Tell) -> None:
    began = time.monotonic()
    while not _ended(child, TELL_SECONDS):
        took, lines = time.monotonic() - began, _lines(output)
        tell(f"{program.name}: {len(lines)} modules and packages after {took:.0f} s, now {(lines or ['-'])[-1]}")
        if took > BUILD_SECONDS:
            raise SandboxError(f"{program.name} was not built after {took:.0f} s; it was given up. Try again.")
    tell(f"{program.name}: `go install` ended after {time.monotonic() - began:.0f} s")


def _ended(child: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _lines(output: Path) -> list[str]:
    return output.read_text(errors="replace").splitlines()

"""The one way to run PostgreSQL's programs: no secret among the arguments, no files of the user, a whole answer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Protocol, cast

from platform_ops.common.errors import PlatformError
from platform_ops.systems.postgres.errors import (
    DatabaseMissing,
    LoginRefused,
    ProgramFailed,
    ProgramMissing,
    ServerGone,
)

BIN = "PLATFORM_OPS_POSTGRES_BIN"
"""Environment variable with the folder of the programs, where PATH has none or older ones."""

_CHUNK = 256 * 1024
_CLOSED = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "HOME": os.devnull,
    "PGPASSFILE": f"{os.devnull}/none",
    "PGSERVICEFILE": os.devnull,
}


class Writable(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Take all of the bytes."""


class Programs:
    """PostgreSQL's programs in one folder.

    :param folder: None for the folder the environment variable names, else PATH.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder or os.environ.get(BIN) or None

    def path(self, name: str) -> str:
        """Return where a program is.

        :raises ProgramMissing: it is not there.
        """
        found = shutil.which(name, path=self._folder)
        if found is None:
            where = f"in {self._folder}" if self._folder else "on PATH"
            raise ProgramMissing(
                f"There is no program {name} {where} where this task runs. Install PostgreSQL's programs there, of the "
                f"server's version or newer, or name their folder in {BIN} or the connection's extra `bin`."
            )
        return os.path.abspath(found)  # noqa: PTH100 - resolving links would lose the folder beside it

    def version(self, name: str) -> str:
        """Return a program's version."""
        return self.run(name, ["--version"], {}, what=name).split(") ", 1)[-1].strip()

    def run(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], *, what: str) -> str:
        """Run a program and return what it printed.

        :param what: the object a person would name, for messages.
        :raises PlatformError: the class that its message stands for.
        """
        with self._started(name, arguments, environment, what) as program:
            return _decoded(program.stdout)

    def stream(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], out: Writable, *, what: str
    ) -> None:
        """Run a program and hand on what it prints; a bad end raises, so nobody takes half for the whole."""
        with self._started(name, arguments, environment, what) as program:
            printed = cast("IO[bytes]", program.stdout)
            while data := printed.read(_CHUNK):
                out.write(data)

    @contextmanager
    def _started(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        what: str,
    ) -> Iterator[subprocess.Popen[bytes]]:
        with tempfile.TemporaryFile() as complaints:
            program = subprocess.Popen(
                [self.path(name), *arguments],
                env={"PATH": os.environ.get("PATH", os.defpath), **_CLOSED, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                # A file: a pipe that nobody empties would stop the program.
                stderr=complaints,
            )
            try:
                yield program
                code = program.wait()
            finally:
                program.kill()
                program.wait()
                cast("IO[bytes]", program.stdout).close()
            if code:
                complaints.seek(0)
                raise classify(f"{name} of {what}", complaints.read().decode(errors="replace"))


def _decoded(pipe: IO[bytes] | None) -> str:
    return cast("IO[bytes]", pipe).read().decode(errors="replace")


_SIGNS: tuple[tuple[str, type[PlatformError]], ...] = (
    ("password authentication failed", LoginRefused),
    ("no password supplied", LoginRefused),
    ("no pg_hba.conf entry", LoginRefused),
    ('FATAL:  role "', LoginRefused),
    ("permission denied", LoginRefused),
    ("query would be affected by row-level security", LoginRefused),
    ('FATAL:  database "', DatabaseMissing),
    ("server closed the connection unexpectedly", ServerGone),
    ("terminating connection", ServerGone),
    ("lock timeout", ServerGone),
    ("connection to server", ServerGone),
    ("could not translate host name", ServerGone),
)


def classify(what: str, said: str, otherwise: type[PlatformError] = ProgramFailed) -> PlatformError:
    """Turn what libpq or a program said into an error.

    What the client finds is in English; a server speaks the language it is set to, and then counts as ``otherwise``.
    """
    kind = next((kind for sign, kind in _SIGNS if sign in said), otherwise)
    return kind(f"{what} failed: {' / '.join(without_rows(said)[-4:])[:600] or 'without a word'}")


_BEGIN = re.compile(r"(pg_\w+|psql|initdb)(:<?\w+>?:\d+)?: |connection to server |\s+Is the server running ")
"""How a line begins that a program or libpq wrote; other lines go on with what a server said."""

_OF_ROWS = re.compile(r"(?i)(?:^|: |\s)(detail:  |context:|statement:|line \d+:|key \(|(command|query) was: )")
_VALUE = re.compile(r"(?<=: )\".*|(?<=\bvalue )\".*?\"|(?<=string at or near )\".*")
"""A value within an error's first line; names stand elsewhere."""


def without_rows(said: str) -> list[str]:
    """Return the lines of an error that show no value of a database: a server adds rows, keys and statements.

    Whose row has many lines is not known, so only lines that begin something are kept, or the first where none does.
    """
    lines = [line for line in said.strip().splitlines() if line.strip()]
    kept = [line for line in lines if _BEGIN.match(line)] or lines[:1]
    return [_VALUE.sub('"…"', line) for line in kept if not _OF_ROWS.search(line)]

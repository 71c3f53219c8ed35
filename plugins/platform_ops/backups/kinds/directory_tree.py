"""What lies below a directory, looked at so that nobody who moves names about can lead a copy elsewhere."""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from platform_ops.common.errors import FailNow, NotFound

Identity = tuple[int, int]
"""Device and number of a file."""

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL})
"""What the system says of a name that something else has now: a link, a socket, no link."""


class DirectoryMissing(NotFound):
    """The directory does not exist, or is none."""


class FileUnreadable(FailNow):
    """A file can't be read: the account may not, or its path is too long."""


class Gone(Exception):
    """A file vanished, or something else took its name."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen under a name.

    :param to: where a link leads.
    """

    path: str
    stat: os.stat_result
    to: str = ""

    @property
    def folder(self) -> str:
        """Return the path of the folder it lies in; empty for the root."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """Return its name in that folder."""
        return self.path.rpartition("/")[2]

    @property
    def is_file(self) -> bool:
        """Say whether it is a file with contents."""
        return stat.S_ISREG(self.stat.st_mode)


class Tree:
    """The files below a root, which may itself be a link: what it leads to when it is entered is held open.

    :ivar gone: paths that vanished, or became something else, since their folder was listed.
    :ivar left_out: paths of what is neither file, folder nor link.
    """

    def __init__(self, root: Path, exclude: Sequence[str] = ()) -> None:
        self._root = root
        self._exclude = exclude
        self._opened = -1
        self._folders: dict[str, Identity] = {}
        self.gone: list[str] = []
        self.left_out: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._opened = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DirectoryMissing(
                f"There is no directory {self._root} where this task runs. Mount it there, or correct the catalogue."
            ) from error
        except PermissionError as error:
            raise FileUnreadable(
                f"{self._root} may not be read by the account of this task ({error.strerror}). Give it leave."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._opened)

    def walk(self) -> Iterator[Found]:
        """Yield what is there, a folder before what it holds, in an order that equal trees share."""
        waiting = [""]
        while waiting:
            folder, below = waiting.pop(), list[str]()
            try:
                with self.folder(folder) as number:
                    for found in self._inside(folder, number):
                        if stat.S_ISDIR(found.stat.st_mode):
                            self._folders[found.path] = identity(found.stat)
                            below.append(found.path)
                        yield found
            except Gone:
                # It stands in the list already, empty.
                continue
            waiting += reversed(below)

    def _inside(self, folder: str, number: int) -> Iterator[Found]:
        with os.scandir(number) as listed:
            # A name that is replaced meanwhile may be listed twice.
            names = sorted({entry.name for entry in listed}, key=os.fsencode)
        for name in names:
            path = f"{folder}/{name}" if folder else name
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in self._exclude):
                continue
            try:
                found = self._look(path, name, number)
            except Gone:
                self.gone.append(path)
                continue
            if found is None:
                self.left_out.append(path)
            else:
                yield found

    def _look(self, path: str, name: str, within: int) -> Found | None:
        with self._reached(path):
            seen = os.stat(name, dir_fd=within, follow_symlinks=False)
            if stat.S_ISLNK(seen.st_mode):
                return Found(path, seen, os.readlink(name, dir_fd=within))
        return Found(path, seen) if stat.S_ISREG(seen.st_mode) or stat.S_ISDIR(seen.st_mode) else None

    @contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """Open a folder, if it still is the one that was seen.

        :raises Gone: it is not.
        """
        with self._reached(path):
            number = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._opened)
        try:
            if path and identity(os.fstat(number)) != self._folders[path]:
                raise Gone(path)
            yield number
        finally:
            os.close(number)

    @contextmanager
    def file(self, found: Found, within: int) -> Iterator[IO[bytes]]:
        """Open a file.

        :param within: its open folder; by the path, a link could have taken the place of a folder above.
        :raises Gone: it is no file any more.
        :raises FileUnreadable: the account may not read it.
        """
        with self._reached(found.path):
            # Without waiting: it may have become a pipe, which nobody writes to.
            number = os.open(found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise Gone(found.path)
        with os.fdopen(number, "rb", buffering=0) as file:
            yield cast("IO[bytes]", file)

    @contextmanager
    def _reached(self, path: str) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise FileUnreadable(
                f"{shown(str(self._root / path))} may not be read by the account of this task ({error.strerror}), and "
                "a backup without it would not be whole. Give the account leave to read it, or exclude it in the "
                "catalogue."
            ) from error
        except OSError as error:
            if error.errno in _GONE:
                raise Gone(path) from error
            if error.errno == errno.ENAMETOOLONG:
                raise FileUnreadable(
                    f"{shown(str(self._root / path))[:200]}… is longer, with {len(os.fsencode(path))} bytes, than the "
                    "system opens. Exclude a folder above it in the catalogue."
                ) from error
            raise


def identity(seen: os.stat_result) -> Identity:
    """Return which file it is, whatever its name."""
    return seen.st_dev, seen.st_ino


def shown(path: str) -> str:
    """Return a path as text, whatever its encoding."""
    return os.fsencode(path).decode(errors="replace")

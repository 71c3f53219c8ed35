"""A directory: one tar of its files, and an index of what each of them was."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import os
import platform
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from platform_ops.backups.errors import NoPoint
from platform_ops.backups.kinds.extraction import extract
from platform_ops.backups.kinds.shape import OpenPoint, Part, Reading, Selection
from platform_ops.backups.points import Manifest
from platform_ops.backups.sources import Source
from platform_ops.backups.streams import CHUNK, Writer
from platform_ops.common.errors import FailNow, NotFound

FILES = "files.tar"
INDEX = "index.jsonl"
NAMED = 20
"""How many files a sentence names."""

Entry = dict[str, Any]
_Identity = tuple[int, int]
"""Device and number of a file."""

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL})
"""What the system says of a name that something else has now: a link, a socket, no link."""


class DirectoryMissing(NotFound):
    """The directory does not exist, or is none."""


class FileUnreadable(FailNow):
    """The account of this task may not read a file."""


class _Gone(Exception):
    """A file vanished, or something else took its name."""


class Directory:
    """Files below one path, with modes, links and times."""

    def __init__(self, source: Source) -> None:
        self._root = Path(source.what["path"])
        self._exclude = tuple(source.what.get("exclude", ()))

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """Open the directory."""
        if not self._root.is_dir():
            raise DirectoryMissing(
                f"There is no directory {self._root} where this task runs. Mount it there, or correct the catalogue."
            )
        entries: list[Entry] = []
        state: dict[str, Any] = {"files": 0, "bytes": 0}
        notes: list[str] = []
        parts = (
            Part(FILES, partial(self._write_files, entries, state, notes)),
            Part(INDEX, partial(_write_index, entries)),
        )
        yield Reading(datetime.now(UTC), parts, state, {"tar": f"tarfile of Python {platform.python_version()}"}, notes)

    def _write_files(self, entries: list[Entry], state: dict[str, Any], notes: list[str], out: Writer) -> None:
        changed: list[str] = []
        gone: list[str] = []
        left_out: list[str] = []
        links: dict[_Identity, str] = {}
        folders: dict[str, _Identity] = {}
        stream = cast("IO[bytes]", _Out(out))
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", bufsize=CHUNK) as tar:
            for place in self._walk(folders):
                path = place.path
                try:
                    entry = _add(tar, place, links, folders, changed)
                except _Gone:
                    gone.append(path)
                    continue
                if entry is None:
                    left_out.append(path)
                    continue
                entries.append(entry)
                state["files"] += 1
                state["bytes"] += entry.get("size", 0)
        state |= {"changed": len(changed), "vanished": len(gone), "left_out": len(left_out)}
        notes += [
            f"{len(found)} of its files {words}: {_some(found)}."
            for found, words in (
                (changed, "changed while they were read; this point holds them as they were found"),
                (gone, "vanished, or became something else, while the directory was read"),
                (left_out, "are neither files, folders nor links, and are left out"),
            )
            if found
        ]

    def _walk(self, recorded: Mapping[str, _Identity]) -> Iterator[_Place]:
        """Yield what is below the root, in an order that equal trees share.

        :param recorded: the folders that were put into the tar; into others it does not descend.
        """
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                number = _open_folder(self._root, folder, recorded.get(folder))
            except _Gone:
                # The tar has it, empty.
                continue
            try:
                with os.scandir(number) as listed:
                    names = sorted((entry.name for entry in listed), key=os.fsencode)
                found = [_Place(self._root, f"{folder}/{name}" if folder else name, name, number) for name in names]
                found = [place for place in found if not self._excluded(place.path)]
                yield from found
            finally:
                os.close(number)
            waiting += [place.path for place in reversed(found) if place.path in recorded]

    def _excluded(self, path: str) -> bool:
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self._exclude)

    def restore(self, point: OpenPoint, target: Path) -> None:
        """Extract the tar."""
        with point.open(FILES) as plain:
            extract(plain, target)

    def compare(self, point: OpenPoint, target: Path) -> list[str]:
        """Hold every file against the index."""
        return self.compare_some(point, target, "")

    def select(self, point: OpenPoint, subset: str) -> Selection:
        """Count the files of a part in the index."""
        index = _index(point)
        found = [entry for entry in index.values() if _within(entry["path"], subset)]
        if subset and not found:
            raise NoPoint(
                f"Point {point.manifest.point} of {point.manifest.source} has nothing at {_shown(subset)[:200]!r}. "
                "Name a path as it is below the source, without a slash before it."
            )
        files = [entry for entry in found if entry["type"] != "folder"]
        # What hard links lead to is written too.
        contents = {entry.get("to") if entry["type"] == "same" else entry["path"] for entry in files}
        return Selection(len(files), sum(index[path].get("size", 0) for path in contents if path in index))

    def restore_some(self, point: OpenPoint, target: Path, subset: str) -> None:
        """Extract a part of the tar, with the folders above it and what its hard links lead to."""
        needed = {subset}
        for entry in _index(point).values():
            if entry["type"] == "same" and _within(entry["path"], subset):
                needed.add(entry["to"])
        above = {str(folder) for path in needed for folder in PurePosixPath(path).parents}
        with point.open(FILES) as plain:
            extract(plain, target, lambda path: _within(path, subset) or path in needed or path in above)

    def compare_some(self, point: OpenPoint, target: Path, subset: str) -> list[str]:
        """Hold every file of a part against the index."""
        wrong = []
        expected = set()
        index = _index(point)
        for path, entry in index.items():
            if not _within(path, subset):
                continue
            expected.add(path)
            # A hard link is the file it leads to.
            difference = _difference(index.get(entry["to"], entry) if entry["type"] == "same" else entry, target / path)
            if difference:
                wrong.append(f"{_shown(path)} {difference}.")
        for folder, folders, files in os.walk(target / subset):
            for name in (*folders, *files):
                path = os.path.relpath(os.path.join(folder, name), target)  # noqa: PTH118 - names in any encoding
                if path not in expected:
                    wrong.append(f"{_shown(path)} was not backed up.")
        return wrong

    def commands(self, manifest: Manifest) -> str:  # noqa: ARG002
        """Extract with GNU tar."""
        return f"mkdir restored\ntar --extract --file {FILES} --directory restored --preserve-permissions\n"


def _index(point: OpenPoint) -> dict[str, Entry]:
    with point.open(INDEX) as plain:
        lines = plain.read(-1).splitlines()
    return {entry["path"]: entry for entry in map(json.loads, lines)}


def _within(path: str, subset: str) -> bool:
    return not subset or path == subset or path.startswith(f"{subset}/")


class _Out:
    """What tarfile writes to."""

    def __init__(self, out: Writer) -> None:
        self._out = out

    def write(self, data: bytes) -> int:
        return self._out.write(data)


@dataclass(frozen=True)
class _Place:
    """Where something was listed.

    :param within: the open folder that has it; by its path, a link could have taken the place of a folder above.
    """

    root: Path
    path: str
    name: str
    within: int

    def stat(self) -> os.stat_result:
        with _reached(self.root, self.path):
            return os.stat(self.name, dir_fd=self.within, follow_symlinks=False)

    def leads_to(self) -> str:
        with _reached(self.root, self.path):
            return os.readlink(self.name, dir_fd=self.within)

    @contextmanager
    def open(self) -> Iterator[Any]:
        with _reached(self.root, self.path):
            # Without waiting: it may have become a pipe, which nobody writes to.
            number = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.within)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise _Gone(self.path)
        with os.fdopen(number, "rb", buffering=0) as file:
            yield file


@contextmanager
def _reached(root: Path, path: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise FileUnreadable(
            f"{_shown(str(root / path))} may not be read by the account of this task ({error.strerror}), and a backup "
            "without it would not be whole. Give the account leave to read it, or exclude it in the catalogue."
        ) from error
    except OSError as error:
        if error.errno in _GONE:
            raise _Gone(path) from error
        raise


def _open_folder(root: Path, folder: str, recorded: _Identity | None) -> int:
    """Open a folder, if it still is the one that was recorded; the root may be a link."""
    with _reached(root, folder):
        number = os.open(root / folder, os.O_RDONLY | os.O_DIRECTORY)
    if recorded is None or _identity(os.fstat(number)) == recorded:
        return number
    os.close(number)
    raise _Gone(folder)


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino


def _add(
    tar: tarfile.TarFile,
    place: _Place,
    links: dict[_Identity, str],
    folders: dict[str, _Identity],
    changed: list[str],
) -> Entry | None:
    """Write one file into the tar and return its line of the index; None for what can't be backed up."""
    found = place.stat()
    if stat.S_ISDIR(found.st_mode):
        tar.addfile(_header(place.path, found, tarfile.DIRTYPE))
        folders[place.path] = _identity(found)
        return _entry(place.path, found) | {"type": "folder"}
    if stat.S_ISLNK(found.st_mode):
        to = place.leads_to()
        tar.addfile(_header(place.path, found, tarfile.SYMTYPE, to))
        return _entry(place.path, found) | {"type": "link", "to": to}
    if not stat.S_ISREG(found.st_mode):
        return None
    first = links.get(_identity(found))
    if first is not None and found.st_nlink > 1:
        tar.addfile(_header(place.path, found, tarfile.LNKTYPE, first))
        return _entry(place.path, found) | {"type": "same", "to": first}
    with place.open() as file:
        # Of what was opened: another file may have taken the name.
        found = os.fstat(file.fileno())
        info = _header(place.path, found, tarfile.REGTYPE)
        info.size = found.st_size
        content = _Exactly(file, info.size)
        tar.addfile(info, cast("IO[bytes]", content))
        after = os.fstat(file.fileno())
    if found.st_nlink > 1:
        # Not before: what vanishes must be no other name's content.
        links.setdefault(_identity(found), place.path)
    if content.short or (after.st_size, after.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
        changed.append(place.path)
    return _entry(place.path, found) | {"type": "file", "size": info.size, "sha256": content.sha256}


def _entry(path: str, found: os.stat_result) -> Entry:
    return {"path": path, "mode": stat.S_IMODE(found.st_mode), "mtime_ns": found.st_mtime_ns}


def _header(path: str, found: os.stat_result, kind: bytes, to: str = "") -> tarfile.TarInfo:
    """Make it of one look at the file: a second one may find something else."""
    info = tarfile.TarInfo(path)
    # Names of people differ between machines; numbers are what the file system keeps.
    info.mode, info.uid, info.gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
    info.type, info.linkname = kind, to
    info.pax_headers = {"mtime": str(Decimal(found.st_mtime_ns).scaleb(-9))}
    return info


class _Exactly:
    """Reads as many bytes as the header says; a file that became shorter is filled with zeros, as tar does."""

    def __init__(self, file: Any, size: int) -> None:
        self._file = file
        self._left = size
        self._hash = hashlib.sha256()
        self.short = False

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        if not data and self._left:
            self.short = True
            data = bytes(min(size, self._left))
        # tarfile takes what it gets for the whole block.
        while len(data) < min(size, self._left):
            more = self._file.read(min(size, self._left) - len(data))
            if not more:
                self.short = True
                more = bytes(min(size, self._left) - len(data))
            data += more
        self._left -= len(data)
        self._hash.update(data)
        return bytes(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _write_index(entries: list[Entry], out: Writer) -> None:
    for entry in entries:
        out.write(json.dumps(entry, sort_keys=True).encode() + b"\n")


def _difference(entry: Entry, path: Path) -> str:
    """Say how a restored file differs from its line of the index."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return "is missing"
    kinds = {"folder": stat.S_ISDIR, "link": stat.S_ISLNK, "file": stat.S_ISREG, "same": stat.S_ISREG}
    if not kinds[entry["type"]](found.st_mode):
        return f"is no {entry['type']}"
    if entry["type"] == "link":
        return "" if str(path.readlink()) == entry["to"] else "leads somewhere else"
    if stat.S_IMODE(found.st_mode) != entry["mode"]:
        return f"has mode {stat.S_IMODE(found.st_mode):o} instead of {entry['mode']:o}"
    if entry["type"] == "file":
        return _content(entry, path, found)
    return ""


def _content(entry: Entry, path: Path, found: os.stat_result) -> str:
    if found.st_size != entry["size"]:
        return f"has {found.st_size} bytes instead of {entry['size']}"
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
            return "has other bytes"
    return "" if found.st_mtime_ns == entry["mtime_ns"] else "has another time"


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(_shown(path) for path in paths[:NAMED]) + more


def _shown(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")

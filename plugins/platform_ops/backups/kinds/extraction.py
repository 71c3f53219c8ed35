"""Extract a tar so that nothing is ever written outside the target, whatever the tar says."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import IO, cast

from platform_ops.backups.streams import CHUNK, TAR_BLOCK, Reader
from platform_ops.common.errors import Refused

LONGEST_NAME = 4096
_ZEROS = bytes(4096)
"""A block of a file system: what holds only such takes no room on the disk when nothing is written there."""


class HostileArchive(Refused):
    """The archive holds something that would leave the target, or that no backup of ours holds."""


def extract(plain: Reader, target: Path) -> None:
    """Write the files of one archive below a folder.

    :raises HostileArchive: an entry is refused; it is named.
    """
    extraction = Extraction(target)
    extraction.add(plain)
    extraction.finish()


class Extraction:
    """Writes files below a folder: links last, so that nothing is written through one; times of folders at the end.

    :param target: an empty folder.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._links: list[tuple[tarfile.TarInfo, Path]] = []
        self._folders: list[tuple[tarfile.TarInfo, Path]] = []
        self._seen: set[str] = set()

    def add(self, plain: Reader, wanted: Callable[[str], bool] | None = None) -> None:
        """Write the folders and files of an archive.

        :param wanted: says which paths are written; all without it.
        :raises HostileArchive: an entry is refused; it is named.
        """
        stream = cast("IO[bytes]", _In(plain))
        with tarfile.open(
            fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape", bufsize=TAR_BLOCK
        ) as tar:
            for info in tar:
                name = _checked(info)
                if wanted and not wanted(name):
                    continue
                if name in self._seen:
                    raise HostileArchive(f"The archive holds {name[:200]!r} twice.")
                self._seen.add(name)
                path = self._target / name
                with _named(info):
                    if info.isdir():
                        path.mkdir(mode=0o700)
                        self._folders.append((info, path))
                    elif info.isreg():
                        _write(tar, info, path)
                    else:
                        self._links.append((info, path))
            # tarfile stops at the archive's end mark; only who reads on to the stream's end learns that all was right.
            while plain.read(CHUNK):
                pass

    def finish(self) -> None:
        """Make the links, and give the folders their modes and times.

        :raises HostileArchive: a link is refused; it is named.
        """
        made = {path for info, path in self._links if info.issym()}
        for info, path in self._links:
            original = self._target / _checked_name(info.linkname, info.name) if info.islnk() else path
            if made.intersection((*path.parents, *original.parents)):
                raise HostileArchive(f"{info.name[:200]!r} lies, or leads, below a link, which may lead anywhere.")
            with _named(info):
                _link(info, path, original)
        for info, path in reversed(self._folders):
            path.chmod(info.mode & 0o7777)
            os.utime(path, ns=_times(info))


@contextmanager
def _named(info: tarfile.TarInfo) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        raise HostileArchive(
            f"{info.name[:200]!r} lies in what is no folder of the archive, or is in the way of another."
        ) from error


def _link(info: tarfile.TarInfo, path: Path, original: Path) -> None:
    if info.issym():
        path.symlink_to(info.linkname)
        os.utime(path, ns=_times(info), follow_symlinks=False)
        return
    if original.is_symlink() or not original.is_file():
        raise HostileArchive(f"{info.name[:200]!r} is a hard link to what is no file of the archive.")
    os.link(original, path, follow_symlinks=False)


class _In:
    def __init__(self, plain: Reader) -> None:
        self._plain = plain

    def read(self, size: int) -> bytes:
        # tarfile takes a short answer for the end.
        data = b""
        while len(data) < size and (more := self._plain.read(size - len(data))):
            data += more
        return data


def _checked(info: tarfile.TarInfo) -> str:
    name = _checked_name(info.name, info.name)
    if not (info.isdir() or info.isreg() or info.issym() or info.islnk()):
        raise HostileArchive(f"{name[:200]!r} is a device or something else that no backup of ours holds.")
    return name


def _checked_name(name: str, of: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or len(os.fsencode(name)) > LONGEST_NAME:
        raise HostileArchive(f"{of[:200]!r} would leave the target, or has no possible name.")
    return name.rstrip("/")


def _write(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    content = cast("IO[bytes]", tar.extractfile(info))
    # By number: a file object would ask the system for more than it is told, for each of many small files.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        write_sparse(content, file)
        os.fchmod(file, info.mode & 0o7777)
        os.utime(file, ns=_times(info))
    finally:
        os.close(file)


def write_sparse(content: Reader, file: int) -> None:
    """Write all that is read into an empty file; blocks of zeros are left out, as a sparse file's were.

    :param file: its number.
    """
    size, hole = len(_ZEROS), False
    while data := content.read(CHUNK):
        written = 0
        # To look for the zeros anywhere in the data takes longer than to unpack them.
        for start in range(0, len(data), size):
            if data[start] == 0 and data.startswith(_ZEROS, start):
                _write_all(file, data[written:start])
                os.lseek(file, size, os.SEEK_CUR)
                written = start + size
        _write_all(file, data[written:])
        hole = written == len(data)
    # What ends with zeros is as long as it was.
    if hole:
        os.ftruncate(file, os.lseek(file, 0, os.SEEK_CUR))


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _times(info: tarfile.TarInfo) -> tuple[int, int]:
    # PAX keeps the fraction as text, which a float would round.
    text = info.pax_headers.get("mtime") or str(info.mtime)
    stamp = int(Decimal(text).scaleb(9))
    return stamp, stamp

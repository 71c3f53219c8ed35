"""The contents of files, packed: a pack is a tar of files that were new or changed together, and later points share it.

A pack is never changed. A point takes its unchanged files from the packs that hold them; of a pack that is mostly
dead, the rest is packed anew.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import IO, Any, cast

from platform_ops.backups.in_order import in_order
from platform_ops.backups.kinds.directory_tree import Found, Gone, Identity, Tree, identity
from platform_ops.backups.streams import TAR_BLOCK, Writer

Entry = dict[str, Any]
"""A line of ``index.jsonl``: ``path``, ``type`` (file, folder, link, same), ``mode``, ``mtime_ns``; ``to`` of links and
hard links; ``size``, ``sha256``, ``pack`` of files, with what tells that they have not changed since."""

PACK_BYTES = 64 * 1024 * 1024
PACK_FILES = 4096
"""As ``tar`` looks for each file of a pack in the list of those wanted, a longer list takes it too long."""
PACKERS = 2
SETTLES_NS = 60_000_000_000
"""A file changed so shortly before it was read may change again and keep its times: what is written to a mapped page
counts when Linux writes the page back, half a minute later (`vm.dirty_expire_centisecs`)."""
_HEADERS = 2048
"""About what the headers of a file take in a tar."""


@dataclass(slots=True)
class Outcome:
    """What became of files that were to be packed.

    :param entries: by path, each with the identity of the file that was read if it has other names too.
    """

    entries: dict[str, tuple[Entry, Identity | None]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take over what another holds."""
        self.entries |= other.entries
        self.gone += other.gone
        self.changed += other.changed


def unchanged(
    files: Iterable[Found], earlier: Mapping[str, Entry], size_of: Callable[[str], int | None]
) -> dict[str, Entry]:
    """Return the lines of the files that are what they were and whose packs are worth keeping.

    :param earlier: lines of the point that is built on, by path.
    :param size_of: returns the plain bytes of a pack; None when it is not to be had.
    """
    same = {found.path: line for found in files if (line := earlier.get(found.path)) and is_same(found.stat, line)}
    live: dict[str, int] = defaultdict(int)
    for line in same.values():
        live[line["pack"]] += line["size"] + _HEADERS
    sizes = {name: size_of(name) for name in live}
    kept = {name for name, size in sizes.items() if size is not None and 2 * live[name] >= size}
    return {path: line for path, line in same.items() if line["pack"] in kept}


def is_same(seen: os.stat_result, line: Entry) -> bool:
    """Say whether a file is the one a line tells of: who writes to a file that has settled changes its ``ctime``."""
    return line["type"] == "file" and (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino) == (
        line["size"],
        line["mtime_ns"],
        line.get("ctime_ns"),
        line["ino"],
    )


def groups(files: Iterable[Found]) -> Iterator[list[Found]]:
    """Divide files into what makes a pack, in their order."""
    group, size = list[Found](), 0
    for found in files:
        group.append(found)
        size += found.stat.st_size
        if size >= PACK_BYTES or len(group) == PACK_FILES:
            yield group
            group, size = [], 0
    if group:
        yield group


def pack(tree: Tree, files: Iterable[Found], store: Callable[[Callable[[Writer], object]], str]) -> Outcome:
    """Read files into packs, several at once.

    :param store: has a pack written, and returns its name.
    """
    packed = Outcome()
    for one in in_order(groups(files), lambda group: _pack(tree, group, store), workers=PACKERS):
        packed.add(one)
    return packed


def _pack(tree: Tree, files: Sequence[Found], store: Callable[[Callable[[Writer], object]], str]) -> Outcome:
    packed = Outcome()
    name = store(partial(_write, tree, files, packed))
    for entry, _ in packed.entries.values():
        entry["pack"] = name
    return packed


def _write(tree: Tree, files: Sequence[Found], packed: Outcome, out: Writer) -> None:
    with tar_to(out) as tar:
        for folder, listed in groupby(files, key=attrgetter("folder")):
            inside = list(listed)
            try:
                with tree.folder(folder) as number:
                    for found in inside:
                        _add(tar, tree, found, number, packed)
            except Gone:
                packed.gone += [found.path for found in inside]


def _add(tar: tarfile.TarFile, tree: Tree, found: Found, within: int, packed: Outcome) -> None:
    try:
        with tree.file(found, within) as file:
            # Of what was opened: another file may have taken the name.
            seen = _stat(file)
            read_at = time.time_ns()
            info = header(found.path, seen, tarfile.REGTYPE)
            info.size = seen.st_size
            content = _Exactly(file, info.size)
            tar.addfile(info, cast("IO[bytes]", content))
            after = _stat(file)
    except Gone:
        packed.gone.append(found.path)
        return
    told = entry_of(found.path, seen) | {"type": "file", "size": info.size, "sha256": content.sha256}
    if content.short or (after.st_size, after.st_mtime_ns) != (seen.st_size, seen.st_mtime_ns):
        packed.changed.append(found.path)
    elif read_at - seen.st_ctime_ns >= SETTLES_NS:
        told["ctime_ns"] = seen.st_ctime_ns
    packed.entries[found.path] = (
        told | {"ino": seen.st_ino},
        # A number that was given to another file names no other name of that one.
        identity(seen) if seen.st_nlink > 1 else None,
    )


def _stat(file: IO[bytes]) -> os.stat_result:
    return os.fstat(file.fileno())


def entry_of(path: str, seen: os.stat_result) -> Entry:
    """Return what every line of the index says."""
    return {"path": path, "mode": stat.S_IMODE(seen.st_mode), "mtime_ns": seen.st_mtime_ns}


def header(path: str, seen: os.stat_result, kind: bytes, to: str = "") -> tarfile.TarInfo:
    """Return a tar header made from one ``stat``: a second one might describe another file."""
    info = tarfile.TarInfo(path)
    # Names of people differ between machines; numbers are what the file system keeps.
    info.mode, info.uid, info.gid = stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid
    info.type, info.linkname = kind, to
    info.pax_headers = {"mtime": f"{Decimal(seen.st_mtime_ns).scaleb(-9):f}"}
    return info


def tar_to(out: Writer) -> tarfile.TarFile:
    """Open a tar that is written as a stream."""
    stream = cast("IO[bytes]", _Out(out))
    return tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", bufsize=TAR_BLOCK)


class _Out:
    """What tarfile writes to."""

    def __init__(self, out: Writer) -> None:
        self._out = out

    def write(self, data: bytes) -> int:
        return self._out.write(data)


class _Exactly:
    """Reads as many bytes as the header says; a file that became shorter is filled with zeros, as tar does."""

    def __init__(self, file: IO[bytes], size: int) -> None:
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

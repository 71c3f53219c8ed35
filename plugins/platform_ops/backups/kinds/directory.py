"""A directory: its files in packs that points share, a tar of its folders and links, and an index of all of it."""

from __future__ import annotations

import platform
import stat
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from platform_ops.backups.contents import FOLDER, lines, listed, open_stored, write_line
from platform_ops.backups.contents import INDEX as CONTENTS
from platform_ops.backups.depositing import Deposit
from platform_ops.backups.errors import Corrupt, NoPoint
from platform_ops.backups.in_order import one_ahead
from platform_ops.backups.kinds.directory_compare import differences, within
from platform_ops.backups.kinds.directory_packs import (
    Entry,
    Outcome,
    entry_of,
    header,
    pack,
    tar_to,
    unchanged,
)
from platform_ops.backups.kinds.directory_tree import Found, Identity, Tree, identity, shown
from platform_ops.backups.kinds.extraction import Extraction
from platform_ops.backups.kinds.shape import OpenPoint, Part, Reading, Selection
from platform_ops.backups.points import Manifest
from platform_ops.backups.sources import Source
from platform_ops.backups.streams import Writer

FILES = "index.jsonl"
TREE = "tree.tar"
PACKS = "packs.tar"
"""For each pack the paths of the files that are taken from it, for who restores with ``tar``."""
NAMED = 20
"""How many files a sentence names."""


class Directory:
    """Files below one path, with modes, links and times."""

    def __init__(self, source: Source) -> None:
        self._root = Path(source.what["path"])
        self._exclude = tuple(source.what.get("exclude", ()))
        self._read_all = bool(source.what.get("read_all", False))
        self._may_be_empty = bool(source.what.get("may_be_empty", False))
        self._deposit: Deposit | None = None

    def share(self, deposit: Deposit) -> None:
        """Take where packs go."""
        self._deposit = deposit

    @contextmanager
    def read(self) -> Iterator[Reading]:
        """Open the directory; its files are packed when the index is written."""
        if self._deposit is None:  # pragma: no cover
            raise AssertionError("a directory is read into a deposit")
        at = datetime.now(UTC)
        with Tree(self._root, self._exclude) as tree, self._deposit.begun(FILES) as deposit:
            notes = [*deposit.notes]
            state: dict[str, Any] = {"path": str(self._root), "built_on": deposit.base.point if deposit.base else None}
            copied = _Copied()
            parts = (
                Part(FILES, partial(self._write_files, tree, deposit, copied, state, notes), deposit.list_readers),
                Part(TREE, partial(_write_tree, copied)),
                Part(PACKS, partial(_write_packs, copied)),
                Part(CONTENTS, deposit.write_index, ()),
            )
            tools = {"tar": f"tarfile of Python {platform.python_version()}"}
            yield Reading(at, parts, state, tools, notes, deposit.contents)

    def _write_files(
        self, tree: Tree, deposit: Deposit, copied: _Copied, state: dict[str, Any], notes: list[str], out: Writer
    ) -> None:
        copied.found = list(tree.walk())
        files = [found for found in copied.found if found.is_file]
        there = sum(not stat.S_ISDIR(found.stat.st_mode) for found in copied.found)
        notes += deposit.held_against_base("files", there, may_be_empty=self._may_be_empty)
        copied.take_over(files, {} if self._read_all else _kept(files, deposit))
        copied.pack(tree, files, deposit)
        count = size = 0
        for _, entry in copied.entries():
            write_line(out, entry)
            count, size = count + (entry["type"] != "folder"), size + entry.get("size", 0)
        gone, changed = [*tree.gone, *copied.packed.gone], copied.packed.changed
        state |= {"files": count, "bytes": size, "packed": len(copied.packed.entries)}
        state |= {"changed": len(changed), "vanished": len(gone), "left_out": len(tree.left_out)}
        notes += _notes(changed, gone, tree.left_out)

    def restore(self, point: OpenPoint, target: Path) -> None:
        """Extract all of it."""
        self.restore_some(point, target, "")

    def compare(self, point: OpenPoint, target: Path) -> list[str]:
        """Hold every file against the index."""
        return self.compare_some(point, target, "")

    def select(self, point: OpenPoint, subset: str) -> Selection:
        """Count the files of a part in the index."""
        index = _index(point)
        found = [entry for entry in index.values() if within(entry["path"], subset)]
        if subset and not found:
            raise NoPoint(
                f"Point {point.manifest.point} of {point.manifest.source} has nothing at {shown(subset)[:200]!r}. "
                "Name a path as it is below the source, without a slash before it."
            )
        files = [entry for entry in found if entry["type"] != "folder"]
        # What hard links lead to is written too.
        paths = {entry.get("to") if entry["type"] == "same" else entry["path"] for entry in files}
        return Selection(len(files), sum(index[path].get("size", 0) for path in paths if path in index))

    def restore_some(self, point: OpenPoint, target: Path, subset: str) -> None:
        """Extract a part, with the folders above it and what its hard links lead to."""
        index = _index(point)
        needed = {subset}
        for entry in index.values():
            if entry["type"] == "same" and within(entry["path"], subset):
                needed.add(entry["to"])
        above = {str(folder) for path in needed for folder in PurePosixPath(path).parents}

        def wanted(path: str) -> bool:
            return within(path, subset) or path in needed

        extraction = Extraction(target)
        with point.open(TREE) as plain:
            extraction.add(plain, lambda path: wanted(path) or path in above)
        _extract_packs(point, extraction, _by_pack(entry for entry in index.values() if wanted(entry["path"])))
        extraction.finish()

    def compare_some(self, point: OpenPoint, target: Path, subset: str) -> list[str]:
        """Hold every file of a part against the index."""
        return differences(_index(point), target, subset, point.points.told)

    def commands(self, manifest: Manifest) -> str:
        """Extract with GNU tar: the files first, then the folders and links with their modes and times."""
        # Not through a pipe, of which a shell looks at the last end only.
        unpack = (
            "age --decrypt --identity key.txt --output packed.zst packed\n  zstd -dc packed.zst"
            if manifest.recipients
            else "zstd -dc packed"
        )
        return _COMMANDS.format(contents=f"{manifest.source}/{FOLDER}/", unpack=unpack)


_COMMANDS = """\
# An S3 client: this text uses aws, which finds address and keys in AWS_ENDPOINT_URL and its other variables.
# STORE is the bucket that holds the backups.
: "${{STORE:?}}"
mkdir restored packs
# A list for each pack of files, with the paths that belong to this point.
tar --extract --file packs.tar --directory packs
for list in packs/*; do
  [ -e "$list" ] || continue
  aws s3 cp --only-show-errors "s3://$STORE/{contents}${{list#packs/}}" packed
  {unpack} > pack.tar
  tar --extract --file pack.tar --directory restored --preserve-permissions --null --files-from "$list"
done
# Folders get their modes and times when everything is in them.
tar --extract --file tree.tar --directory restored --preserve-permissions --delay-directory-restore
"""


@dataclass(slots=True)
class _Copied:
    """What a copy found, and the line of each file: taken over, or packed."""

    found: list[Found] = field(default_factory=list)
    lines: dict[str, Entry] = field(default_factory=dict)
    packed: Outcome = field(default_factory=Outcome)
    _first: dict[Identity, str] = field(default_factory=dict)

    def take_over(self, files: Iterable[Found], kept: Mapping[str, Entry]) -> None:
        """Note the files whose lines stay as they are."""
        for found in files:
            if found.path in kept:
                self.lines[found.path] = kept[found.path]
                if found.stat.st_nlink > 1:
                    self._first.setdefault(identity(found.stat), found.path)

    def pack(self, tree: Tree, files: Iterable[Found], deposit: Deposit) -> None:
        """Pack the others, one of the names of each; should that one vanish, another of them."""
        waiting = [found for found in files if found.path not in self.lines]
        while waiting:
            firsts, others = self._divide(waiting)
            packed = pack(tree, firsts, deposit.store)
            self.packed.add(packed)
            for path, (entry, which) in packed.entries.items():
                self.lines[path] = entry
                if which is not None:
                    self._first.setdefault(which, path)
            waiting = [found for found in others if not self._link(found)]

    def _divide(self, waiting: Iterable[Found]) -> tuple[list[Found], list[Found]]:
        """Return those to pack, and the further names of the same files."""
        firsts, others, known = list[Found](), list[Found](), set[Identity]()
        for found in waiting:
            which = identity(found.stat)
            if found.stat.st_nlink > 1 and which in known:
                others.append(found)
            elif not self._link(found):
                firsts.append(found)
                known.add(which)
        return firsts, others

    def _link(self, found: Found) -> bool:
        """Make a further name a hard link, when the file it names is in a pack."""
        first = self._first.get(identity(found.stat))
        if first is None or found.stat.st_nlink == 1:
            return False
        its = self.lines[first]
        if (found.stat.st_size, found.stat.st_mtime_ns) != (its["size"], its["mtime_ns"]):
            # It was written to, or is another file with the number of one that is gone.
            return False
        self.lines[found.path] = entry_of(found.path, found.stat) | {"type": "same", "to": first}
        return True

    def entries(self) -> Iterator[tuple[Found, Entry]]:
        """Yield what was found and is in the point, in the order of the walk, with its line."""
        for found in self.found:
            if found.is_file:
                if found.path in self.lines:
                    yield found, self.lines[found.path]
            elif stat.S_ISDIR(found.stat.st_mode):
                yield found, entry_of(found.path, found.stat) | {"type": "folder"}
            else:
                yield found, entry_of(found.path, found.stat) | {"type": "link", "to": found.to}


def _kept(files: Iterable[Found], deposit: Deposit) -> dict[str, Entry]:
    """Return the lines that stay as they are, and note that their packs are needed."""
    earlier = {line["path"]: line for line in deposit.earlier(FILES) if line["type"] == "file"}
    kept = unchanged(files, earlier, deposit.size_of)
    for name in {line["pack"] for line in kept.values()}:
        # It was there when its size was asked for, and stays: the claim on the point that lists it is written.
        deposit.needs(name)
    deposit.told(sum(line["size"] for line in kept.values()))
    return kept


_TYPES = {"folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "same": tarfile.LNKTYPE}


def _write_tree(copied: _Copied, out: Writer) -> None:
    with tar_to(out) as tar:
        for found, entry in copied.entries():
            if entry["type"] != "file":
                tar.addfile(header(found.path, found.stat, _TYPES[entry["type"]], entry.get("to", "")))


def _write_packs(copied: _Copied, out: Writer) -> None:
    with tar_to(out) as tar:
        for name, paths in sorted(_by_pack(copied.lines.values()).items()):
            body = b"".join(path.encode(errors="surrogateescape") + b"\0" for path in sorted(paths))
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, BytesIO(body))


def _by_pack(entries: Iterable[Entry]) -> dict[str, set[str]]:
    packs: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry["type"] == "file":
            packs[entry["pack"]].add(entry["path"])
    return packs


def _extract_packs(point: OpenPoint, extraction: Extraction, packs: dict[str, set[str]]) -> None:
    with listed(point.points, point.manifest) as stored:
        found = [one for one in stored if one.name in packs]
    if unlisted := packs.keys() - {one.name for one in found}:
        raise Corrupt(
            f"The index of point {point.manifest.point} of {point.manifest.source} names pack {min(unlisted)}, "
            "which the point does not list. Restore another point, and find out who changed it."
        )

    # One thread unpacks while another writes files; more would wait for Python's lock.
    opened = (open_stored(point.points, one, point.identity) for one in found)
    with closing(one_ahead(opened)) as plains:
        for one, plain in zip(found, plains, strict=True):
            extraction.add(plain, packs[one.name].__contains__)


def _index(point: OpenPoint) -> dict[str, Entry]:
    with point.open(FILES) as plain:
        return {entry["path"]: entry for entry in lines(plain)}


def _notes(changed: list[str], gone: list[str], left_out: list[str]) -> list[str]:
    told = (
        (changed, "changed while they were read; this point holds them as they were found"),
        (gone, "vanished, or became something else, while the directory was read"),
        (left_out, "are neither files, folders nor links, and are left out"),
    )
    return [f"{len(paths)} of its files {words}: {_some(paths)}." for paths, words in told if paths]


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(shown(path) for path in paths[:NAMED]) + more

"""Hold what was restored below a folder against the index of a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from platform_ops.backups.kinds.directory_packs import Entry
from platform_ops.backups.kinds.directory_tree import shown
from platform_ops.backups.streams import CHUNK, Counter

_IS = {"folder": stat.S_ISDIR, "link": stat.S_ISLNK, "file": stat.S_ISREG, "same": stat.S_ISREG}


def differences(index: Mapping[str, Entry], target: Path, subset: str, told: Callable[[int], object]) -> list[str]:
    """Return a sentence for each difference in a part; empty means all of it.

    :param told: called with the size of each chunk of a file as it is read.
    """
    wrong, expected = list[str](), set[str]()
    for path, entry in index.items():
        if not within(path, subset):
            continue
        expected.add(path)
        # A hard link is the file it leads to.
        its = index.get(entry["to"], entry) if entry["type"] == "same" else entry
        difference = _difference(its, target / path, told)
        if difference:
            wrong.append(f"{shown(path)} {difference}.")
    # Of a part that is a link, walk would look at what it leads to.
    walked = () if subset and (target / subset).is_symlink() else os.walk(target / subset)
    for folder, folders, files in walked:
        for name in (*folders, *files):
            path = os.path.relpath(os.path.join(folder, name), target)  # noqa: PTH118 - names in any encoding
            if path not in expected:
                wrong.append(f"{shown(path)} was not backed up.")
    return wrong


def within(path: str, subset: str) -> bool:
    """Say whether a path belongs to a part."""
    return not subset or path == subset or path.startswith(f"{subset}/")


def _difference(entry: Entry, path: Path, told: Callable[[int], object]) -> str:
    """Say how a restored file differs from its line of the index."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return "is missing"
    if not _IS[entry["type"]](found.st_mode):
        return f"is no {entry['type']}"
    if entry["type"] == "link":
        return "" if str(path.readlink()) == entry["to"] else "leads somewhere else"
    if stat.S_IMODE(found.st_mode) != entry["mode"]:
        return f"has mode {stat.S_IMODE(found.st_mode):o} instead of {entry['mode']:o}"
    if entry["type"] == "file":
        return _content(entry, path, found, told)
    return ""


def _content(entry: Entry, path: Path, found: os.stat_result, told: Callable[[int], object]) -> str:
    if found.st_size != entry["size"]:
        return f"has {found.st_size} bytes instead of {entry['size']}"
    read = Counter(told)
    with path.open("rb", buffering=0) as file:
        while data := file.read(CHUNK):
            read.add(data)
    if read.sum.sha256 != entry["sha256"]:
        return "has other bytes"
    return "" if found.st_mtime_ns == entry["mtime_ns"] else "has another time"

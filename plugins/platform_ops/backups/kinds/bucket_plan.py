"""What a bucket holds, line by line, and which of it has changed since the last point."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any
from xml.etree import ElementTree as ET

from platform_ops.systems.object_store.models import Listed

Line = dict[str, Any]
"""A version in ``objects.jsonl``: ``key``, ``version``, ``size``, ``etag``, ``modified``; ``marker`` for a deletion,
else ``sha256``, ``content`` and ``put``: the parameters with which S3's PutObject writes it again."""

MAPPED = "mapped-"
_PLAIN_SEGMENT = re.compile(r"[^\x00-\x1f\x7f\\]+")
_LONGEST_SEGMENT = 255
_SHOWN = 200


def without(listed: Iterable[Listed], exclude: Sequence[str]) -> Iterator[Listed]:
    """Leave out the keys that match a pattern."""
    return (one for one in listed if not any(fnmatch.fnmatchcase(one.key, pattern) for pattern in exclude))


def plan(listed: Iterable[Listed], earlier: Iterable[Line]) -> Iterator[tuple[Listed, Line | None]]:
    """Pair each version with its line of an earlier point; None where that had none, or another.

    Both come by key, as S3 lists (in the order of UTF-8, which is that of Python's strings), so they are read side by
    side. A store that lists otherwise costs reading, never a wrong pair.
    """
    groups = groupby(earlier, key=lambda line: str(line["key"]))
    ahead = next(groups, None)
    key: str | None = None
    known: dict[str, Line] = {}
    for one in listed:
        if one.key != key:
            key = one.key
            while ahead is not None and ahead[0] < key:
                ahead = next(groups, None)
            same = ahead is not None and ahead[0] == key
            known = {line["version"]: line for line in ahead[1]} if same and ahead is not None else {}
        line = known.get(one.version)
        yield one, line if line is not None and is_same(one, line) else None


def is_same(one: Listed, line: Line) -> bool:
    """Say whether a version is the one a line tells of: without an ETag nobody knows."""
    same = (one.size, one.etag, one.modified, one.marker) == (
        line["size"],
        line["etag"],
        line["modified"],
        bool(line.get("marker")),
    )
    return same and (bool(one.etag) or one.marker)


def line_of(one: Listed) -> Line:
    """Return what a listing says of a version."""
    line: Line = {
        "key": one.key,
        "version": one.version,
        "size": one.size,
        "etag": one.etag,
        "modified": one.modified,
    }
    return line | {"marker": True} if one.marker else line


def scratch_key(key: str) -> str:
    """Return the key under which an object is restored for a drill.

    It is the object's own, unless a store that keeps objects as files might take it for something else.
    """
    segments = key.split("/")
    plain = all(
        _PLAIN_SEGMENT.fullmatch(segment) and segment not in (".", "..") and len(segment.encode()) <= _LONGEST_SEGMENT
        for segment in segments
    )
    return key if plain and not key.startswith(MAPPED) else MAPPED + hashlib.sha256(key.encode()).hexdigest()


def shown(key: str) -> str:
    """Return a key as a sentence can hold it."""
    return ascii(key) if len(key) <= _SHOWN else ascii(key[:_SHOWN]) + "…"


def is_md5(etag: str) -> bool:
    """Say whether an ETag looks like the MD5 of the bytes, as it is of what was written at once and unencrypted."""
    return re.fullmatch(r"[0-9a-f]{32}", etag) is not None


def meaning(text: str) -> Any:
    """Return what an XML setting says: stores write the same with and without namespaces, and in any order."""
    # Expat bounds what entities expand to, and the store is one we log in to.
    return _meaning(ET.fromstring(text))  # noqa: S314


def _meaning(element: ET.Element) -> Any:
    name, text = element.tag.rpartition("}")[2], (element.text or "").strip()
    return name, text, sorted(map(_meaning, element), key=repr)

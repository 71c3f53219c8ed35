"""Holds an extracted base backup against the manifest that PostgreSQL put into it, as ``pg_verifybackup`` does.

Not by that program: the one in the sandbox's package crashes, and this is the same everywhere. That it finds whatever
Debian's does, ``tests/real/test_postgres.py`` shows. The log (``pg_wal``) is in no manifest; whether it is whole shows
at the first start, which replays it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MANIFEST = "backup_manifest"
ALGORITHM = "SHA256"
_NOT_LISTED = frozenset({MANIFEST, "postgresql.auto.conf", "recovery.signal", "standby.signal"})
"""What pg_verifybackup leaves out too, beside ``pg_wal``: servers and people change these (pg_verifybackup(1))."""


def differences(folder: Path) -> Iterator[str]:
    """Yield a sentence for each file that is not as the server sent it, is missing, or was not sent."""
    try:
        body = (folder / MANIFEST).read_bytes()
        listed = _listed(body)
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{MANIFEST} can't be read: {error}."
        return
    for path, entry in listed.items():
        if path not in _NOT_LISTED:
            told = _difference(folder / os.fsdecode(path), entry)
            if told:
                yield f"{path!r} {told}."
    for root, folders, files in os.walk(folder):
        if Path(root) == folder:
            folders[:] = [name for name in folders if name != "pg_wal"]
        for name in files:
            path = os.path.relpath(os.path.join(root, name), folder)  # noqa: PTH118 - names in any encoding
            if path not in listed and path not in _NOT_LISTED:
                yield f"{path!r} was not sent by the server."


def _listed(body: bytes) -> Mapping[str, Mapping[str, Any]]:
    """Return the files of a manifest, whose last line is the sha256 of the lines before."""
    content = json.loads(body)
    lines = body[: body.rindex(b'"Manifest-Checksum"')]
    if hashlib.sha256(lines).hexdigest() != content["Manifest-Checksum"]:
        raise ValueError("its checksum is not that of its lines")
    return {
        # A path that is no UTF-8 is in hex.
        entry["Path"] if "Path" in entry else os.fsdecode(bytes.fromhex(entry["Encoded-Path"])): entry
        for entry in content["Files"]
    }


def _difference(path: Path, entry: Mapping[str, Any]) -> str:
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != entry["Size"]:
        return f"has {size} bytes instead of {entry['Size']}"
    if entry.get("Checksum-Algorithm") != ALGORITHM:
        return f"has no checksum of {ALGORITHM} in the manifest"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if found == entry["Checksum"] else "has other bytes"

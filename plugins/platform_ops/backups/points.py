"""A point: one state of a source, as objects below one prefix, committed by its manifest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import rfc8785

from platform_ops.common.errors import FailNow

FORMAT = "platform-ops/backup/1"
MANIFEST = "manifest.json"
VERIFIED = "verified.json"
DAMAGED = "damaged.json"
SPOILT = "spoilt.json"
"""Stands for ``verified.json`` on what was verified once and is not any more."""
CLAIM = "claim-"
"""Begins the names of the notes in which copies say which point they build on."""
RESTORE_TEXT = "RESTORE.md"
_POINT = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]{8}")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_STAMP = "%Y%m%dT%H%M%SZ"
_TIMES = ("state_at", "began_at", "ended_at")


class BadManifest(FailNow):
    """What lies where a manifest should is none, or of something else."""


@dataclass(frozen=True, slots=True)
class Member:
    """One stored object of a point.

    :param name: its file name, in the place that the manifest names.
    """

    name: str
    plain_size: int
    plain_sha256: str
    stored_size: int
    stored_sha256: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a point needs beside its members: contents it shares with other points, listed in ``contents.jsonl``."""

    count: int
    plain_size: int
    stored_size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a point is; written last, so a point without one does not exist.

    :param place: folder below the point's prefix that holds the members: each try of a copy writes to one of its own.
    :param state_at: no change of the source before this is missing.
    :param state: the source's own words for it: positions, refs, versions, row counts.
    :param tools: versions of what wrote and read.
    :param recipients: public keys the members are encrypted to.
    :param contents: None for kinds that share nothing between points.
    :param state_until: no change of the source after this is in it; None where it was read until ``ended_at``.
    """

    source: str
    kind: str
    point: str
    place: str
    run: str
    state_at: datetime
    began_at: datetime
    ended_at: datetime
    state: Mapping[str, Any]
    members: tuple[Member, ...]
    tools: Mapping[str, str]
    recipients: tuple[str, ...] = ()
    restore_text_sha256: str = ""
    contents: Contents | None = None
    state_until: datetime | None = None

    @property
    def settled_at(self) -> datetime:
        """Return the time whose state it holds, with nothing that came later."""
        return self.state_until or self.ended_at

    @property
    def state_words(self) -> str:
        """Return which state it holds: of files and objects, what was there when each was read."""
        start, end = f"{self.state_at:%Y-%m-%d %H:%M:%S}", f"{self.settled_at:%Y-%m-%d %H:%M:%S}"
        return f"{start} UTC" if start == end else f"{start} to {end.removeprefix(start[:11])} UTC"

    def member(self, part: str) -> Member | None:
        """Return the stored object of a part; None when the point has no such part."""
        names = {stored_name(part, encrypted=encrypted) for encrypted in (True, False)}
        return next((member for member in self.members if member.name in names), None)

    @property
    def stored_size(self) -> int:
        """Return the bytes of all it needs in the store."""
        return sum(member.stored_size for member in self.members) + (self.contents.stored_size if self.contents else 0)

    @property
    def plain_size(self) -> int:
        """Return the bytes of all it holds, as they were read."""
        return sum(member.plain_size for member in self.members) + (self.contents.plain_size if self.contents else 0)


def stored_name(part: str, *, encrypted: bool) -> str:
    """Name the stored object of a part by what it takes to read it."""
    return f"{part}.zst.age" if encrypted else f"{part}.zst"


def plain_name(stored: str) -> str:
    """Return what ``stored_name`` was given."""
    return stored.removesuffix(".age").removesuffix(".zst")


def point_id(began: datetime, run_id: str) -> str:
    """Name the point of a run: the same in every try, in the order of time, never that of another run."""
    return f"{began.astimezone(UTC):{_STAMP}}-{_of_run(run_id)}"


def is_of_run(point: str, run_id: object) -> bool:
    """Say whether a point has the name that a run gives."""
    return isinstance(run_id, str) and point.endswith(f"-{_of_run(run_id)}")


def _of_run(run_id: str) -> str:
    return hashlib.sha256(run_id.encode()).hexdigest()[:8]


def is_point(text: object) -> bool:
    """Say whether the text names a point."""
    return isinstance(text, str) and bool(_POINT.fullmatch(text))


def point_time(point: str) -> datetime:
    """Return when the run of a point began."""
    return datetime.strptime(point.partition("-")[0], _STAMP).replace(tzinfo=UTC)


def prefix(source: str, point: str) -> str:
    """Return where a point lies in its bucket."""
    return f"{source}/{point}/"


def write_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as it is stored: RFC 8785, so that equal manifests have equal hashes."""
    fields = asdict(manifest) | {name: getattr(manifest, name).isoformat() for name in _TIMES}
    if manifest.contents is None:
        fields.pop("contents")
    if manifest.state_until is None:
        fields.pop("state_until")
    else:
        fields["state_until"] = manifest.state_until.isoformat()
    return rfc8785.dumps({"format": FORMAT} | fields | {"members": [asdict(one) for one in manifest.members]})


def read_manifest(body: bytes, source: str, point: str) -> Manifest:
    """Read a stored manifest and check that it is of this point.

    :raises BadManifest: it is no manifest, or of another point.
    """
    where = f"{prefix(source, point)}{MANIFEST}"
    try:
        fields = json.loads(body)
        told = fields.pop("format")
        fields |= {name: datetime.fromisoformat(fields[name]) for name in (*_TIMES, "state_until") if name in fields}
        members = tuple(Member(**one) for one in fields.pop("members"))
        contents = Contents(**fields.pop("contents")) if "contents" in fields else None
        parsed = {"members": members, "recipients": tuple(fields["recipients"]), "contents": contents}
        found = Manifest(**fields | parsed)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadManifest(
            f"{where} is no manifest ({error}); the point can't be used. Restore an older one."
        ) from error
    if told != FORMAT:
        raise BadManifest(f"{where} is of format {told!r}; this version reads {FORMAT}.")
    if (found.source, found.point) != (source, point):
        raise BadManifest(
            f"{where} is the manifest of {found.source[:60]} {found.point[:40]}: somebody put it there. "
            "The point can't be used; restore an older one."
        )
    for name in (found.place, *(member.name for member in found.members)):
        if not isinstance(name, str) or not _PLAIN.fullmatch(name):
            raise BadManifest(f"{where} names a member {str(name)[:60]!r}, which no backup of ours has.")
    return found


def sha256(body: bytes) -> str:
    """Return the sha256 in hex."""
    return hashlib.sha256(body).hexdigest()

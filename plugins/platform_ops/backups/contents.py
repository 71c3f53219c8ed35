"""Contents: what several points of a source share, one stored object for equal plain bytes.

They lie beside the points, in ``<source>/contents/``, and each point lists those it needs in ``contents.jsonl``, sorted
by name. That list is not encrypted: names are keyed hashes and reveal nothing, so whoever verifies or prunes needs no
key.

A name is ``<hash>-<point that stored it>-<try>``. A copy takes over what the point it builds on lists, and writes only
names of its own; so nothing that was ever deleted, or is being deleted, is written again under the same name
(``pruning.py`` has the fence).
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from platform_ops.backups.errors import Corrupt
from platform_ops.backups.points import DAMAGED, Contents, Manifest, Member, stored_name
from platform_ops.backups.store import Points
from platform_ops.backups.streams import CHUNK, Reader, Sum, Writer

FOLDER = "contents"
INDEX = "contents.jsonl"
CYCLE = timedelta(days=7)
"""Within this time every stored content is read again."""
NAMED = 20
"""How many contents a sentence names."""
_NAME = re.compile(r"([0-9a-f]{64})-(\d{8}T\d{6}Z-[0-9a-f]{8})-[0-9a-f]{8}\.zst(\.age)?")
_START = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored content."""

    name: str
    plain_size: int
    stored_size: int
    stored_sha256: str

    @property
    def stored(self) -> Sum:
        """Return the sum of its stored bytes."""
        return Sum(self.stored_size, self.stored_sha256)


def keyed_hash(plain_sha256: str, key: str) -> str:
    """Return the hash of plain bytes that only holders of the key can make.

    The HMAC is of the bytes' sha256, so that they go by once. Without a key it is the sha256 itself.
    """
    return hmac.new(key.encode(), bytes.fromhex(plain_sha256), "sha256").hexdigest() if key else plain_sha256


def content_name(hashed: str, point: str, place: str, *, encrypted: bool) -> str:
    """Name a content."""
    return stored_name(f"{hashed}-{point}-{place}", encrypted=encrypted)


def hash_of(name: str) -> str:
    """Return the keyed hash in a content's name."""
    return name[:64]


def point_of(name: str) -> str | None:
    """Return the point that stored a content; None for what is no content of ours."""
    found = _NAME.fullmatch(name)
    return found[2] if found else None


def lines(plain: Reader) -> Iterator[dict[str, Any]]:
    """Read JSON lines.

    :raises Corrupt: the bytes are not those that were backed up, or no such lines.
    """
    rest = b""
    while data := plain.read(CHUNK):
        *whole, rest = (rest + data).split(b"\n")
        for one in whole:
            yield _line(one, plain)
    if rest:
        yield _line(rest, plain)


def _line(text: bytes, plain: Reader) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        # Who reads to the end is told which object it is that holds something else.
        while plain.read(CHUNK):
            pass
        raise Corrupt(
            "A list of a point is not one of ours, though its bytes are those that were backed up."
        ) from error
    return found


def write_line(out: Writer, line: Any) -> None:
    """Write one JSON line."""
    out.write(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def write_index(stored: Iterable[Stored], out: Writer) -> Contents:
    """Write ``contents.jsonl`` and return what it adds up to.

    :param stored: sorted by name.
    """
    count = plain = size = 0
    for one in stored:
        write_line(out, asdict(one))
        count, plain, size = count + 1, plain + one.plain_size, size + one.stored_size
    return Contents(count, plain, size)


def index_member(manifest: Manifest) -> Member | None:
    """Return the list of a point's contents; None for a point that shares nothing."""
    return manifest.member(INDEX) if manifest.contents else None


@contextmanager
def listed(points: Points, manifest: Manifest) -> Iterator[Iterator[Stored]]:
    """Open the contents a point needs, sorted by name.

    :raises Corrupt: the list is not the one that was written.
    """
    member = index_member(manifest)
    if member is None:
        yield iter(())
        return
    with points.read(manifest, member, None) as plain:
        yield _checked(lines(plain))


def _checked(found: Iterable[dict[str, Any]]) -> Iterator[Stored]:
    for line in found:
        one = Stored(**line)
        if not _NAME.fullmatch(one.name):
            raise Corrupt(f"A point names a content {one.name[:80]!r}, which no backup of ours has.")
        yield one


def key_of(points: Points, name: str) -> str:
    """Return where a content lies in its bucket."""
    return f"{points.source}/{FOLDER}/{name}"


def present(points: Points) -> Iterator[tuple[str, int]]:
    """Yield name and size of every content that lies there, by name."""
    folder = key_of(points, "")
    for key, size in points.hook.sizes(points.bucket, folder):
        yield key.removeprefix(folder), size


def abort_uploads(points: Points, whose: Callable[[str], bool]) -> None:
    """Abort the unfinished uploads of contents.

    :param whose: takes the point that began one, and says whether it is to be aborted.
    """
    folder = key_of(points, "")

    def which(key: str) -> bool:
        point = point_of(key.removeprefix(folder))
        return point is not None and whose(point)

    points.hook.abort_uploads(points.bucket, folder, which)


def side_by_side(expected: Iterable[Stored], found: Iterable[tuple[str, int]]) -> Iterator[tuple[Stored, int | None]]:
    """Pair each expected content with the size of what lies there; both come sorted by name."""
    there = iter(found)
    name, size = next(there, ("", 0))
    for one in expected:
        while name and name < one.name:
            name, size = next(there, ("", 0))
        yield one, size if name == one.name else None


def open_content(points: Points, name: str, plain: Sum, identity: str | None) -> AbstractContextManager[Reader]:
    """Open a content by the sum of its plain bytes, which a list of the kind's own says."""
    return points.open(key_of(points, name), identity, plain)


def open_stored(points: Points, one: Stored, identity: str | None) -> AbstractContextManager[Reader]:
    """Open a content by what the list of contents says of it: of its plain bytes only how many."""
    return points.open(key_of(points, one.name), identity, Sum(one.plain_size, ""), one.stored)


def in_turn(name: str, since: datetime | None, now: datetime) -> bool:
    """Say whether it is a content's turn to be read again; each has its turn once in every ``CYCLE``.

    :param since: when the last turn ended; None when there was none.
    """
    if since is None or now - since >= CYCLE:
        return True
    phase = int(hash_of(name)[:12], 16) / 16**12 * CYCLE
    turns = (now - _START - phase) // CYCLE - (since - _START - phase) // CYCLE
    return turns > 0


def check_contents(
    points: Points, manifest: Manifest, since: datetime | None, now: datetime, told: Callable[[int], object]
) -> tuple[int, int]:
    """See that all contents of a point are there, and read the new ones and those in turn again; no key is needed.

    What is damaged is noted beside the point: the next copy stores it anew.

    :param since: when the point before it was verified; None when none was.
    :return: how many are there, and how many were read.
    :raises Corrupt: some are missing or not what was stored; it names them.
    """
    wrong: dict[str, str] = {}
    count = read = 0
    with listed(points, manifest) as expected:
        for one, size in side_by_side(expected, present(points)):
            count += 1
            # What a listing says can go wrong on its way, so of what it lacks the object itself is asked.
            if size != one.stored_size or point_of(one.name) == manifest.point or in_turn(one.name, since, now):
                read += 1
                if said := _wrong(points, one, told):
                    wrong[one.name] = said
    _refuse(points, manifest, wrong)
    return count, read


def check_older_contents(points: Points, manifest: Manifest, newest: Manifest, told: Callable[[int], object]) -> None:
    """Read again what a point needs and the newest does not; what both need has its turn with the newest.

    :raises Corrupt: some are missing or not what was stored; it names them.
    """
    with listed(points, manifest) as expected, listed(points, newest) as shared:
        own = _without(expected, shared)
        wrong = {one.name: said for one in own if (said := _wrong(points, one, told))}
    _refuse(points, manifest, wrong)


def _refuse(points: Points, manifest: Manifest, wrong: Mapping[str, str]) -> None:
    if not wrong:
        return
    points.note(manifest.point, DAMAGED, {"contents": dict(wrong)})
    some = " ".join(f"{key_of(points, name)} {said}." for name, said in list(wrong.items())[:NAMED])
    raise Corrupt(
        f"{len(wrong)} of the contents of point {manifest.point} of {points.source} are not what was stored: {some} "
        "The next copy stores them anew, where the source still has them.",
        facts={"objects": [key_of(points, name) for name in list(wrong)[:NAMED]]},
    )


def _without(contents: Iterable[Stored], others: Iterator[Stored]) -> Iterator[Stored]:
    """Leave out what others are too; both come sorted by name."""
    other = next(others, None)
    for one in contents:
        while other is not None and other.name < one.name:
            other = next(others, None)
        if other is None or other.name != one.name:
            yield one


def _wrong(points: Points, one: Stored, told: Callable[[int], object]) -> str:
    """Read a content; say what is wrong with it."""
    found = points.sum(key_of(points, one.name), one.stored, told)
    if found is None:
        return "is missing"
    if found.size != one.stored_size:
        return f"has {found.size} bytes instead of {one.stored_size}"
    return "" if found == one.stored else "has other bytes"

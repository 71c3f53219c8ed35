"""Where a copy puts contents that later points share, and what it takes over from the point it builds on."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Self, cast

from platform_ops.backups.contents import (
    INDEX,
    Stored,
    abort_uploads,
    content_name,
    hash_of,
    index_member,
    key_of,
    keyed_hash,
    lines,
    listed,
    present,
    side_by_side,
    write_index,
)
from platform_ops.backups.errors import Contradiction, Corrupt, SourceEmptied
from platform_ops.backups.ledger import Ledger
from platform_ops.backups.points import CLAIM, DAMAGED, BadManifest, Contents, Manifest
from platform_ops.backups.store import Points
from platform_ops.backups.streams import (
    CHUNK,
    Counter,
    CountingWriter,
    Reader,
    Sum,
    Undecipherable,
    Writer,
    encode,
    encode_whole,
    parse_identity,
)
from platform_ops.common.errors import NotFound

SMALL = 1024 * 1024
"""Up to this size, bytes are packed at once."""
_SPOOLED = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Packed:
    """A content that is read and packed, and not yet stored.

    :param md5: of its plain bytes; what many stores use as ETag.
    """

    plain: Sum
    md5: str
    stored: Sum
    file: IO[bytes]


@dataclass(slots=True)
class Deposit:
    """The contents of a source, as one copy sees them.

    :param point: that is being made.
    :param place: of this try's own; part of the names of what it stores.
    :param recipients: public keys the contents are encrypted to; none where the source is not encrypted.
    :param key: names contents and opens the lists of earlier points; empty where nothing is encrypted.
    :param notes: what a person should know.
    """

    points: Points
    point: str
    place: str
    recipients: Sequence[str]
    key: str
    told: Callable[[int], object]
    notes: list[str] = field(default_factory=list)
    base: Manifest | None = None
    added: int = 0
    _ledger: Ledger | None = None
    _contents: Contents | None = None

    @contextmanager
    def begun(self, part: str) -> Iterator[Self]:
        """Claim the newest point whose lists can be read, and take over its contents.

        :param part: the list of the kind itself, which must be readable too.
        :raises Contradiction: the source is encrypted, and no key was entered.
        :raises BadIdentity: the key is no private key of age.
        """
        if self.recipients and not self.key:
            raise Contradiction(
                f"{self.points.source} is encrypted and shares contents between points, so the connection of its "
                "recipients needs a password: a private key of age of its own (age-keygen), which opens only lists."
            )
        if self.recipients:
            parse_identity(self.key)
        abort_uploads(self.points, lambda point: point == self.point)
        with Ledger() as ledger:
            self._ledger = ledger
            self.base = self._claim(part)
            if self.base and set(self.base.recipients) == set(self.recipients):
                ledger.load(self._usable(self.base))
            elif self.base:
                # Its contents open with the keys of its day, and the new holders may have none of those.
                self.notes.append(
                    f"The recipients are not those of point {self.base.point}, so all contents are stored anew."
                )
            yield self

    @property
    def _open_ledger(self) -> Ledger:
        if self._ledger is None:  # pragma: no cover
            raise AssertionError("the deposit was not begun")
        return self._ledger

    @property
    def list_readers(self) -> tuple[str, ...]:
        """Return the public keys a list of this source is encrypted to: the recipients', and that of those who copy."""
        return (*self.recipients, str(parse_identity(self.key).to_public())) if self.recipients else ()

    def _claim(self, part: str) -> Manifest | None:
        for point in self.points.all():
            self.points.note(self.point, f"{CLAIM}{self.place}.json", {"base": point})
            try:
                # Its manifest is read after the claim was written: that is the fence.
                return self._readable(point, part)
            except (Corrupt, NotFound, BadManifest, Undecipherable) as error:
                self.notes.append(f"Point {point} was not built on: {error}")
        self.points.note(self.point, f"{CLAIM}{self.place}.json", {"base": None})
        return None

    def _readable(self, point: str, part: str) -> Manifest:
        """Read the stored bytes of a point's lists, and see that ours is the key."""
        manifest, _ = self.points.manifest(point)
        index, own = index_member(manifest), manifest.member(part)
        if index is None or own is None:
            raise NotFound(f"It has no {INDEX} or no {part}.")
        for member in (index, own):
            self.points.check(manifest, member, lambda _: None)
        # age refuses another key at the first byte; what is left unread was just found to be what was stored.
        with self.points.read(manifest, own, self.key or None) as plain:
            plain.read(1)
        return manifest

    def earlier(self, part: str) -> Iterator[dict[str, Any]]:
        """Yield the lines of a list of the point that is built on; none without such a point."""
        member = self.base and self.base.member(part)
        if self.base is None or not member:
            return
        with self.points.read(self.base, member, self.key or None) as plain:
            yield from lines(plain)

    def _usable(self, base: Manifest) -> Iterator[Stored]:
        """Yield the contents of a point that are there whole, as far as anybody knows."""
        damaged = set[str]()
        for point in self.points.all():
            damaged |= set((self.points.noted(point, DAMAGED) or {}).get("contents", ()))
        lost = 0
        with listed(self.points, base) as expected:
            for one, size in side_by_side(expected, present(self.points)):
                if size == one.stored_size and one.name not in damaged:
                    yield one
                else:
                    lost += 1
        if lost:
            self.notes.append(f"{lost} contents of point {base.point} are damaged; what needs them is stored anew.")

    def held_against_base(self, what: str, count: int, *, may_be_empty: bool) -> list[str]:
        """Hold how much there is against the point that is built on; return what a person should know.

        A disk that is not mounted looks like an empty folder, and the retention would let the full points go.

        :param what: the word for it, by which the state of a point counts it.
        :param may_be_empty: as the catalogue says.
        :raises SourceEmptied: there is nothing, and was something.
        """
        before = int(self.base.state.get(what) or 0) if self.base else 0
        if self.base is None or 2 * count >= before:
            return []
        if not count and not may_be_empty:
            raise SourceEmptied(
                f"{self.points.source} has no {what} now, and point {self.base.point} holds {before}: is something not "
                "mounted, or was it emptied? If that is meant, say `may_be_empty: true` under `what` in the catalogue."
            )
        return [f"It has {count} {what}; point {self.base.point} holds {before}."]

    def needs(self, name: str) -> bool:
        """Note that this point needs a content it takes over; False when it is not to be had."""
        return self._open_ledger.need(hash_of(name), name) is not None

    def size_of(self, name: str) -> int | None:
        """Return the plain bytes of a content that can be taken over; None when it is not to be had."""
        return self._open_ledger.size_of(name)

    def store(self, write: Callable[[Writer], object]) -> str:
        """Store a content that is like no other, as it is written, and return its name; this point needs it.

        A random number stands where the hash of others would, as the name is known before the bytes.

        :param write: writes its plain bytes.
        """
        name = content_name(secrets.token_hex(32), self.point, self.place, encrypted=bool(self.recipients))
        # Nothing names the hash of all its plain bytes.
        plain = Counter(self.told, hashes=False)
        stored = self.points.store(key_of(self.points, name), write, self.recipients, plain)
        self._open_ledger.done(Stored(name, plain.size, stored.size, stored.sha256))
        return name

    @contextmanager
    def packed(self, plain: Reader, size: int) -> Iterator[Packed]:
        """Read a content to its end, compress and encrypt it: into memory, a large one into a temporary file.

        :param size: how long it is said to be.
        """
        counter, md5 = Counter(self.told), hashlib.md5(usedforsecurity=False)
        with tempfile.SpooledTemporaryFile(max_size=_SPOOLED) as file:
            if size <= SMALL:
                stored = self._pack_small(plain, counter, md5, file)
            else:
                stored = self._pack(plain, counter, md5, file)
            file.seek(0)
            yield Packed(counter.sum, md5.hexdigest(), stored, cast("IO[bytes]", file))

    def _pack_small(self, plain: Reader, counter: Counter, md5: Any, file: Any) -> Sum:
        data = b"".join(iter(lambda: plain.read(CHUNK), b""))
        counter.add(data)
        md5.update(data)
        packed = Counter()
        CountingWriter(file, packed).write(encode_whole(data, self.recipients))
        return packed.sum

    def _pack(self, plain: Reader, counter: Counter, md5: Any, file: Any) -> Sum:
        def produce(out: Writer) -> None:
            while data := plain.read(CHUNK):
                md5.update(data)
                out.write(data)

        packed = Counter()
        encode(produce, CountingWriter(file, packed), self.recipients, counter)
        return packed.sum

    def keep(self, packed: Packed) -> str:
        """Store a content unless it is there already, and return its name; this point needs it."""
        hashed = keyed_hash(packed.plain.sha256, self.key)
        ledger = self._open_ledger
        found = ledger.begin(hashed)
        if found:
            return found.name
        name = content_name(hashed, self.point, self.place, encrypted=bool(self.recipients))
        try:
            self.points.hook.put_stream(self.points.bucket, key_of(self.points, name), packed.file)
        except BaseException:
            ledger.fail(hashed)
            raise
        ledger.done(Stored(name, packed.plain.size, packed.stored.size, packed.stored.sha256))
        self.added += 1
        return name

    def write_index(self, out: Writer) -> None:
        """Write ``contents.jsonl``; every content of the point must have been needed or kept by now."""
        self._contents = write_index(self._open_ledger.needed(), out)

    def contents(self) -> Contents | None:
        """Return what the written list adds up to."""
        return self._contents

"""The points of a source in its bucket.

Fence: a point has the name of its run, and exists when its manifest does, which is written last and on condition that
there is none. Each try of a copy writes its members to a place of its own, and the manifest names the place: of two
copies of one task, the faster one's point stands, and the other adopts it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from platform_ops.backups.errors import Corrupt, GivenUp, NoPoint, NotProven
from platform_ops.backups.history import LISTED, History, Kept
from platform_ops.backups.points import (
    CLAIM,
    DAMAGED,
    MANIFEST,
    SPOILT,
    VERIFIED,
    BadManifest,
    Manifest,
    Member,
    is_point,
    point_time,
    prefix,
    read_manifest,
    sha256,
    write_manifest,
)
from platform_ops.backups.proofs import Proof, as_dict, read_proof
from platform_ops.backups.sources import Source
from platform_ops.backups.streams import (
    CHUNK,
    Counter,
    CountingReader,
    CountingWriter,
    Limited,
    Piped,
    Sum,
    Undecipherable,
    Writer,
    decode,
    encode,
)
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.errors import ObjectNotFound

PROOFS = "proofs"


@dataclass(frozen=True, slots=True)
class Points:
    """Where a source's points lie.

    :param hook: of the store, as the account of whoever asks.
    :param told: called with the size of each chunk of plain bytes as it passes.
    """

    hook: BucketHook
    bucket: str
    source: str
    told: Callable[[int], object] = field(default=lambda _: None, compare=False)

    @classmethod
    def of(cls, source: Source, connection: str | None = None) -> Points:
        """Open the points of a source.

        :param connection: of the store, where another account than the writer's asks.
        """
        return cls(BucketHook(connection or source.store_connection), source.bucket, source.name)

    def key(self, point: str, *names: str) -> str:
        """Return where a part of a point lies."""
        return prefix(self.source, point) + "/".join(names)

    def parts(self, point: str) -> dict[str, int]:
        """Return the names of what lies in a point, each with its size."""
        start = prefix(self.source, point)
        return {key.removeprefix(start): size for key, size in self.hook.sizes(self.bucket, start)}

    def folders(self) -> list[str]:
        """Return what looks like points: those that exist, and those that something is left of."""
        return [name for name in self.hook.folders(self.bucket, f"{self.source}/") if is_point(name)]

    def exists(self, point: str) -> bool:
        """Say whether a point exists: it has a manifest, and not the empty one of a point that was given up."""
        return self.parts(point).get(MANIFEST, 0) > 0

    def all(self) -> list[str]:
        """Return the points that exist, the newest first; what never got its manifest is none."""
        return sorted(filter(self.exists, self.folders()), reverse=True)

    def has(self, point: str, name: str) -> bool:
        """Say whether a part of a point is there."""
        key = self.key(point, name)
        return next(iter(self.hook.keys(self.bucket, key)), None) == key

    def verified(self, points: Sequence[str]) -> list[str]:
        """Return those of the points that were verified."""
        return [point for point in points if self.has(point, VERIFIED)]

    def unfinished(self) -> list[str]:
        """Return what looks like points and has no manifest."""
        return [point for point in self.folders() if not self.has(point, MANIFEST)]

    def give_up(self, point: str) -> bool:
        """Keep an unfinished point from ever being committed, by an empty manifest; False when it just was."""
        return self.hook.put_new(self.bucket, self.key(point, MANIFEST), b"")

    def given_up(self) -> list[str]:
        """Return the points that were given up."""
        return [point for point in self.folders() if self.parts(point).get(MANIFEST) == 0]

    def lost(self) -> list[str]:
        """Return what was a verified point and has no manifest now, or an empty one; we delete no point like that."""
        parts = {point: self.parts(point) for point in self.folders()}
        return [point for point, its in parts.items() if not its.get(MANIFEST) and {VERIFIED, SPOILT} & its.keys()]

    def manifest(self, point: str) -> tuple[Manifest, str]:
        """Return a point's manifest and its sha256.

        :raises NoPoint: there is no such point.
        :raises BadManifest: what lies there is no manifest of this point.
        """
        body = self.hook.read(self.bucket, self.key(point, MANIFEST)) if is_point(point) else None
        if not body:
            raise NoPoint(f"{self.source} has no point {point[:60]!r}.")
        return read_manifest(body, self.source, point), sha256(body)

    def trusted(self, point: str) -> tuple[Manifest, str]:
        """Return a point's manifest and its sha256, if it is the one that was verified.

        :raises NoPoint: there is no such point.
        :raises NotProven: it was changed since.
        """
        manifest, found = self.manifest(point)
        if self.verified_as(point).get("manifest_sha256") != found:
            raise NotProven(
                f"The manifest of point {point} of {self.source} is not the one that was verified: "
                "somebody changed it. Restore an older point, and find out who."
            )
        return manifest, found

    def commit(self, manifest: Manifest) -> tuple[Manifest, str]:
        """Write the manifest, which makes the point exist; return the one that stands, and its sha256.

        :raises GivenUp: a newer run deleted the point meanwhile.
        """
        self.hook.put_new(self.bucket, self.key(manifest.point, MANIFEST), write_manifest(manifest))
        try:
            return self.manifest(manifest.point)
        except NoPoint as error:
            raise GivenUp(
                f"Point {manifest.point} of {self.source} was given up while it was copied: a newer point exists, and "
                "what this one had stored was deleted. Start back_up_sources again for a point of now."
            ) from error

    def note(self, point: str, name: str, content: Mapping[str, Any]) -> None:
        """Write what was found of a point beside it: ``verified.json``."""
        self.hook.put(self.bucket, self.key(point, name), json.dumps(content, indent=1, sort_keys=True).encode())

    def verify(self, point: str, noted: Mapping[str, Any]) -> None:
        """Note that a point was verified.

        :raises GivenUp: another run deleted it meanwhile.
        """
        self.note(point, VERIFIED, noted)
        # Whoever deletes a point looks for a note after its manifest went: of the two, one sees what the other did.
        if not self.exists(point):
            self.hook.remove(self.bucket, self.key(point, VERIFIED))
            raise GivenUp(
                f"Point {point} of {self.source} was deleted while it was verified, by a run that had verified a newer "
                "one. That one stands for it."
            )

    def spoil(self, point: str, why: str) -> None:
        """Note that a verified point is not what was stored any more: nothing is restored from it unasked."""
        self.note(point, SPOILT, {"why": why})
        self.hook.remove(self.bucket, self.key(point, VERIFIED))

    def noted(self, point: str, name: str) -> dict[str, Any] | None:
        """Return what was found of a point; None when nothing was."""
        body = self.hook.read(self.bucket, self.key(point, name))
        return json.loads(body) if body else None

    def verified_as(self, point: str) -> dict[str, Any]:
        """Return what was noted when a point was verified; nothing where that can't be read, which verifies nothing."""
        try:
            noted = self.noted(point, VERIFIED)
        except ValueError:
            return {}
        return noted if isinstance(noted, dict) else {}

    def add_proof(self, drill: str, proof: Proof) -> None:
        """Keep what a drill found: beside the points, which go with the retention, not with one of them.

        :param drill: named like a point, by the drill's run.
        """
        body = json.dumps(as_dict(proof), indent=1, sort_keys=True).encode()
        self.hook.put(self.bucket, f"{self.source}/{PROOFS}/{drill}.json", body)

    def proofs(self, since: datetime) -> list[Proof]:
        """Return what drills found since a time, the newest first, and the newest that proved a point, however old."""
        found: list[Proof] = []
        for drill in self._drills():
            if point_time(drill) < since and any(proof.proven for proof in found):
                break
            body = self.hook.read(self.bucket, f"{self.source}/{PROOFS}/{drill}.json")
            proof = read_proof(body) if body else None
            if proof and (point_time(drill) >= since or proof.proven):
                found.append(proof)
        return found

    def last_drill(self) -> datetime | None:
        """Return when its newest drill began, whatever it found; None when none ever did."""
        return next(map(point_time, self._drills()), None)

    def begun(self) -> datetime | None:
        """Return when its oldest point or drill began; None without either: points go in time, drills stay."""
        return min(map(point_time, (*self.all()[-1:], *self._drills()[-1:])), default=None)

    def _drills(self) -> list[str]:
        below = f"{self.source}/{PROOFS}/"
        names = (key.removeprefix(below).removesuffix(".json") for key in self.hook.keys(self.bucket, below))
        return sorted((name for name in names if is_point(name)), reverse=True)

    def history(self, since: datetime) -> History:
        """Return what there is of the source: the points since a time, and of older ones as many as are listed.

        A point costs one listing; those that are looked into, one more and their manifest.
        """
        existing, kept, spoilt = self.all(), list[Kept](), list[str]()
        for point in existing:
            older = point_time(point) < since and any(one.verified for one in kept)
            if older and len(kept) >= LISTED:
                break
            try:
                manifest, _ = self.manifest(point)
            except NoPoint:
                # Pruned since it was listed.
                continue
            except BadManifest as error:
                if not older:
                    spoilt.append(str(error))
                continue
            kept.append(Kept(point, manifest.state_at, manifest.stored_size, self.has(point, VERIFIED)))
        return History(len(existing), tuple(kept), tuple(self.proofs(since)), tuple(spoilt))

    def write(
        self,
        point: str,
        place: str,
        name: str,
        write: Callable[[Writer], object],
        recipients: Sequence[str],
        told: Callable[[int], object],
    ) -> Member:
        """Store one member.

        :param write: writes the plain bytes.
        """
        counter = Counter(told)
        stored = self.store(self.key(point, place, name), write, recipients, counter)
        plain = counter.sum
        return Member(name, plain.size, plain.sha256, stored.size, stored.sha256)

    def store(self, key: str, write: Callable[[Writer], object], recipients: Sequence[str], plain: Counter) -> Sum:
        """Store an object as it is written, and return the sum of its stored bytes.

        :param plain: counts its plain bytes.
        """
        stored = Counter()
        with Piped(lambda pipe: encode(write, CountingWriter(pipe, stored), recipients, plain)) as body:
            self.hook.put_stream(self.bucket, key, body)
        return stored.sum

    def read(self, manifest: Manifest, member: Member, identity: str | None) -> AbstractContextManager[Piped]:
        """Open a member's plain bytes; whoever reads to the end knows that all of it was right.

        :param identity: private key of age; None for what was not encrypted.
        """
        key = self.key(manifest.point, manifest.place, member.name)
        expected = Sum(member.plain_size, member.plain_sha256)
        return self.open(key, identity, expected, Sum(member.stored_size, member.stored_sha256))

    @contextmanager
    def open(self, key: str, identity: str | None, plain: Sum, stored: Sum | None = None) -> Iterator[Piped]:
        """Open an object's plain bytes; whoever reads to the end knows that all of it was right.

        :param identity: private key of age; what a name without ``.age`` holds reveals nothing, and needs none.
        :param plain: what it must unpack to; without a sha256 only how much.
        :param stored: what must lie there; anything without.
        :raises Corrupt: the bytes are not those that were written.
        :raises ObjectNotFound: the object is gone.
        """
        if not plain.sha256 and stored is None:
            raise Corrupt(f"Nothing says which bytes {self.bucket}/{key} must hold.", facts={"object": key})

        def produce(pipe: Writer) -> None:
            packed, unpacked = Counter(hashes=stored is not None), Counter(self.told, hashes=bool(plain.sha256))
            with self.hook.stream(self.bucket, key) as body:
                reader = CountingReader(body, packed)
                out = CountingWriter(Limited(pipe, plain.size), unpacked)
                try:
                    decode(reader, out, identity if key.endswith(".age") else None)
                except Undecipherable as error:
                    raise Corrupt(
                        f"{self.bucket}/{key} can't be read back: {error} It was changed after it was stored, or it "
                        "was not encrypted to the key of this installation. Restore another point.",
                        facts={"object": key},
                    ) from error
                while reader.read(CHUNK):
                    pass
            if stored:
                self._compare(key, packed.sum, stored, "stored")
            self._compare(key, unpacked.sum, plain, "restored")

        with Piped(produce) as pipe:
            yield pipe

    def check(self, manifest: Manifest, member: Member, told: Callable[[int], object]) -> None:
        """Read a member's stored bytes again; no key is needed.

        :raises Corrupt: they are not those that were written, each of two times.
        :raises ObjectNotFound: the object is gone.
        """
        key = self.key(manifest.point, manifest.place, member.name)
        expected = Sum(member.stored_size, member.stored_sha256)
        found = self.sum(key, expected, told)
        if found is None:
            raise ObjectNotFound(f"There is no object {self.bucket}/{key}, which belongs to point {manifest.point}.")
        self._compare(key, found, expected, "stored")

    def sum(self, key: str, expected: Sum, told: Callable[[int], object]) -> Sum | None:
        """Read an object to its end, and once more when it is not what is expected; None when it is not there.

        What went wrong on its way is no damaged object: what is damaged is so again.
        """
        found = self._sum(key, told)
        return found if found == expected else self._sum(key, lambda _: None)

    def _sum(self, key: str, told: Callable[[int], object]) -> Sum | None:
        stored = Counter(told)
        try:
            with self.hook.stream(self.bucket, key) as body:
                reader = CountingReader(body, stored)
                while reader.read(CHUNK):
                    pass
        except ObjectNotFound:
            return None
        return stored.sum

    def _compare(self, key: str, found: Sum, expected: Sum, which: str) -> None:
        if found == expected:
            return
        size = f"{found.size} bytes instead of {expected.size}"
        how = size if found.size != expected.size else "as many, with another sha256"
        raise Corrupt(
            f"The {which} bytes of {self.bucket}/{key} are not those that were backed up "
            f"({how}). Restore another point; this one is lost or was changed.",
            facts={"object": key},
        )

    def unmake(self, point: str) -> None:
        """Delete the verification notes first and the manifest last.

        A note without a manifest is then always somebody else's doing (``lost``).
        """
        for name in (VERIFIED, SPOILT, MANIFEST):
            self.hook.remove(self.bucket, self.key(point, name))
        # Another run may have verified it in between.
        if self.has(point, VERIFIED):
            self.hook.remove(self.bucket, self.key(point, VERIFIED))

    def clear(self, point: str) -> None:
        """Delete what is left of a point but an empty manifest, its claims last: they say that something is left."""
        names = [name for name in self.parts(point) if name != MANIFEST]
        for name in sorted(names, key=lambda name: (name.startswith(CLAIM), name)):
            self.hook.remove(self.bucket, self.key(point, name))

    def strays(self, manifest: Manifest) -> list[str]:
        """Return the objects of a point that belong to no part of it: what slower or dead copies left."""
        return [
            self.key(manifest.point, name)
            for name in self.parts(manifest.point)
            if name not in (MANIFEST, VERIFIED, DAMAGED, SPOILT) and not name.startswith((CLAIM, f"{manifest.place}/"))
        ]

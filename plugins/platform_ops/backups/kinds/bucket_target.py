"""A bucket that a point is restored into, and held against.

Fence: what a key holds already is looked at before it is written. Where that is the oldest versions of the point, the
restore goes on from there; so a try after one that was killed writes nothing twice. Two at the same moment may write a
version twice, which the comparison tells. Nothing is ever deleted but by the marks of deletion that were backed up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from platform_ops.backups.contents import lines, open_content
from platform_ops.backups.in_order import in_order
from platform_ops.backups.kinds.bucket_plan import MAPPED, Line, scratch_key, shown
from platform_ops.backups.kinds.shape import OpenPoint, Selection
from platform_ops.backups.streams import CHUNK, Counter, Sum
from platform_ops.systems.object_store.buckets import BucketHook, read_parameters, write_headers
from platform_ops.systems.object_store.models import Listed

OBJECTS = "objects.jsonl"

Group = tuple[str, list[Line]]
"""A key of a point with its versions, the newest first; none for a key that only the bucket has."""
Pair = tuple[Group, list[Listed] | None]
"""A group with what the bucket has.

None when the key is stored under a mapped name, so it has to be listed separately.
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What a restore wrote.

    :param versions: how many.
    :param covered: how many keys had something before, which stays below.
    """

    versions: int = 0
    covered: int = 0


class BucketTarget:
    """One bucket that exists.

    :param versions: whether the bucket keeps versions, so that all of them are restored; else the newest of each key.
    :param prefix: how the keys begin that are restored.
    :param alone: whether nothing else may be in the bucket.
    :param mapped: whether keys that a store might take for a path are restored under a hash.
    """

    def __init__(
        self,
        hook: BucketHook,
        bucket: str,
        *,
        versions: bool,
        prefix: str = "",
        alone: bool = True,
        mapped: bool = False,
    ) -> None:
        self._hook = hook
        self._bucket = bucket
        self.versions = versions
        self._prefix = prefix
        self._alone = alone
        self._mapped = mapped

    def select(self, point: OpenPoint) -> Selection:
        """Count the objects that are restored, and the bytes of all their versions."""
        objects = size = 0
        for _, versions in self._wanted(point):
            objects += not versions[0].get("marker")
            size += sum(line["size"] for line in versions)
        return Selection(objects, size)

    def in_the_way(self, point: OpenPoint) -> Iterator[str]:
        """Yield the keys in the way.

        If nothing else may be in the bucket: every key that holds more than an earlier try of this restore wrote.
        Otherwise: every key to be restored that already exists.
        """
        return filter(None, in_order(self._pairs(point), lambda pair: self._foreign(*pair)))

    def _foreign(self, group: Group, found: list[Listed] | None) -> str:
        key, expected = group
        found = self._found(key, found)
        there = len(found) > self._done(expected, found) if self._alone else bool(found and expected)
        return shown(key) if there else ""

    def restore(self, point: OpenPoint) -> Written:
        """Write what is missing."""
        versions = covered = 0
        for one in in_order(self._pairs(point), lambda pair: self._restore_key(point, *pair)):
            versions, covered = versions + one.versions, covered + one.covered
        return Written(versions, covered)

    def _restore_key(self, point: OpenPoint, group: Group, found: list[Listed] | None) -> Written:
        """Write the versions of a key that are missing, the oldest first."""
        key, expected = group
        found = self._found(key, found)
        done = self._done(expected, found)
        missing = expected[: len(expected) - done]
        for line in reversed(missing):
            if line.get("marker"):
                self._hook.remove_version(self._bucket, self._name(key))
                continue
            whole = Sum(line["size"], line["sha256"])
            with open_content(point.points, line["content"], whole, point.identity) as plain:
                self._hook.put_stream(self._bucket, self._name(key), plain, write_headers(line["put"]))
        return Written(len(missing), bool(missing) and len(found) > done)

    def _done(self, expected: list[Line], found: list[Listed]) -> int:
        """Return how many of the versions of a key are there: its oldest ones, on top of what the key had before."""
        for count in range(min(len(expected), len(found)), 0, -1):
            # The newest comes first in both.
            if all(map(self._same, found, expected[-count:])):
                return count
        return 0

    def _same(self, one: Listed, line: Line) -> bool:
        if one.marker or line.get("marker"):
            return one.marker and bool(line.get("marker"))
        return one.size == line["size"] and not self._difference(one, line)

    def compare(self, point: OpenPoint) -> list[str]:
        """Return a sentence for each difference between the bucket and the point."""
        wrong = []
        for said in in_order(self._pairs(point), lambda pair: self._compare_key(point, *pair)):
            wrong += said
        return wrong

    def _compare_key(self, point: OpenPoint, group: Group, found: list[Listed] | None) -> list[str]:
        key, expected = group
        if not expected:
            return [f"{shown(key)} was not backed up."] if self._alone else []
        found = self._found(key, found)
        if not self._alone:
            # Below lies what the key had before.
            found = found[: len(expected)]
        if [one.marker for one in found] != [bool(line.get("marker")) for line in expected]:
            return [f"{shown(key)} has {len(found)} versions instead of {len(expected)}, or deletions elsewhere."]
        return [
            f"{shown(key)} {said} (version {line['version'] or 'without an id'})."
            for one, line in zip(found, expected, strict=True)
            if not one.marker and (said := self._difference(one, line, point.points.told))
        ]

    def _difference(self, one: Listed, line: Line, told: Callable[[int], object] = lambda _: None) -> str:
        plain = Counter(told)
        with self._hook.open_version(self._bucket, one) as opened:
            while data := opened.body.read(CHUNK):
                plain.add(data)
            put = read_parameters(opened.headers, self._hook.tags(self._bucket, one, opened))
        if plain.size != line["size"]:
            return f"has {plain.size} bytes instead of {line['size']}"
        if plain.sum.sha256 != line["sha256"]:
            return "has other bytes"
        differing = sorted(name for name in put.keys() | line["put"].keys() if put.get(name) != line["put"].get(name))
        return f"has another {', '.join(differing)}" if differing else ""

    def _name(self, key: str) -> str:
        """Return what a key is called in the bucket."""
        return scratch_key(key) if self._mapped else key

    def _found(self, key: str, found: list[Listed] | None) -> list[Listed]:
        if found is not None:
            return found
        name = self._name(key)
        return [one for one in self._hook.versions(self._bucket, name, all_versions=self.versions) if one.key == name]

    def _wanted(self, point: OpenPoint) -> Iterator[Group]:
        with point.open(OBJECTS) as plain:
            for key, listed in groupby(lines(plain), key=lambda line: str(line["key"])):
                versions = list(listed)
                if not self.versions:
                    versions = [line for line in versions[:1] if not line.get("marker")]
                if versions and key.startswith(self._prefix):
                    yield key, versions

    def _pairs(self, point: OpenPoint) -> Iterator[Pair]:
        """Pair the keys of a point with those of the bucket.

        Both are sorted by key; objects written meanwhile have keys already passed.
        """
        below = "" if self._alone else self._prefix
        listed = self._hook.versions(self._bucket, below, all_versions=self.versions)
        there = _by_key(one for one in listed if not (self._mapped and one.key.startswith(MAPPED)))
        ahead = next(there, None)
        for key, versions in self._wanted(point):
            if self._name(key) != key:
                yield (key, versions), None
                continue
            while ahead is not None and ahead[0] < key:
                yield (ahead[0], []), ahead[1]
                ahead = next(there, None)
            if ahead is not None and ahead[0] == key:
                yield (key, versions), ahead[1]
                ahead = next(there, None)
            else:
                yield (key, versions), []
        while ahead is not None:
            yield (ahead[0], []), ahead[1]
            ahead = next(there, None)


def _by_key(found: Iterable[Listed]) -> Iterator[tuple[str, list[Listed]]]:
    for key, versions in groupby(found, key=lambda one: one.key):
        yield key, list(versions)

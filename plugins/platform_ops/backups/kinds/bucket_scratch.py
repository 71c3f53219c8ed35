"""A scratch bucket in the reader's store: a point is restored into it, held against its list, and it is removed.

Its name holds source and run. A drill that was killed leaves one, which the next drill of the source removes first.
What would open the copies to others or keep them from being deleted, policy and lock, is not applied to it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

from platform_ops.backups.contents import lines, open_content
from platform_ops.backups.in_order import in_order
from platform_ops.backups.kinds.bucket_plan import MAPPED, Line, meaning, scratch_key, shown
from platform_ops.backups.kinds.shape import OpenPoint
from platform_ops.backups.streams import CHUNK, Counter, Sum
from platform_ops.common.errors import PlatformError
from platform_ops.systems.object_store.buckets import BucketHook, read_parameters, write_headers
from platform_ops.systems.object_store.models import Known, Listed, Setting

OBJECTS = "objects.jsonl"
BUCKET_SETTINGS = "settings.json"
NAME_FILE = "scratch-bucket"
_APPLIED = ("cors", "lifecycle")
"""Settings that a scratch bucket gets too, when it is empty again."""
_VERSIONING = '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>'

Group = tuple[str, list[Line]]


class Scratch:
    """The scratch buckets of a source.

    :param hook: of the reader's store.
    """

    def __init__(self, source: str, hook: BucketHook) -> None:
        self._source = source
        self._hook = hook

    def restore(self, point: OpenPoint, target: Path) -> None:
        """Restore a point into a new bucket."""
        for left in self._left():
            self._hook.remove_bucket(left)
        name = f"drill-{self._source}-{secrets.token_hex(4)}"
        # Before the bucket: what the file does not name is not removed after an error.
        (target / NAME_FILE).write_text(name)
        self._hook.make_bucket(name)
        if point.manifest.state.get("versions"):
            self._hook.set_setting(name, "versioning", _VERSIONING)
        for _ in in_order(_groups(point), lambda group: partial(self._restore_key, point, name, group), lambda _: None):
            pass

    def _restore_key(self, point: OpenPoint, bucket: str, group: Group) -> None:
        """Write the versions of a key, the oldest first."""
        key, versions = scratch_key(group[0]), group[1]
        for line in reversed(versions):
            if line.get("marker"):
                self._hook.remove_version(bucket, key)
                continue
            expected = Sum(line["size"], line["sha256"])
            with open_content(point.points, line["content"], expected, point.identity) as plain:
                self._hook.put_stream(bucket, key, plain, write_headers(line["put"]))

    def compare(self, point: OpenPoint, target: Path) -> list[str]:
        """Return a sentence for each difference between the scratch bucket and the point."""
        bucket, versions = (target / NAME_FILE).read_text(), bool(point.manifest.state.get("versions"))
        found = _by_key(
            one for one in self._hook.versions(bucket, all_versions=versions) if not one.key.startswith(MAPPED)
        )
        wrong = []
        for said in in_order(
            _matched(_groups(point), found),
            lambda pair: partial(self._compare_key, bucket, *pair, versions=versions),
            lambda _: [],
        ):
            wrong += said
        return wrong + self._compare_settings(point, bucket)

    def _compare_key(self, bucket: str, group: Group, found: list[Listed] | None, *, versions: bool) -> list[str]:
        key, expected = group
        if not expected:
            return [f"{shown(key)} was not backed up."]
        if found is None:
            mapped = scratch_key(key)
            found = [one for one in self._hook.versions(bucket, mapped, all_versions=versions) if one.key == mapped]
        if [one.marker for one in found] != [bool(line.get("marker")) for line in expected]:
            return [f"{shown(key)} has {len(found)} versions instead of {len(expected)}, or deletions elsewhere."]
        return [
            f"{shown(key)} {said} (version {line['version'] or 'without an id'})."
            for one, line in zip(found, expected, strict=True)
            if not one.marker and (said := self._difference(bucket, one, line))
        ]

    def _difference(self, bucket: str, one: Listed, line: Line) -> str:
        plain = Counter()
        with self._hook.open_version(bucket, one) as opened:
            while data := opened.body.read(CHUNK):
                plain.add(data)
            put = read_parameters(opened.headers, self._hook.tags(bucket, one))
        if plain.size != line["size"]:
            return f"has {plain.size} bytes instead of {line['size']}"
        if plain.sum.sha256 != line["sha256"]:
            return "has other bytes"
        differing = sorted(name for name in put.keys() | line["put"].keys() if put.get(name) != line["put"].get(name))
        return f"has another {', '.join(differing)}" if differing else ""

    def _compare_settings(self, point: OpenPoint, bucket: str) -> list[str]:
        """See that the settings can be read, and that the store takes those that do no harm in an empty bucket."""
        with point.open(BUCKET_SETTINGS) as plain:
            settings = {name: Setting(**one) for name, one in json.loads(plain.read(-1)).items()}
        states = {name: setting.state for name, setting in settings.items()}
        wrong = []
        if states != dict(point.manifest.state["settings"]):
            wrong.append("The settings of the bucket are not those that the manifest tells of.")
        self._hook.empty(bucket)
        for name in _APPLIED:
            setting = settings.get(name)
            if setting and setting.state == Known.SET:
                wrong += self._try_setting(bucket, name, setting)
        return wrong

    def _try_setting(self, bucket: str, name: str, setting: Setting) -> Iterable[str]:
        if self._hook.setting(bucket, name).state is Known.NOT_SUPPORTED:
            return
        try:
            self._hook.set_setting(bucket, name, setting.text)
        except PlatformError as error:
            yield f"The bucket's {name} can't be restored: {error}"
            return
        found = self._hook.setting(bucket, name)
        if found.state is not Known.SET or meaning(found.text) != meaning(setting.text):
            yield f"The bucket's {name} is another when it is restored."

    def remove(self, target: Path) -> None:
        """Delete the scratch bucket; fine when there is none."""
        file = target / NAME_FILE
        if file.exists():
            self._hook.remove_bucket(file.read_text())

    def _left(self) -> list[str]:
        """Return the scratch buckets of drills that were killed."""
        ours = re.compile(rf"drill-{re.escape(self._source)}-[0-9a-f]{{8}}")
        return [name for name in self._hook.buckets() if ours.fullmatch(name)]


def _groups(point: OpenPoint) -> Iterator[Group]:
    """Yield each key of a point with its versions, the newest first."""
    with point.open(OBJECTS) as plain:
        for key, versions in groupby(lines(plain), key=lambda line: str(line["key"])):
            yield key, list(versions)


def _by_key(found: Iterable[Listed]) -> Iterator[tuple[str, list[Listed]]]:
    for key, versions in groupby(found, key=lambda one: one.key):
        yield key, list(versions)


def _matched(
    expected: Iterator[Group], found: Iterator[tuple[str, list[Listed]]]
) -> Iterator[tuple[Group, list[Listed] | None]]:
    """Pair the keys of a point with those of the bucket; both come by key.

    None stands for a key that was restored under another; a group without lines for one that was not backed up.
    """
    ahead = next(found, None)
    for group in expected:
        if scratch_key(group[0]) != group[0]:
            yield group, None
            continue
        while ahead is not None and ahead[0] < group[0]:
            yield (ahead[0], []), ahead[1]
            ahead = next(found, None)
        if ahead is not None and ahead[0] == group[0]:
            yield group, ahead[1]
            ahead = next(found, None)
        else:
            yield group, []
    while ahead is not None:
        yield (ahead[0], []), ahead[1]
        ahead = next(found, None)

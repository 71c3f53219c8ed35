"""A scratch bucket in the reader's store: a point is restored into it, held against its list, and it is removed.

Its name holds the source. A drill that was killed leaves one, which the end of its run removes, or the next drill of
the source.
What would open the copies to others or keep them from being deleted, policy and lock, is not applied to it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from platform_ops.backups.kinds.bucket_plan import meaning
from platform_ops.backups.kinds.bucket_target import BucketTarget
from platform_ops.backups.kinds.shape import OpenPoint
from platform_ops.common.errors import PlatformError
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.models import Known, Setting

BUCKET_SETTINGS = "settings.json"
NAME_FILE = "scratch-bucket"
_APPLIED = ("cors", "lifecycle")
"""Settings that a scratch bucket gets too, when it is empty again."""
_VERSIONING = '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>'


class Scratch:
    """The scratch buckets of a source.

    :param hook: of the reader's store.
    """

    def __init__(self, source: str, hook: BucketHook) -> None:
        self._source = source
        self._hook = hook

    def restore(self, point: OpenPoint, target: Path) -> None:
        """Restore a point into a new bucket."""
        self.sweep()
        name = f"drill-{self._source}-{secrets.token_hex(4)}"
        # Before the bucket: what the file does not name is not removed after an error.
        (target / NAME_FILE).write_text(name)
        self._hook.make_bucket(name)
        if point.manifest.state.get("versions"):
            self._hook.set_setting(name, "versioning", _VERSIONING)
        self._target(name, point).restore(point)

    def _target(self, bucket: str, point: OpenPoint) -> BucketTarget:
        return BucketTarget(self._hook, bucket, versions=bool(point.manifest.state.get("versions")), mapped=True)

    def compare(self, point: OpenPoint, target: Path) -> list[str]:
        """Return a sentence for each difference between the scratch bucket and the point."""
        bucket = (target / NAME_FILE).read_text()
        return self._target(bucket, point).compare(point) + self._compare_settings(point, bucket)

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

    def sweep(self) -> None:
        """Delete the scratch buckets of drills that were killed."""
        ours = re.compile(rf"drill-{re.escape(self._source)}-[0-9a-f]{{8}}")
        for name in self._hook.buckets():
            if ours.fullmatch(name):
                self._hook.remove_bucket(name)

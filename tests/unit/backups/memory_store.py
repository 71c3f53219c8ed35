"""An object store in memory, which can die like a worker does."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from platform_ops.systems.object_store.errors import ObjectNotFound
from platform_ops.systems.object_store.models import BucketRules


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class MemoryStore:
    """What ``BucketHook`` does, as far as backups use it.

    :param dies_at: the changing call, counted from 1, at which the process dies; 0 never.
    :param stage: ``before`` the change or ``answered``, when it is made.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.changes: list[str] = []
        self.dies_at = 0
        self.stage = "before"
        self.found = BucketRules(versioning=True, lock=None, expires=None)

    def _change(self, what: str, make: Any) -> None:
        self.changes.append(what)
        dies = len(self.changes) == self.dies_at
        if dies and self.stage == "before":
            raise Killed(what)
        make()
        if dies:
            raise Killed(what)

    def rules(self, bucket: str, prefix: str = "") -> BucketRules:
        return self.found

    def read(self, bucket: str, key: str) -> bytes | None:
        return self.objects.get(key)

    def put(self, bucket: str, key: str, body: bytes, content_type: str = "application/json") -> None:
        self._change(f"put {key}", lambda: self.objects.__setitem__(key, body))

    def put_new(self, bucket: str, key: str, body: bytes, content_type: str = "application/json") -> bool:
        if key in self.objects:
            return False
        self.put(bucket, key, body)
        return True

    def put_stream(self, bucket: str, key: str, body: Any) -> None:
        whole = b"".join(iter(lambda: body.read(100_000), b""))
        self._change(f"put {key}", lambda: self.objects.__setitem__(key, whole))

    @contextmanager
    def stream(self, bucket: str, key: str) -> Iterator[io.BytesIO]:
        if key not in self.objects:
            raise ObjectNotFound(f"There is no object {bucket}/{key}.")
        yield io.BytesIO(self.objects[key])

    def remove(self, bucket: str, key: str) -> None:
        self._change(f"remove {key}", lambda: self.objects.pop(key, None))

    def abort_uploads(self, bucket: str, prefix: str, which: Any = None) -> int:
        return 0

    def folders(self, bucket: str, prefix: str) -> Iterator[str]:
        rest = (key.removeprefix(prefix) for key in self.objects if key.startswith(prefix))
        yield from sorted({name.partition("/")[0] for name in rest if "/" in name})

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        return (key for key, _ in self.sizes(bucket, prefix))

    def sizes(self, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
        yield from sorted((key, len(body)) for key, body in self.objects.items() if key.startswith(prefix))

    def url(self, bucket: str, key: str) -> str:
        return f"https://backups.test/{bucket}/{key}"

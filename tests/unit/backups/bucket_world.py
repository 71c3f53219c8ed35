"""A bucket, its backups and whoever restores them, all in one store in memory."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from platform_ops.backups.contents import check_contents
from platform_ops.backups.copying import copy
from platform_ops.backups.drilling import Drill, Opened, drill
from platform_ops.backups.kinds.bucket import Bucket
from platform_ops.backups.points import VERIFIED, Manifest, point_id
from platform_ops.backups.pruning import Pruned, prune
from platform_ops.backups.sources import Retention, Source, Tier
from platform_ops.backups.store import Points
from platform_ops.backups.streams import Reader
from platform_ops.systems.object_store.buckets import BucketHook
from tests.unit.backups.s3 import S3

HOLDER, COPIER = (pyrage.x25519.Identity.generate() for _ in range(2))
START = datetime(2026, 11, 25, tzinfo=UTC)
DAILY = Retention(daily=1, weekly=0, monthly=0, yearly=0)


def source_of(**what: Any) -> Source:
    return Source(
        name="shop-data",
        kind="bucket",
        owner="platform-team@example.com",
        connection="hcp_default",
        what={"bucket": "shop"} | what,
        tier=Tier.HOURLY,
        retention=DAILY,
        store_connection="backup_store",
        bucket="backups",
        encryption_connection="backup_keys",
        lock=timedelta(0),
        rpo=timedelta(hours=2),
        rto=timedelta(hours=1),
        drill_every=timedelta(days=7),
    )


class World:
    """What a test does with the store.

    :ivar number: of the next run; one begins every hour.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, encrypted: bool = True, **what: Any) -> None:
        for name in ("hcp_default", "backup_store", "backup_reader"):
            fields = {"conn_type": "object_store", "host": f"http://{name.replace('_', '-')}", "login": "key"}
            monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields | {"password": "a-secret-key"}))
        self.s3 = S3("shop", "backups")
        self.source = source_of(**what)
        self.recipients = (str(HOLDER.to_public()),) if encrypted else ()
        self.key = str(COPIER) if encrypted else ""
        self.identity = str(HOLDER) if encrypted else None
        self.number = 0
        self.notes: list[str] = []

    @property
    def points(self) -> Points:
        return Points(BucketHook("backup_store", pool=self.s3), "backups", self.source.name)

    def kind(self) -> Bucket:
        hooks = BucketHook("hcp_default", pool=self.s3), BucketHook("backup_reader", pool=self.s3)
        return Bucket(self.source, *hooks, pause=lambda _: None)

    def name_of(self, number: int) -> str:
        return point_id(START + timedelta(hours=number), f"run {number}")

    def begin(self, number: int | None = None) -> Manifest:
        """Copy as a run does, and as it is tried again: what is committed is adopted."""
        number = self.number if number is None else number
        self.number = max(self.number, number + 1)
        point = self.name_of(number)
        if self.points.exists(point):
            return self.points.manifest(point)[0]
        manifest, _, self.notes = copy(
            self.source,
            self.kind(),
            self.points,
            point,
            run_id=f"run {number}",
            recipients=self.recipients,
            key=self.key,
            told=lambda _: None,
        )
        return manifest

    def verify(self, manifest: Manifest, since: datetime | None = None) -> tuple[int, int]:
        points = self.points
        for member in manifest.members:
            points.check(manifest, member, lambda _: None)
        now = START + timedelta(hours=self.number)
        found = check_contents(points, manifest, since, now, lambda _: None)
        points.note(manifest.point, VERIFIED, {"manifest_sha256": points.manifest(manifest.point)[1]})
        return found

    def back_up(self, number: int | None = None) -> Manifest:
        manifest = self.begin(number)
        self.verify(manifest)
        return manifest

    def prune(self, retention: Retention = DAILY) -> Pruned:
        return prune(self.points, retention, lambda _: None)

    def opened(self, manifest: Manifest) -> Opened:
        return Opened(replace(self.points, hook=BucketHook("backup_reader", pool=self.s3)), manifest, self.identity)

    def drill(self, manifest: Manifest, folder: Path) -> Drill:
        return drill(self.kind(), self.opened(manifest), folder)

    def lines(self, manifest: Manifest, part: str = "objects.jsonl") -> list[dict[str, Any]]:
        with self.opened(manifest).open(part) as plain:
            return [json.loads(line) for line in _all(plain).splitlines()]

    def contents(self) -> list[str]:
        return self.s3.names("backups", "shop-data/contents/")

    def spoil(self, change: Callable[[bytes], bytes], which: int = 0) -> str:
        """Change the bytes of a stored content, with all that the store says of it; return its key."""
        key = self.contents()[which]
        self.s3.put("backups", key, change(self.s3.newest("backups", key).body))
        return key


def _all(plain: Reader) -> bytes:
    return b"".join(iter(lambda: plain.read(1 << 20), b""))

"""Restoring a bucket into a bucket: nothing is lost, nothing is written twice, and a killed try is gone on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from airflow.sdk import Connection

from platform_ops.backups.destinations import BucketDestination
from platform_ops.backups.drilling import Opened
from platform_ops.backups.errors import NoPoint
from platform_ops.backups.restore import Restore
from platform_ops.backups.wishes import BadWish
from platform_ops.common.report import StepReport
from platform_ops.systems.object_store.buckets import BucketHook
from tests.unit.backups.bucket_world import World
from tests.unit.backups.restores import Restores, bad
from tests.unit.backups.s3 import Bucket, Killed, Version

ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
SUSPENDED = ENABLED.replace(b"Enabled", b"Suspended")
ENTRY = """\
source: shop-data
owner: platform-team@example.com
kind: bucket
connection: hcp_default
what: {bucket: shop}
tier: hourly
retention: {daily: 30}
store: {}
encryption: backup_keys
target: {rpo: 2d, rto: 1h}
"""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A bucket with versions, deletions, metadata and tags, and an empty one beside it."""
    world = World(monkeypatch)
    fields = {"conn_type": "object_store", "host": "http://hcp-default", "login": "key", "password": "a-secret-key"}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_RESTORER", json.dumps(fields))
    world.s3.buckets["shop"].settings["versioning"] = ENABLED
    world.s3.put("shop", "a/one", b"first", {"team": "a"}, x_amz_meta_who="me")
    world.s3.put("shop", "a/one", b"other", content_type="text/html")
    world.s3.put("shop", "b//../two", b"two")
    world.s3.put("shop", "gone", b"gone")
    world.s3.buckets["shop"].keys["gone"].insert(0, Version(b"", {}, "v9", world.s3.now, marker=True))
    make(world, "back")
    return world


def make(world: World, name: str, versioning: bytes | None = ENABLED) -> None:
    world.s3.buckets[name] = Bucket()
    if versioning:
        world.s3.buckets[name].settings["versioning"] = versioning


def to(world: World, bucket: str = "back", subset: str = "", *, overwrite: bool = False) -> BucketDestination:
    return BucketDestination(BucketHook("shop_restorer", pool=world.s3), bucket, subset, overwrite=overwrite)


def held(world: World, bucket: str) -> dict[str, list[bytes | None]]:
    """Return what a bucket holds: the versions of each key, the newest first, None for a deletion."""
    keys = world.s3.buckets[bucket].keys
    return {key: [None if one.marker else one.body for one in found] for key, found in keys.items() if found}


ALL = {"a/one": [b"other", b"first"], "b//../two": [b"two"], "gone": [None, b"gone"]}


def test_all_versions_come_back_once(world: World) -> None:
    opened = world.opened(world.back_up())
    assert to(world).look(opened).count == 0
    assert (to(world).select(opened).files, to(world).select(opened).bytes) == (2, 17)
    done = to(world).restore(opened, "me")
    assert (done.reused, done.kept) == (False, "")
    assert held(world, "back") == ALL
    oldest = world.s3.buckets["back"].keys["a/one"][1]
    assert (oldest.tags, oldest.headers["x-amz-meta-who"]) == ({"team": "a"}, "me")
    assert to(world).compare(opened, "me") == []
    assert to(world).restore(opened, "me").reused
    assert held(world, "back") == ALL


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 6))
def test_a_killed_try_is_gone_on_from(world: World, monkeypatch: pytest.MonkeyPatch, at: int, after: bool) -> None:
    opened = world.opened(world.back_up())
    # One after another, so that each write is the last one of a try.
    monkeypatch.setattr("platform_ops.backups.in_order.WORKERS", 1)
    world.s3.kill_at, world.s3.after = world.s3.changes + at, after
    with pytest.raises(Killed):
        to(world).restore(opened, "me")
    world.s3.revive()
    to(world).restore(opened, "me")
    assert held(world, "back") == ALL
    assert to(world).compare(opened, "me") == []


def test_what_is_there_is_not_touched_unasked(world: World) -> None:
    opened = world.opened(world.back_up())
    world.s3.put("back", "mine", b"x")
    for step in (lambda: to(world).look(opened), lambda: to(world).restore(opened, "me")):
        with pytest.raises(BadWish, match="s3://back is not empty: 'mine'"):
            step()
    assert held(world, "back") == {"mine": [b"x"]}


def test_with_overwrite_what_was_there_is_kept_below(world: World) -> None:
    opened = world.opened(world.back_up())
    world.s3.put("back", "mine", b"x")
    world.s3.put("back", "a/one", b"wrong")
    destination = to(world, overwrite=True)
    way = destination.look(opened)
    assert (way.count, way.names) == (1, ("'a/one'",))
    assert (
        "1 of its keys are there; what differs gets newer versions, and keeps those it has: 'a/one'."
        in destination.told(way)
    )
    done = destination.restore(opened, "me")
    assert done.kept == " What 1 keys had before is kept as their older versions."
    expected = ALL | {"mine": [b"x"], "a/one": [b"other", b"first", b"wrong"]}
    assert held(world, "back") == expected
    assert destination.compare(opened, "me") == []
    again = to(world, overwrite=True).restore(opened, "me")
    assert (again.reused, again.kept) == (True, "")
    assert held(world, "back") == expected


@pytest.mark.parametrize("versioning", [None, SUSPENDED])
def test_a_bucket_that_would_lose_something_is_not_written_over(world: World, versioning: bytes | None) -> None:
    opened = world.opened(world.back_up())
    make(world, "plain", versioning)
    with pytest.raises(BadWish, match="s3://plain keeps no versions, so what is written over would be lost"):
        to(world, "plain", overwrite=True).look(opened)


def test_a_bucket_without_versions_gets_the_newest_of_each_key(world: World) -> None:
    opened = world.opened(world.back_up())
    make(world, "plain", None)
    destination = to(world, "plain")
    assert "The target keeps no versions: the newest of each key" in destination.told(destination.look(opened))
    assert (destination.select(opened).files, destination.select(opened).bytes) == (2, 8)
    destination.restore(opened, "me")
    assert held(world, "plain") == {"a/one": [b"other"], "b//../two": [b"two"]}
    assert destination.compare(opened, "me") == []
    assert to(world, "plain").restore(opened, "me").reused


def test_a_part_is_the_keys_that_begin_so(world: World) -> None:
    opened = world.opened(world.back_up())
    destination = to(world, subset="b//..")
    assert destination.select(opened).files == 1
    destination.restore(opened, "me")
    assert held(world, "back") == {"b//../two": [b"two"]}
    assert destination.compare(opened, "me") == []
    with pytest.raises(NoPoint, match="has no key that begins with 'c'"):
        to(world, subset="c").select(opened)


def change(bucket: Bucket) -> None:
    bucket.keys["a/one"][1].body = b"tsrif"


def retag(bucket: Bucket) -> None:
    bucket.keys["a/one"][1].tags = {}


def lose(bucket: Bucket) -> None:
    bucket.keys.pop("b//../two")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(change, "'a/one' has other bytes"), (retag, "'a/one' has another Tagging"), (lose, "two' has 0 versions")],
)
def test_what_differs_is_told(world: World, spoil: Callable[[Bucket], None], says: str) -> None:
    opened = world.opened(world.back_up())
    to(world).restore(opened, "me")
    spoil(world.s3.buckets["back"])
    (said,) = to(world).compare(opened, "me")
    assert says in said


def test_a_bucket_that_is_missing_is_named_with_its_account(world: World) -> None:
    with pytest.raises(BadWish, match=r"no bucket nosuch at http://hcp-default, or it is hidden from .* shop_restorer"):
        to(world, "nosuch").look(world.opened(world.back_up()))


def test_what_is_read_back_is_told(world: World) -> None:
    told: list[int] = []
    opened = world.opened(world.back_up())
    to(world).restore(Opened(replace(opened.points, told=told.append), opened.manifest, opened.identity), "me")
    assert sum(told) >= 17


def test_the_steps_restore_a_bucket(world: World, restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = restores.steps.home / "include" / "backups" / "shop-data.yaml"
    entry.write_text(ENTRY + "restore: {connection: shop_restorer}\n")
    for module in ("store.BucketHook", "restore.BucketHook"):
        hook = BucketHook("shop_restorer", pool=world.s3)
        monkeypatch.setattr(f"platform_ops.backups.{module}", lambda _, hook=hook: hook)
    store = Connection(conn_id="s", conn_type="object_store", host="http://hcp", login="key", password="a-secret-key")
    known: dict[str, object] = {"backup_identity": SimpleNamespace(password=world.identity)}
    known |= dict.fromkeys(("shop_restorer", "backup_store", "backup_reader", "hcp_default"), store)
    monkeypatch.setattr("platform_ops.backups.keys.BaseHook.get_connection", known.__getitem__)
    point = world.back_up().point
    form = {"source": "shop-data", "target": "s3://back"}
    assert "All versions are restored. Nothing is in the way." in restores.plan(**form, dry_run=True)["summary"]
    assert restores.restore()["outcome"] == "not needed"
    assert held(world, "back") == {}
    facts = restores.plan(dry_run=False)["facts"]
    assert (facts["target"], facts["files"], facts["bytes"], facts["free_bytes"]) == ("s3://back", 2, 17, None)
    assert isinstance(restores.ask(), StepReport)
    report = restores.restore()
    assert (report["outcome"], report["facts"]["point"]) == ("done", point)
    assert held(world, "back") == ALL
    assert restores.compare()["summary"] == f"s3://back is what point {point} holds."
    assert restores.restore()["outcome"] == "reused"


def test_only_a_bucket_that_is_nobodys_is_a_target(restores: Restores) -> None:
    entry = restores.steps.home / "include" / "backups" / "shop-data.yaml"
    entry.write_text(ENTRY)
    bad(restores, BadWish, "is restored into a bucket", source="shop-data", target=str(restores.target))
    bad(restores, BadWish, "s3://shop is the source", target="s3://shop")
    bad(restores, BadWish, "s3://backups holds the backups of", target="s3://backups")
    bad(restores, BadWish, "names no account that writes .*: connection", target="s3://back")
    bad(restores, BadWish, "is restored into a folder", source="tree", target="s3://back")
    bad(restores, BadWish, "s3://shop, the source shop-data, and the catalogue names nobody", target="s3://shop")


def test_a_bucket_that_is_production_asks(restores: Restores) -> None:
    entry = restores.steps.home / "include" / "backups" / "shop-data.yaml"
    block = {"connection": "shop_restorer", "production": ["s3://live"], "approval": {"approvers": ["paula"]}}
    entry.write_text(ENTRY + f"restore: {json.dumps(block)}\n")

    def policy(target: str) -> object:
        form = {"source": "shop-data", "target": target}
        ti = SimpleNamespace(dag_id="d", run_id="r")
        run = SimpleNamespace(triggering_user_name="oscar")
        return Restore.of({"ti": ti, "params": form, "dag_run": run}).policy  # type: ignore[typeddict-item]

    assert policy("s3://back") is None
    assert policy("s3://live") is not None

"""A bucket on the sandbox's own S3, over sockets: what moto makes of our calls, and what stock tools make of a point."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard

from platform_ops.backups.kinds.bucket_plan import meaning
from platform_ops.backups.store import Points
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.models import Known
from sandbox.contract import new_environment
from sandbox.stand_ins.object_store import create_app
from tests.programs import stock_tool
from tests.restore_text import STOPPED, follow, run, scripts
from tests.unit.backups.bucket_world import World
from tests.unit.sandbox.served import served

ENVIRONMENT = new_environment(1)
KEY, SECRET = ENVIRONMENT["OBJECT_STORE_ACCESS_KEY"], ENVIRONMENT["OBJECT_STORE_SECRET_KEY"]
KEYS = ["plain", "a/../b", "../up", "a//b", "space and +plus%41", "ü/日本", "back\\slash", "x" * 1024, "quote'\"$(id)"]
VERSIONING = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
LIFECYCLE = (
    "<LifecycleConfiguration><Rule><ID>old</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled</Status>"
    "<Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>"
)
CORS = (
    "<CORSConfiguration><CORSRule><AllowedOrigin>https://shop.example.com</AllowedOrigin>"
    "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
)


class Served(World):
    """The same world, with a store at the end of a socket."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, address: str, **options: Any) -> None:
        super().__init__(monkeypatch, **options)
        self.s3 = None  # type: ignore[assignment]
        # Source and store are told apart by their addresses.
        other = address.replace("127.0.0.1", "localhost")
        for name, host in (("hcp_default", address), ("backup_store", other), ("backup_reader", other)):
            fields = {"conn_type": "object_store", "host": host, "login": KEY, "password": SECRET}
            monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))
        self.shop = BucketHook("hcp_default")
        for bucket in ("shop", "backups"):
            self.shop.make_bucket(bucket)

    @property
    def points(self) -> Points:
        return Points(BucketHook("backup_store"), "backups", self.source.name)

    def opened(self, manifest: Any) -> Any:
        return replace(super().opened(manifest), points=self.points)

    def write(self, key: str, body: bytes, **headers: str) -> None:
        import io

        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.shop.put_stream("shop", key, io.BytesIO(body), named)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with served(create_app(ENVIRONMENT, tmp_path / "store")) as address:
        yield address


def test_a_bucket_is_backed_up_changed_pruned_and_proven(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path
) -> None:
    world = Served(monkeypatch, address)
    for name, text in (("versioning", VERSIONING), ("lifecycle", LIFECYCLE), ("cors", CORS)):
        world.shop.set_setting("shop", name, text)
    for key in KEYS:
        world.write(key, key.encode(), x_amz_meta_k="v")
    world.write("plain", b"again", x_amz_tagging="team=shop%20%2B%20co%3D1", Cache_Control="no-store")
    # The newest of its key: of what happens within a second, moto does not tell the order.
    world.write("gone", b"gone")
    world.shop.remove_version("shop", "gone")
    world.write("large", os.urandom(20 * 1024 * 1024))
    first = world.back_up(0)
    assert (first.state["objects"], first.state["markers"], first.state["settings"]["cors"]) == (
        len(KEYS) + 1,
        1,
        "set",
    )
    assert [line["key"] for line in world.lines(first)] == sorted(
        [*KEYS, "plain", "gone", "gone", "large"], key=str.encode
    )
    measured = world.drill(first, tmp_path)
    assert measured.differences == ()
    assert sorted(world.shop.buckets()) == ["backups", "shop"]

    assert world.back_up(1).state["added"] == 0
    world.write("plain", b"once more")
    second = world.back_up(24)
    assert second.state["added"] == 1
    done = world.prune()
    assert [fate.kept for fate in done.fates] == [True, False, False]
    folder = tmp_path / "second"
    folder.mkdir()
    assert world.drill(second, folder).differences == ()


LOCK = (
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE"
    "</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)


def policy(bucket: str) -> str:
    """Return one that lets everybody read a bucket and nobody read a neighbour, whose name begins alike."""
    arn = "arn:aws:s3:::"
    statements = [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"{arn}{bucket}/*"},
        {"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": f"{arn}{bucket}"},
        {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"{arn}shop-archive/*"},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


class Disaster:
    """A folder with what lies beside RESTORE.md, and a shell with stock tools."""

    def __init__(self, world: Served, manifest: Any, folder: Path, address: str) -> None:
        for name in ("aws", "jq", "zstd", "curl", "openssl", *(["age"] if world.identity else [])):
            stock_tool(name)
        self.folder = folder / "disaster"
        self.folder.mkdir()
        for name in world.points.parts(manifest.point):
            if name.startswith(manifest.place):
                body = world.shop.read("backups", world.points.key(manifest.point, name))
                (self.folder / Path(name).name).write_bytes(body or b"")
        if world.identity:
            (self.folder / "key.txt").write_text(world.identity)
        self.blocks = scripts((self.folder / "RESTORE.md").read_text())
        self.environment = {
            "HOME": str(folder),
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "STORE": "backups",
            "BUCKET": "restored",
        }

    def without(self, call: str) -> Path:
        """Return a folder with an ``aws`` that fails a call."""
        found = stock_tool("aws")
        place = self.folder.parent / "broken"
        place.mkdir()
        (place / "aws").write_text(f'#!/bin/sh\ncase "$*" in *"{call} "*) exit 254;; esac\nexec {found} "$@"\n')
        (place / "aws").chmod(0o700)
        return place


def held(world: Served, bucket: str) -> list[tuple[Any, ...]]:
    return [(one.key, one.size, one.marker) for one in world.shop.versions(bucket)]


@pytest.mark.parametrize("encrypted", [False, True])
def test_stock_tools_restore_a_bucket_by_the_text_beside_it(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path, encrypted: bool
) -> None:
    world = Served(monkeypatch, address, encrypted=encrypted)
    settings = {"versioning": VERSIONING, "lifecycle": LIFECYCLE, "cors": CORS, "policy": policy("shop")}
    for name, text in settings.items():
        world.shop.set_setting("shop", name, text)
    # Each call of aws starts a Python.
    put = {"x_amz_meta_k": "v", "x_amz_tagging": "a=b%20c", "Content_Type": "text/x-test"}
    single = ["space and +plus%41/ü", "quote'\"$(id)\\"]
    for key in single:
        world.write(key, key.encode(), **put)
    body = os.urandom(11 * 1024 * 1024 + 1)
    world.write("in parts", body, **put)
    world.write("plain", b"older")
    world.write("plain", b"newest")
    world.write("gone", b"gone")
    world.shop.remove_version("shop", "gone")
    place = Disaster(world, world.back_up(0), tmp_path, address)

    told = follow(place.blocks, place.folder, place.environment | {"PART": "5"})

    assert held(world, "restored") == held(world, "shop")
    assert '{"Key":"in parts"}' in told
    for one in world.shop.versions("restored"):
        if one.key in (*single, "in parts"):
            assert world.shop.tags("restored", one) == {"a": "b c"}
            with world.shop.open_version("restored", one) as opened:
                assert opened.headers["x-amz-meta-k"] == "v"
                assert opened.headers["content-type"] == "text/x-test"
                assert opened.body.read() == (body if one.key == "in parts" else one.key.encode())
    assert json.loads(world.shop.setting("restored", "policy").text) == json.loads(policy("restored"))
    for name in ("versioning", "lifecycle", "cors"):
        before, after = (world.shop.setting(bucket, name).text for bucket in ("shop", "restored"))
        assert meaning(after) == meaning(before)


def test_stock_tools_restore_a_bucket_with_a_lock(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path
) -> None:
    world = Served(monkeypatch, address, encrypted=False)
    world.shop.client.make_bucket("locked", object_lock=True)
    world.shop.set_setting("locked", "lock", LOCK)
    world.source = replace(world.source, what={"bucket": "locked"})
    place = Disaster(world, world.back_up(0), tmp_path, address)
    follow(place.blocks, place.folder, place.environment)
    before, after = (world.shop.setting(bucket, "lock").text for bucket in ("locked", "restored"))
    assert meaning(after) == meaning(before)


@pytest.mark.parametrize("call", ["put-object", "delete-object", "upload-part"])
def test_the_text_goes_no_further_than_an_object_that_could_not_be_restored(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path, call: str
) -> None:
    world = Served(monkeypatch, address, encrypted=False)
    for name, text in (("versioning", VERSIONING), ("cors", CORS)):
        world.shop.set_setting("shop", name, text)
    # The list goes from its end.
    world.write("later", b"later")
    world.write("object", os.urandom(2 * 1024 * 1024 if call == "upload-part" else 10))
    if call == "delete-object":
        world.shop.remove_version("shop", "object")
    place = Disaster(world, world.back_up(0), tmp_path, address)
    ran = run(place.blocks, place.folder, place.environment | {"PART": "1"}, [place.without(call)])
    assert ran.returncode != 0
    assert ran.stderr.splitlines()[-1] == STOPPED
    assert ran.stdout.splitlines()[-1] == '{"Key":"object"}'
    assert "later" not in [one[0] for one in held(world, "restored")]
    assert world.shop.setting("restored", "cors").state is Known.NONE


def test_a_stored_content_is_an_ordinary_file_of_age_and_zstd(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    world = Served(monkeypatch, address)
    world.write("plain", b"some bytes")
    (line,) = world.lines(world.back_up(0))
    stored = world.shop.read("backups", f"shop-data/contents/{line['content']}")
    packed = pyrage.decrypt(stored, [pyrage.x25519.Identity.from_str(str(world.identity))])
    assert zstandard.ZstdDecompressor().decompress(packed) == b"some bytes"

"""A bucket on the sandbox's own S3, over sockets: what moto makes of our calls, and what stock tools make of a point."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard

from platform_ops.backups.store import Points
from platform_ops.systems.object_store.buckets import BucketHook
from sandbox.contract import new_environment
from sandbox.stand_ins.object_store import create_app
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


@pytest.mark.parametrize("encrypted", [False, True])
def test_stock_tools_restore_a_bucket_by_the_text_beside_it(
    monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path, encrypted: bool
) -> None:
    tools = ["aws", "jq", "zstd", *(["age"] if encrypted else [])]
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent:
        pytest.fail(f"{absent} missing") if os.environ.get("CI") == "true" else pytest.skip(f"no {', '.join(absent)}")
    world = Served(monkeypatch, address, encrypted=encrypted)
    world.shop.set_setting("shop", "versioning", VERSIONING)
    # Each call of aws starts a Python.
    for key in ("space and +plus%41/ü", "quote'\"$(id)\\"):
        world.write(key, key.encode(), x_amz_meta_k="v", x_amz_tagging="a=b%20c", Content_Type="text/x-test")
    world.write("plain", b"older")
    world.write("plain", b"newest")
    world.write("gone", b"gone")
    world.shop.remove_version("shop", "gone")
    manifest = world.back_up(0)

    folder = tmp_path / "restore"
    folder.mkdir()
    for name in world.points.parts(manifest.point):
        if name.startswith(manifest.place):
            body = world.shop.read("backups", world.points.key(manifest.point, name))
            (folder / Path(name).name).write_bytes(body or b"")
    if encrypted:
        (folder / "key.txt").write_text(str(world.identity))
    text = (folder / "RESTORE.md").read_text()
    blocks = [part.partition("```")[0] for part in text.split("```sh\n")[1:]]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORE": "backups",
        "BUCKET": "restored",
    }
    script = "set -eu\n" + "\n".join(blocks)
    ran = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr

    assert sorted(ran.stdout.split()[-1:]) == ["versioning"]
    before, after = (
        [(one.key, one.size, one.etag, one.marker) for one in world.shop.versions(bucket)]
        for bucket in ("shop", "restored")
    )
    assert before == after
    for one in world.shop.versions("restored"):
        if not one.marker and one.key not in ("plain", "gone"):
            assert world.shop.tags("restored", one) == {"a": "b c"}
            with world.shop.open_version("restored", one) as opened:
                assert opened.headers["x-amz-meta-k"] == "v"
                assert opened.headers["content-type"] == "text/x-test"


def test_a_stored_content_is_an_ordinary_file_of_age_and_zstd(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    world = Served(monkeypatch, address)
    world.write("plain", b"some bytes")
    (line,) = world.lines(world.back_up(0))
    stored = world.shop.read("backups", f"shop-data/contents/{line['content']}")
    packed = pyrage.decrypt(stored, [pyrage.x25519.Identity.from_str(str(world.identity))])
    assert zstandard.ZstdDecompressor().decompress(packed) == b"some bytes"

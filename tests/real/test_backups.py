"""A source from its first point to the proof and the end of it, with the accounts of those who back up and who drill."""

import io
import json
import subprocess
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
import pytest

from platform_ops.backups import copying
from platform_ops.backups.drilling import Opened, drill
from platform_ops.backups.errors import GivenUp
from platform_ops.backups.kinds.bucket import Bucket
from platform_ops.backups.kinds.bucket_plan import meaning
from platform_ops.backups.kinds.directory import Directory
from platform_ops.backups.kinds.shape import Kind
from platform_ops.backups.points import VERIFIED, Manifest
from platform_ops.backups.policies import check
from platform_ops.backups.proofs import Proof
from platform_ops.backups.sources import Retention, Source, Tier
from platform_ops.backups.store import Points
from platform_ops.common.errors import Busy
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.models import Known
from sandbox.accounts import BACKUPS
from tests import restore_text
from tests.programs import stock_tool

POINT = "20261125T010203Z-01234567"
DRILL = "20261125T030000Z-01234567"
NOW = datetime(2026, 11, 25, 3, tzinfo=UTC)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    (folder / "big").write_bytes(bytes(range(256)) * 100_000)
    return Source(
        name=f"of-{tmp_path.name.replace('_', '-')[:20].strip('-')}",
        kind="directory",
        owner="a@example.com",
        connection=None,
        what={"path": str(folder)},
        tier=Tier.NIGHTLY,
        retention=Retention(7, 0, 0, 0),
        store_connection="backup_store",
        bucket=BACKUPS,
        encryption_connection="backup_keys",
        lock=timedelta(days=1),
        rpo=timedelta(hours=26),
        rto=timedelta(hours=1),
        drill_every=timedelta(days=7),
    )


def copied(source: Source, recipients: list[str], kind: Kind | None = None) -> Manifest:
    key = str(pyrage.x25519.Identity.generate())
    options = {"run_id": "r", "recipients": recipients, "key": key, "told": lambda _: None}
    return copying.copy(source, kind or Directory(source), Points.of(source), POINT, **options)[0]


def test_a_point_is_made_proven_and_pruned(store, hooks, source, tmp_path):
    key = pyrage.x25519.Identity.generate()
    recipients = [str(key.to_public()), str(pyrage.x25519.Identity.generate().to_public())]
    found = check(source, hooks["backup_store"].rules(BACKUPS), recipients)
    assert (found.contradictions, found.warnings) == ((), ())
    copied(source, recipients)
    points = Points.of(source)
    assert points.all() == [POINT]
    manifest, _ = points.manifest(POINT)
    for member in manifest.members:
        points.check(manifest, member, lambda _: None)
    points.note(POINT, VERIFIED, {})
    as_reader = Points.of(source, "backup_reader")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert drill(Directory(source), Opened(as_reader, manifest, str(key)), scratch).differences == ()
    proof = Proof(NOW, POINT, "r", proven=True)
    as_reader.add_proof(DRILL, proof)
    assert as_reader.proofs(NOW - timedelta(days=1)) == [proof]
    points.unmake(POINT)
    points.clear(POINT)
    assert (points.all(), points.unfinished()) == ([], [])
    # The run of a point that was pruned may be cleared: its name is used again.
    if store.name == "versitygw":
        # It takes what a deletion hides for something that is there, and refuses the manifest.
        with pytest.raises(GivenUp):
            copied(source, recipients)
    else:
        copied(source, recipients)
        assert points.all() == [POINT]


def test_stock_tools_open_a_member(hooks, source, tmp_path):
    age, zstd = stock_tool("age"), stock_tool("zstd")
    key = pyrage.x25519.Identity.generate()
    copied(source, [str(key.to_public())])
    (tmp_path / "key.txt").write_text(f"{key}\n")
    client = hooks["backup_reader"].client
    (pack,) = (one.object_name for one in client.list_objects(BACKUPS, f"{source.name}/contents/", recursive=True))
    client.fget_object(BACKUPS, pack, str(tmp_path / "packed"))
    opened = f"'{age}' --decrypt --identity key.txt packed | '{zstd}' --decompress --stdout | tar --extract"
    subprocess.run(["bash", "-o", "pipefail", "-c", opened], cwd=tmp_path, check=True)
    assert (tmp_path / "a.txt").read_text() == "one"


S3_SETTINGS = {
    "versioning": "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "lifecycle": "<LifecycleConfiguration><Rule><ID>old</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled"
    "</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>",
    "cors": "<CORSConfiguration><CORSRule><AllowedOrigin>https://shop.example.com</AllowedOrigin>"
    "<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
    "policy": json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": ["*"]},
                    "Action": ["s3:GetObject"],
                    "Resource": ["arn:aws:s3:::shop/*"],
                }
            ],
        }
    ),
}


def test_stock_tools_restore_a_bucket_with_its_settings(store, hooks, source, tmp_path):
    for name in ("aws", "jq", "zstd", "curl", "openssl"):
        stock_tool(name)
    hook = BucketHook(hooks["owner"].object_store_conn_id)
    hook.make_bucket("shop")
    for name, text in S3_SETTINGS.items():
        # MinIO has no CORS of a bucket, versitygw no lifecycle.
        with suppress(Busy):
            hook.set_setting("shop", name, text)
    for body in (b"first", b"x" * (6 << 20)):
        hook.put_stream("shop", "a b/ü", io.BytesIO(body), {"x-amz-meta-k": "v", "x-amz-tagging": "a=b%20c"})
    hook.remove_version("shop", "a b/ü")
    bucket = replace(source, kind="bucket", connection="owner", what={"bucket": "shop"}, encryption_connection=None)
    manifest = copied(bucket, [], Bucket(bucket, hook))
    folder = tmp_path / "disaster"
    folder.mkdir()
    for key in hook.keys(BACKUPS, f"{source.name}/{POINT}/{manifest.place}/"):
        (folder / Path(key).name).write_bytes(hook.read(BACKUPS, key))
    its = store.connection()
    environment = {
        "AWS_ENDPOINT_URL": its["host"],
        "AWS_ACCESS_KEY_ID": its["login"],
        "AWS_SECRET_ACCESS_KEY": its["password"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORE": BACKUPS,
        "BUCKET": "restored",
        "PART": "5",
    }
    restore_text.follow(restore_text.scripts((folder / "RESTORE.md").read_text()), folder, environment)
    before, after = ([(one.key, one.size, one.marker) for one in hook.versions(name)] for name in ("shop", "restored"))
    assert before == after
    assert len(after) == 3
    for one in hook.versions("restored"):
        if not one.marker:
            assert hook.tags("restored", one) == {"a": "b c"}
    for name in S3_SETTINGS:
        before, after = (hook.setting(bucket, name) for bucket in ("shop", "restored"))
        read = json.loads if name == "policy" else meaning
        if before.state is Known.SET:
            assert read(before.text.replace(":shop/", ":restored/")) == read(after.text)

"""What our code relies on at an object store, asked of the real ones: conditions, accounts, locks, restarts."""

import base64
import hashlib
import io
import json
import os
import signal
from datetime import timedelta

import httpx
import pytest

from platform_ops.common.errors import AuthenticationFailed, Unreachable
from platform_ops.systems.object_store.accounts import BackupReader, BackupWriter
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.errors import BucketNotFound, ObjectNotFound
from platform_ops.systems.object_store.hook import ObjectStoreHook
from platform_ops.systems.object_store.models import BucketRules
from sandbox import lifecycle, processes
from sandbox.accounts import BACKUPS
from tests.waiting import wait_until

EVIDENCE = "evidence"
AWKWARD = "runs/a b+c/ü%41~(1).json"


def codes(call):
    """Return status and code of a refusal."""
    from minio.error import S3Error

    with pytest.raises(S3Error) as caught:
        call()
    return caught.value.response.status, caught.value.code


def code_of_hook(call):
    with pytest.raises(AuthenticationFailed) as caught:
        call()
    return caught.value.facts["code"]


@pytest.fixture
def writer(hooks):
    return hooks["backup_store"]


@pytest.fixture
def reader(hooks):
    return hooks["backup_reader"]


def test_what_the_hook_does_with_objects(hooks):
    hook = hooks["owner"]
    assert hook.put_new(EVIDENCE, AWKWARD, b'{"n":1}')
    assert not hook.put_new(EVIDENCE, AWKWARD, b'{"n":2}')
    assert hook.read(EVIDENCE, AWKWARD) == b'{"n":1}'
    assert list(hook.keys(EVIDENCE, "runs/a b")) == [AWKWARD]
    assert list(hook.folders(EVIDENCE, "runs/")) == ["a b+c"]
    assert hook.read(EVIDENCE, "other") is None
    with pytest.raises(BucketNotFound):
        hook.put_new("missing", "x", b"{}")
    with pytest.raises(ObjectNotFound), hook.stream(EVIDENCE, "other"):
        pass


def test_the_buckets_of_the_seed_pass_the_checks(hooks, writer):
    found = hooks["owner"].check_permissions([EVIDENCE])
    assert {finding.state for finding in found} == {"ok"}
    assert writer.rules(BACKUPS) == BucketRules(versioning=True, lock=timedelta(days=1), expires=None)


def test_the_writer_hides_and_loses_nothing(store, writer):
    writer.put(BACKUPS, "hidden/x", b"one")
    version = store.owner.stat_object(BACKUPS, "hidden/x").version_id
    writer.remove(BACKUPS, "hidden/x")
    assert writer.read(BACKUPS, "hidden/x") is None
    assert list(writer.keys(BACKUPS, "hidden/")) == []
    # MinIO looks at the lock before it looks at the policy.
    assert codes(lambda: writer.client.remove_object(BACKUPS, "hidden/x", version))[0] in (400, 403)
    assert store.owner.get_object(BACKUPS, "hidden/x", version_id=version).data == b"one"


def test_it_is_not_only_the_lock_that_stops_the_writer(writer):
    from minio.deleteobjects import DeleteObject

    writer.put(BACKUPS, "marked/x", b"one")
    marker = writer.client._execute("DELETE", BACKUPS, "marked/x").headers["x-amz-version-id"]
    assert codes(lambda: writer.client.remove_object(BACKUPS, "marked/x", marker)) == (403, "AccessDenied")
    (error,) = writer.client.remove_objects(BACKUPS, [DeleteObject("marked/x", marker)])
    assert error.code == "AccessDenied"


def test_not_even_the_owner_takes_a_lock_away(store, writer):
    from minio.objectlockconfig import ObjectLockConfig
    from minio.versioningconfig import SUSPENDED, VersioningConfig

    writer.put(BACKUPS, "locked/x", b"one")
    version = store.owner.stat_object(BACKUPS, "locked/x").version_id
    assert codes(lambda: store.owner.remove_object(BACKUPS, "locked/x", version))[0] in (400, 403)
    assert codes(lambda: store.owner.set_bucket_versioning(BACKUPS, VersioningConfig(SUSPENDED)))[0] == 400
    for refused in (
        lambda: writer.client.set_object_lock_config(BACKUPS, ObjectLockConfig("GOVERNANCE", 1, "Days")),
        lambda: writer.client.set_bucket_versioning(BACKUPS, VersioningConfig(SUSPENDED)),
        lambda: writer.client.remove_bucket(BACKUPS),
        lambda: writer.client.make_bucket("other"),
    ):
        assert codes(refused) == (403, "AccessDenied")


def test_the_reader_writes_proofs_and_nothing_else(writer, reader):
    writer.put(BACKUPS, "read/p/manifest.json", b"one")
    assert reader.read(BACKUPS, "read/p/manifest.json") == b"one"
    assert list(reader.folders(BACKUPS, "read/")) == ["p"]
    assert list(reader.keys(BACKUPS, "read/")) == ["read/p/manifest.json"]
    for _ in range(2):
        reader.put(BACKUPS, "read/proofs/p.json", b"{}")
    for refused in (
        lambda: reader.put(BACKUPS, "read/p/manifest.json", b"two"),
        lambda: reader.put_new(BACKUPS, "read/p/other.json", b"{}"),
        lambda: reader.remove(BACKUPS, "read/proofs/p.json"),
        lambda: reader.put_stream(BACKUPS, "read/p/files.tar", io.BytesIO(b"x" * 20_000_000)),
    ):
        assert code_of_hook(refused) == "AccessDenied"


@pytest.mark.parametrize("role", ["backup_store", "backup_reader"])
def test_the_accounts_of_backups_see_no_evidence(hooks, role):
    hooks["owner"].put_new(EVIDENCE, "runs/secret.json", b"{}")
    hook = hooks[role]
    for refused in (
        lambda: hook.read(EVIDENCE, "runs/secret.json"),
        lambda: list(hook.keys(EVIDENCE, "")),
        lambda: hook.put_new(EVIDENCE, "runs/forged.json", b"{}"),
    ):
        assert code_of_hook(refused) == "AccessDenied"


def test_wrong_keys_are_named(store, monkeypatch):
    fields = {"conn_type": "object_store", "host": store.environment["OBJECT_STORE_URL"]}
    secret = store.environment["OBJECT_STORE_BACKUP_WRITER_SECRET_KEY"]
    for login, password, code in (
        ("backup-writer", "not-the-secret", "SignatureDoesNotMatch"),
        ("a-stranger", secret, "InvalidAccessKeyId"),
    ):
        monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps(fields | {"login": login, "password": password}))
        assert code_of_hook(lambda: ObjectStoreHook("wrong").read(BACKUPS, "x")) == code


def test_bytes_that_are_not_those_of_the_checksum_are_refused(store):
    address = store.owner.get_presigned_url("PUT", EVIDENCE, "wrong")
    checksum = base64.b64encode(hashlib.md5(b"right").digest()).decode()
    answer = httpx.put(address, content=b"wrong", headers={"Content-MD5": checksum}, trust_env=False)
    assert (answer.status_code, "<Code>BadDigest</Code>" in answer.text) == (400, True)
    assert codes(lambda: store.owner.stat_object(EVIDENCE, "wrong"))[0] == 404


def test_an_upload_that_was_broken_off_is_aborted_by_its_key(store, writer):
    upload = writer.client._create_multipart_upload(BACKUPS, "parts/p/files.tar", {})
    writer.client._upload_part(BACKUPS, "parts/p/files.tar", b"x", None, upload, 1)
    assert writer.abort_uploads(BACKUPS, "parts/p/files.tar") == 1
    assert writer.abort_uploads(BACKUPS, "parts/p/files.tar") == 0


def test_a_long_stream_is_stored_whole(store, writer):
    body = os.urandom(1 << 20) * 40
    before = store.effects()["objects"]
    writer.put_stream(BACKUPS, "long/p/files.tar", io.BytesIO(body))
    with writer.stream(BACKUPS, "long/p/files.tar") as read:
        assert hashlib.sha256(read.read()).digest() == hashlib.sha256(body).digest()
    assert store.effects()["objects"] == before + 1


def test_what_it_says_of_tags_when_an_object_is_read(hooks):
    hook = BucketHook(hooks["owner"].object_store_conn_id)
    hook.put_stream(EVIDENCE, "tags/none", io.BytesIO(b"x"))
    hook.put_stream(EVIDENCE, "tags/some", io.BytesIO(b"x"), {"x-amz-tagging": "a=b"})
    found = {}
    for entry in hook.versions(EVIDENCE, "tags/", all_versions=False):
        with hook.open_version(EVIDENCE, entry) as opened:
            found[entry.key] = (hook.tags(EVIDENCE, entry, opened), hook.tags(EVIDENCE, entry))
    assert found == {"tags/none": ({}, {}), "tags/some": ({"a": "b"}, {"a": "b"})}


def test_the_fault_layer_stands_before_it(store, hooks):
    address = f"{store.environment['OBJECT_STORE_URL']}/_sandbox/faults"
    order = {"kind": "lose_reply", "method": "PUT", "path": "/lost"}
    before = store.effects()["objects"]
    assert httpx.post(address, json=order, trust_env=False).status_code == 201
    try:
        with pytest.raises(Unreachable):
            hooks["owner"].put(EVIDENCE, "lost", b"kept")
    finally:
        httpx.delete(address, trust_env=False)
    assert hooks["owner"].read(EVIDENCE, "lost") == b"kept"
    assert store.effects()["objects"] == before + 1


def test_everything_survives_a_restart(store, hooks):
    hooks["owner"].put_new(EVIDENCE, "before", b"kept")
    hooks["backup_store"].put(BACKUPS, "before/x", b"kept")
    effects = store.effects()
    store.stop()
    with pytest.raises(Unreachable):
        hooks["owner"].read(EVIDENCE, "before")
    store.start()
    assert store.effects() == effects
    assert hooks["owner"].read(EVIDENCE, "before") == b"kept"
    assert hooks["backup_reader"].read(BACKUPS, "before/x") == b"kept"


def others(record):
    """Return what runs of the store beside the proxy that was started."""
    return [pid for pid in processes.left_over(record) if pid != record.pid]


def test_a_server_that_dies_is_missed(store, hooks):
    record = processes.running(store.state, "object_store")
    (child,) = others(record)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not processes.running(store.state, "object_store"), "the end of the proxy", 30)
    assert not lifecycle.status(store.state)
    store.start()
    hooks["owner"].put_new(EVIDENCE, "after", b"{}")


def test_what_a_killed_proxy_leaves_behind_is_stopped(store, hooks):
    record = processes.running(store.state, "object_store")
    (child,) = others(record)
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: not processes.running(store.state, "object_store"), "the end of the proxy", 30)
    assert others(record) == [child]
    store.start()
    assert others(record) == []
    hooks["owner"].put_new(EVIDENCE, "later", b"{}")


def test_the_accounts_of_backups_have_what_is_asked_for_and_no_more(hooks):
    before = list(hooks["owner"].keys("evidence", ""))
    for _ in range(2):
        findings = (
            *BackupWriter("backup_store", never="evidence").check_permissions(["backups"]),
            *BackupReader("backup_reader").check_permissions(["backups"]),
        )
        assert [found.sentence for found in findings if found.state != "ok"] == []
    assert list(hooks["owner"].keys("evidence", "")) == before
    owner = BackupWriter("owner", never="evidence").check_permissions(["backups"])
    assert {found.permission.name for found in owner if found.state == "too much"} == {
        "s3:DeleteObjectVersion",
        "s3:PutObject on the evidence",
    }

"""The S3 stand-in, called by the real minio client: signatures, conditional writes, restarts."""

import hashlib
import io
import json
import threading
import urllib.parse
import warnings
from datetime import UTC, datetime, timedelta

import pytest
import urllib3

with warnings.catch_warnings():  # Starlette would like httpx2; the project has httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.errors import BucketNotFound
from platform_ops.systems.object_store.hook import ObjectStoreHook
from platform_ops.systems.object_store.models import BucketRules
from platform_ops.systems.object_store.permissions import PROBE
from sandbox import contract
from sandbox.accounts import BACKUPS, accounts
from sandbox.stand_ins import object_store
from sandbox.stand_ins.object_store import create_app

URL = "http://s3.test"
KEY, SECRET = "platform-ops", "a-good-secret-key"
ENVIRONMENT = contract.new_environment(21000) | {
    "OBJECT_STORE_URL": URL, "OBJECT_STORE_ACCESS_KEY": KEY, "OBJECT_STORE_SECRET_KEY": SECRET
}  # fmt: skip
AWKWARD = "runs/a b+c/ü%41~(1).json"


class Pool(urllib3.PoolManager):
    """A urllib3 pool that reaches the app without a socket."""

    def __init__(self, app):
        super().__init__()
        self.app = TestClient(app, base_url=URL)

    def urlopen(self, method, url, redirect=True, body=None, headers=None, **options):
        answer = self.app.request(method, url, content=body, headers=dict(headers or {}), follow_redirects=False)
        return urllib3.HTTPResponse(
            body=io.BytesIO(answer.content),
            headers=dict(answer.headers),
            status=answer.status_code,
            preload_content=options.get("preload_content", True),
            request_method=method,
        )


class Store:
    def __init__(self, folder):
        self.folder = folder
        self.now = datetime.now(UTC).timestamp()
        self.start()

    def start(self):
        self.pool = Pool(create_app(ENVIRONMENT, self.folder, clock=lambda: self.now))

    def client(self, key=KEY, secret=SECRET, region="us-east-1"):
        from minio import Minio

        return Minio("s3.test", key, secret, secure=False, region=region, http_client=self.pool)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "object_store")
    store.client().make_bucket("evidence")
    return store


@pytest.fixture
def hook(store, monkeypatch):
    fields = {"conn_type": "object_store", "host": URL, "login": KEY, "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_OBJECT_STORE_DEFAULT", json.dumps(fields))
    return BucketHook(pool=store.pool)


def put(client, key, body=b"{}", bucket="evidence"):
    return client.put_object(bucket, key, io.BytesIO(body), len(body))


def code_of(call):
    from minio.error import S3Error

    with pytest.raises(S3Error) as caught:
        call()
    return caught.value.response.status, caught.value.code


def test_the_minio_client_writes_reads_lists_and_deletes(store):
    client = store.client()
    put(client, AWKWARD, b"one")
    assert client.get_object("evidence", AWKWARD).data == b"one"
    assert [found.object_name for found in client.list_objects("evidence", "runs/a b", recursive=True)] == [AWKWARD]
    assert client.stat_object("evidence", AWKWARD).size == 3
    client.remove_object("evidence", AWKWARD)
    assert code_of(lambda: client.get_object("evidence", AWKWARD)) == (404, "NoSuchKey")
    assert code_of(lambda: put(client, "x", bucket="other")) == (404, "NoSuchBucket")


def test_wrong_credentials_are_refused_in_s3s_words(store):
    assert code_of(lambda: put(store.client(key="stranger"), "x")) == (403, "InvalidAccessKeyId")
    assert code_of(lambda: put(store.client(secret="wrong"), "x")) == (403, "SignatureDoesNotMatch")
    assert code_of(lambda: put(store.client(region="eu-west-1"), "x")) == (400, "AuthorizationHeaderMalformed")
    store.now += 3600
    assert code_of(lambda: put(store.client(), "x")) == (403, "RequestTimeTooSkewed")
    assert store.pool.app.get("/evidence/x").status_code == 403


def test_a_signature_covers_the_body_and_every_amz_header(store):
    sent = []
    original = store.pool.urlopen

    def remember(method, url, **options):
        sent.append((method, url, options))
        return original(method, url, **options)

    store.pool.urlopen = remember
    put(store.client(), "x", b"right")
    method, url, options = sent[-1]

    def code(body, headers):
        return store.pool.app.request(method, url, content=body, headers=headers)

    assert code(b"right", dict(options["headers"])).status_code == 200
    assert "XAmzContentSHA256Mismatch" in code(b"wrong", dict(options["headers"])).text
    changed = {**options["headers"], "x-amz-content-sha256": hashlib.sha256(b"wrong").hexdigest()}
    assert "SignatureDoesNotMatch" in code(b"wrong", changed).text
    assert "not signed" in code(b"right", {**options["headers"], "x-amz-acl": "public-read"}).text
    for other in (url.replace("/x", "/y"), f"{url}?acl="):
        answer = store.pool.app.put(other, content=b"right", headers=dict(options["headers"]))
        assert "SignatureDoesNotMatch" in answer.text


def test_a_presigned_address_works_until_it_expires(store):
    client = store.client()
    put(client, AWKWARD, b"one")
    address = client.presigned_get_object("evidence", AWKWARD, expires=timedelta(minutes=5))
    get = store.pool.app.get
    assert get(address).content == b"one"
    assert "SignatureDoesNotMatch" in get(address.replace("X-Amz-Expires=300", "X-Amz-Expires=900")).text
    store.now += 301
    assert (get(address).status_code, "Request has expired" in get(address).text) == (403, True)


def test_the_hook_writes_once_and_reads_what_the_first_wrote(hook, store):
    assert hook.put_new("evidence", AWKWARD, b'{"n":1}')
    assert not hook.put_new("evidence", AWKWARD, b'{"n":2}')
    assert hook.read("evidence", AWKWARD) == b'{"n":1}'
    assert hook.read("evidence", "other") is None
    with pytest.raises(BucketNotFound):
        hook.put_new("missing", "x", b"{}")
    assert hook.test_connection()[0]


def test_the_hook_names_a_wrong_key(store, monkeypatch):
    fields = {"conn_type": "object_store", "host": URL, "login": KEY, "password": "wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_OBJECT_STORE_DEFAULT", json.dumps(fields))
    with pytest.raises(AuthenticationFailed, match="SignatureDoesNotMatch"):
        ObjectStoreHook(pool=store.pool).put_new("evidence", "x", b"{}")


def test_of_many_writers_exactly_one_wins_and_the_engine_never_works_twice_at_once(hook, monkeypatch):
    hook.client  # noqa: B018 - the threads share one
    inside, second = threading.Semaphore(1), threading.Event()
    engine = object_store.run_wsgi_app

    def watched(*arguments):
        if not inside.acquire(blocking=False):
            second.set()
            return engine(*arguments)
        try:
            # The others have long enough to come in, if they can.
            second.wait(0.02)
            return engine(*arguments)
        finally:
            inside.release()

    monkeypatch.setattr(object_store, "run_wsgi_app", watched)
    won = []
    barrier = threading.Barrier(8)

    def write(number):
        barrier.wait()
        if hook.put_new("evidence", "race", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert not second.is_set()
    assert hook.read("evidence", "race") == str(won[0]).encode()


def test_everything_survives_a_restart_with_its_times_and_versions(store, hook):
    from minio.commonconfig import ENABLED, GOVERNANCE
    from minio.objectlockconfig import DAYS, ObjectLockConfig
    from minio.versioningconfig import VersioningConfig

    client = store.client()
    client.set_bucket_versioning("evidence", VersioningConfig(ENABLED))
    first = put(client, AWKWARD, b"one").version_id
    second = put(client, AWKWARD, b"two").version_id
    put(client, "gone")
    client.remove_object("evidence", "gone")
    client.make_bucket("locked", object_lock=True)
    client.set_object_lock_config("locked", ObjectLockConfig(GOVERNANCE, 1, DAYS))
    assert code_of(lambda: put(client, "kept", bucket="locked"))[0] == 400  # no Content-MD5 on a locked bucket
    assert hook.put_new("locked", "kept", b"{}")
    before = client.stat_object("evidence", AWKWARD).last_modified
    store.now += 60
    store.start()
    client = store.client()
    assert {bucket.name for bucket in client.list_buckets()} == {"evidence", "locked"}
    assert first != second
    assert client.get_object("evidence", AWKWARD, version_id=first).data == b"one"
    assert client.get_object("evidence", AWKWARD, version_id=second).data == b"two"
    assert code_of(lambda: client.get_object("evidence", "gone")) == (404, "NoSuchKey")
    assert client.stat_object("evidence", AWKWARD).last_modified == before
    (kept,) = client.list_objects("locked", include_version=True)
    assert code_of(lambda: client.remove_object("locked", "kept", kept.version_id)) == (403, "AccessDenied")


def test_a_multipart_upload_goes_on_after_a_restart(store):
    from minio.datatypes import Part

    client = store.client()
    upload = client._create_multipart_upload("evidence", "big", {})
    part = b"x" * 5 * 1024 * 1024
    parts = [client._upload_part("evidence", "big", part, None, upload, 1)]
    store.start()
    client = store.client()
    parts.append(client._upload_part("evidence", "big", b"end", None, upload, 2))
    client._complete_multipart_upload(
        "evidence", "big", upload, [Part(number, etag) for number, etag in enumerate(parts, 1)]
    )
    store.start()
    assert store.client().get_object("evidence", "big").data == part + b"end"
    assert store.pool.app.get("/_sandbox/state").json()["effects"] == {"buckets": 1, "objects": 1}


def test_a_half_written_line_is_a_change_that_was_never_answered(store):
    put(store.client(), "x")
    with (store.folder / "journal.jsonl").open("a") as stream:
        stream.write('{"method": "PUT", "pa')
    store.start()
    put(store.client(), "y")
    store.start()
    assert [found.object_name for found in store.client().list_objects("evidence")] == ["x", "y"]


def test_a_signed_path_is_compared_decoded(store):
    """The same path in another spelling is the same path, as AWS has it."""
    client = store.client()
    put(client, "a~b")
    address = client.presigned_get_object("evidence", "a~b")
    assert store.pool.app.get(address.replace("a~b", urllib.parse.quote("a") + "%7Eb")).status_code == 200


def wrong(findings):
    return [(finding.permission.name, finding.state) for finding in findings if finding.state != "ok"]


def test_the_check_writes_one_object_for_all_times(hook, store):
    for _ in range(3):
        assert wrong(hook.check_permissions(["evidence"])) == [("s3:DeleteObject", "unknown")]
    assert [found.object_name for found in store.client().list_objects("evidence", recursive=True)] == [PROBE]
    with pytest.raises(BucketNotFound):
        hook.check_permissions(["missing"])


def test_a_retention_in_compliance_mode_proves_that_nothing_goes(hook, store):
    from minio.objectlockconfig import ObjectLockConfig

    store.client().make_bucket("open", object_lock=True)
    assert wrong(hook.check_permissions(["open"])) == [("s3:DeleteObject", "unknown")]
    store.client().make_bucket("locked", object_lock=True)
    store.client().set_object_lock_config("locked", ObjectLockConfig("COMPLIANCE", 1, "Days"))
    assert wrong(hook.check_permissions(["locked"])) == []


def test_a_folder_whose_objects_are_all_hidden_is_none(hook, limited):
    writer, _ = limited
    for key in ("s/gone/a", "s/gone/b", "s/there/a"):
        put(writer, key, b"x", BACKUPS)
    for key in ("s/gone/a", "s/gone/b"):
        writer.remove_object(BACKUPS, key)
    assert [found.object_name for found in writer.list_objects(BACKUPS, "s/")] == ["s/gone/", "s/there/"]
    assert list(hook.folders(BACKUPS, "s/")) == ["there"]


def test_the_rules_of_a_bucket_with_a_retention(hook, store):
    from minio.objectlockconfig import ObjectLockConfig

    assert hook.rules("evidence") == BucketRules(versioning=False, lock=None, expires=None)
    store.client().make_bucket("locked", object_lock=True)
    assert hook.rules("locked") == BucketRules(versioning=True, lock=None, expires=None)
    store.client().set_object_lock_config("locked", ObjectLockConfig("COMPLIANCE", 3, "Days"))
    assert hook.rules("locked") == BucketRules(versioning=True, lock=timedelta(days=3), expires=None)


@pytest.fixture
def limited(store):
    """Clients of the account that writes backups and of the one that reads them, and a bucket with versions."""
    from minio.commonconfig import ENABLED
    from minio.versioningconfig import VersioningConfig

    owner = store.client()
    owner.make_bucket(BACKUPS)
    owner.set_bucket_versioning(BACKUPS, VersioningConfig(ENABLED))
    return [store.client(account.access_key, account.secret_key) for account in accounts(ENVIRONMENT)]


def test_the_writer_of_backups_can_hide_an_object_but_lose_none(store, limited):
    writer, _ = limited
    version = put(writer, "s/p/files.tar", b"one", BACKUPS).version_id
    assert writer.get_object(BACKUPS, "s/p/files.tar").data == b"one"
    assert writer.get_bucket_versioning(BACKUPS).status == "Enabled"
    writer.remove_object(BACKUPS, "s/p/files.tar")
    assert code_of(lambda: writer.get_object(BACKUPS, "s/p/files.tar")) == (404, "NoSuchKey")
    assert code_of(lambda: writer.remove_object(BACKUPS, "s/p/files.tar", version)) == (403, "AccessDenied")
    assert store.client().get_object(BACKUPS, "s/p/files.tar", version_id=version).data == b"one"


def test_the_writer_of_backups_uploads_in_parts_and_aborts(limited):
    writer, _ = limited
    upload = writer._create_multipart_upload(BACKUPS, "s/p/files.tar", {})
    writer._upload_part(BACKUPS, "s/p/files.tar", b"x", None, upload, 1)
    assert [one.upload_id for one in writer._list_multipart_uploads(BACKUPS).uploads] == [upload]
    writer._abort_multipart_upload(BACKUPS, "s/p/files.tar", upload)
    assert not writer._list_multipart_uploads(BACKUPS).uploads


def test_the_reader_of_backups_writes_proofs_only(limited):
    writer, reader = limited
    put(writer, "s/p/files.tar", b"one", BACKUPS)
    assert [found.object_name for found in reader.list_objects(BACKUPS, "s/", recursive=True)] == ["s/p/files.tar"]
    assert reader.get_object(BACKUPS, "s/p/files.tar").data == b"one"
    put(reader, "s/proofs/p.json", b"{}", BACKUPS)
    for refused in (
        lambda: put(reader, "s/p/manifest.json", b"{}", BACKUPS),
        lambda: reader.remove_object(BACKUPS, "s/proofs/p.json"),
        lambda: reader._create_multipart_upload(BACKUPS, "s/p/files.tar", {}),
    ):
        assert code_of(refused) == (403, "AccessDenied")


def test_the_accounts_of_backups_see_no_other_bucket_and_change_no_setting(store, limited):
    from minio.versioningconfig import SUSPENDED, VersioningConfig

    put(store.client(), "x")
    for account in limited:
        for refused in (
            lambda account=account: account.get_object("evidence", "x"),
            lambda account=account: list(account.list_objects("evidence")),
            lambda account=account: account.list_buckets(),
            lambda account=account: account._execute(
                "PUT", BACKUPS, "s/proofs/p.json", headers={"x-amz-copy-source": "evidence/x"}
            ),
            lambda account=account: account.set_bucket_versioning(BACKUPS, VersioningConfig(SUSPENDED)),
            lambda account=account: account.make_bucket("other"),
            lambda account=account: account.remove_bucket(BACKUPS),
        ):
            assert code_of(refused) == (403, "AccessDenied")


def test_a_setting_of_a_bucket_is_no_bucket(store, limited):
    assert store.pool.app.get("/_sandbox/state").json()["effects"] == {"buckets": 2}

import io
import json
from datetime import timedelta
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from xml.etree.ElementTree import ParseError

import pytest
import urllib3

from platform_ops.common.errors import AuthenticationFailed, Busy, Unreachable
from platform_ops.systems.object_store import hook as module
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.errors import BucketNotFound
from platform_ops.systems.object_store.hook import ObjectStoreHook
from platform_ops.systems.object_store.models import BucketRules
from tests.unit.backups.s3 import S3

SECRET = "s3cret-of-the-store"


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>why</Message><Resource>/b</Resource></Error>".encode()


class Pool(urllib3.PoolManager):
    """A store that answers one thing and remembers what was sent."""

    def __init__(self, status: int, body: bytes = b"", failure: Exception | None = None) -> None:
        super().__init__()
        self.status, self.body, self.failure = status, body, failure
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        self.sent.append((method, url, options))
        if self.failure:
            raise self.failure
        return urllib3.HTTPResponse(
            body=io.BytesIO(self.body),
            status=self.status,
            headers={"Content-Type": "application/xml"},
            preload_content=False,
        )


@pytest.fixture(autouse=True)
def connection(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {
        "conn_type": "object_store", "host": "http://s3.example.com:9000", "login": "key", "password": SECRET,
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_OBJECT_STORE_DEFAULT", json.dumps(fields))


def test_an_object_is_read_whole() -> None:
    assert ObjectStoreHook(pool=Pool(200, b"{}")).read("evidence", "runs/1.json") == b"{}"


def test_only_a_missing_key_is_nothing() -> None:
    assert ObjectStoreHook(pool=Pool(404, error("NoSuchKey"))).read("evidence", "x") is None
    with pytest.raises(BucketNotFound, match="object evidence/x"):
        ObjectStoreHook(pool=Pool(404, error("NoSuchBucket"))).read("evidence", "x")


@pytest.mark.parametrize("body", [b"\xff", b"<VersioningConfiguration><Status>Ena"])
def test_a_setting_that_was_spoilt_on_its_way_is_no_setting(body: bytes) -> None:
    with pytest.raises(Unreachable, match="of bucket evidence"):
        BucketHook(pool=Pool(200, body)).rules("evidence")
    if not body.isascii():
        with pytest.raises(Unreachable, match="the policy of bucket evidence"):
            BucketHook("object_store_default", pool=Pool(200, body)).setting("evidence", "policy")


def test_a_new_object_is_written_on_condition_and_the_secret_stays_here() -> None:
    pool = Pool(200)
    assert ObjectStoreHook(pool=pool).put_new("evidence", "runs/a b.json", b"{}")
    method, url, options = pool.sent[0]
    assert method == "PUT"
    assert urlsplit(url).path == "/evidence/runs/a%20b.json"
    assert "X-Amz-Signature" in parse_qs(urlsplit(url).query)
    assert options["headers"]["If-None-Match"] == "*"
    assert options["headers"]["Content-MD5"] == "mZFLkyvTelC5g8XnyQrpOw=="  # a bucket with a retention asks for it
    assert options["body"] == b"{}"
    assert SECRET not in repr(pool.sent)


def test_an_object_that_exists_is_left_alone() -> None:
    assert not ObjectStoreHook(pool=Pool(412, error("PreconditionFailed"))).put_new("evidence", "x", b"{}")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "SignatureDoesNotMatch", AuthenticationFailed),
        (404, "NoSuchBucket", BucketNotFound),
        (503, "SlowDown", Busy),
    ],
)
def test_a_refused_write_says_what_and_why(status: int, code: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"{status} {code} to the write of object evidence/x"):
        ObjectStoreHook(pool=Pool(status, error(code))).put_new("evidence", "x", b"{}")


def test_no_answer_names_the_address() -> None:
    pool = Pool(0, failure=urllib3.exceptions.ProtocolError("gone"))
    with pytest.raises(Unreachable, match=r"http://s3.example.com:9000 gave no usable answer"):
        ObjectStoreHook(pool=pool).read("evidence", "x")
    good, said = ObjectStoreHook(pool=pool).test_connection()
    assert not good
    assert "no usable answer" in said


def test_the_address_of_an_object_keeps_its_folders_and_encodes_the_rest() -> None:
    assert (
        ObjectStoreHook().url("evidence", "runs/a b/1.json") == "http://s3.example.com:9000/evidence/runs/a%20b/1.json"
    )


class Policy(Pool):
    """A store whose key may do some things: answers by what a call does."""

    def __init__(self, *allowed: str, honours: bool = True) -> None:
        super().__init__(200)
        self.allowed, self.honours = allowed, honours

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        query = urlsplit(url).query
        action = "lock" if "object-lock" in query else "list" if "list-type" in query else method.lower()
        empty = b"<ListBucketResult><Name>evidence</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
        answers = {"list": (200, empty), "get": (404, error("NoSuchKey")), "put": (412 if self.honours else 200, b"")}
        refused = (403, error("AccessDenied"))
        self.status, self.body = answers[action] if action in self.allowed else refused
        return super().urlopen(method, url, redirect=redirect, **options)


def wrong(pool: Pool) -> list[tuple[str, str]]:
    findings = ObjectStoreHook(pool=pool).check_permissions(["evidence"])
    return [(finding.permission.name, finding.state) for finding in findings if finding.state != "ok"]


UNSAID = ("s3:DeleteObject", "unknown")


@pytest.mark.parametrize(
    ("allowed", "missing"),
    [
        (("list", "get", "put"), []),
        (("get", "put"), ["s3:ListBucket"]),
        (("list", "put"), ["s3:GetObject"]),
        (("list", "get"), ["s3:PutObject"]),
        ((), ["s3:ListBucket", "s3:GetObject", "s3:PutObject"]),
    ],
)
def test_each_permission_of_the_key_is_asked_for(allowed: tuple[str, ...], missing: list[str]) -> None:
    assert wrong(Policy(*allowed)) == [*((name, "missing") for name in missing), UNSAID]


def test_a_store_that_writes_in_spite_of_the_condition_is_named() -> None:
    assert wrong(Policy("list", "get", "put", honours=False)) == [("writes on condition", "missing"), UNSAID]


def test_a_wrong_secret_is_no_missing_permission() -> None:
    with pytest.raises(AuthenticationFailed, match="SignatureDoesNotMatch"):
        ObjectStoreHook(pool=Pool(403, error("SignatureDoesNotMatch"))).check_permissions(["evidence"])


class Settings(Pool):
    """A bucket with a retention, and with lifecycle rules where some are given."""

    def __init__(self, retention: str, lifecycle: str = "") -> None:
        super().__init__(200)
        self.lifecycle = lifecycle
        self.retention = f"<Rule><DefaultRetention><Mode>GOVERNANCE</Mode>{retention}</DefaultRetention></Rule>"

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        lock = f"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{self.retention}"
        self.status, self.body = {
            "versioning": (200, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"),
            "object-lock": (200, f"{lock}</ObjectLockConfiguration>".encode()),
            "lifecycle": (200, self.lifecycle.encode()) if self.lifecycle else (501, error("NotImplemented")),
        }[urlsplit(url).query.rstrip("=")]
        return super().urlopen(method, url, redirect=redirect, **options)


@pytest.mark.parametrize(("retention", "days"), [("<Days>3</Days>", 3), ("<Years>2</Years>", 730)])
def test_a_retention_is_told_in_days_and_a_store_without_lifecycle_rules_is_fine(retention: str, days: int) -> None:
    rules = BucketHook(pool=Settings(retention)).rules("backups")
    assert rules == BucketRules(versioning=True, lock=timedelta(days=days), expires=None)


@pytest.mark.parametrize(
    ("status", "expiration", "days"),
    [
        ("Enabled", "<Days>30</Days>", 30),
        ("Enabled", "<Date>2030-01-01T00:00:00.000Z</Date>", 0),
        ("Disabled", "<Date>2030-01-01T00:00:00.000Z</Date>", None),
        ("Enabled", "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>", None),
    ],
)
def test_what_a_lifecycle_rule_leaves_alive(status: str, expiration: str, days: int | None) -> None:
    rule = f"<Status>{status}</Status><Filter><Prefix></Prefix></Filter><Expiration>{expiration}</Expiration>"
    lifecycle = f"<LifecycleConfiguration><Rule>{rule}</Rule></LifecycleConfiguration>"
    expires = BucketHook(pool=Settings("<Days>3</Days>", lifecycle)).rules("backups").expires
    assert expires == (None if days is None else timedelta(days=days))


@pytest.mark.parametrize(
    ("which", "concerns"),
    [
        ("<Filter><Prefix>tree/contents/</Prefix></Filter>", True),
        ("<Filter><Prefix>tr</Prefix></Filter>", True),
        ("<Filter><Prefix>tmp/</Prefix></Filter>", False),
        ("<Filter><Tag><Key>gone</Key><Value>soon</Value></Tag></Filter>", False),
        ("<Filter><And><Prefix>tree/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag></And></Filter>", False),
        ("<Filter></Filter>", True),
        ("<Filter><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></Filter>", True),
        ("<Prefix>tmp/</Prefix>", False),
        ("", True),
    ],
)
def test_a_lifecycle_rule_for_something_else_is_not_ours(which: str, concerns: bool) -> None:
    lifecycle = (
        f"<LifecycleConfiguration><Rule><Status>Enabled</Status>{which}<Expiration><Days>1</Days></Expiration></Rule>"
        "</LifecycleConfiguration>"
    )
    store = BucketHook(pool=Settings("<Days>3</Days>", lifecycle))
    assert (store.rules("backups", "tree/").expires is not None) is concerns


def test_parts_grow_so_that_the_number_of_them_sets_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 10)
    monkeypatch.setattr(module, "GROWS_EVERY", 2)
    store, body, sizes = ObjectStoreHook(pool=S3("backups")), bytes(range(75)), list[int]()
    client = store.client
    real = client._upload_part

    def upload(bucket: str, key: str, data: bytes, *rest: Any) -> Any:
        sizes.append(len(data))
        return real(bucket, key, data, *rest)

    monkeypatch.setattr(client, "_upload_part", upload)
    store.put_stream("backups", "long", io.BytesIO(body))
    assert sizes == [10, 10, 20, 20, 15]
    assert store.read("backups", "long") == body


@pytest.mark.parametrize("cut_off", [False, True])
def test_an_upload_whose_last_answer_was_lost_may_be_tried_again(cut_off: bool) -> None:
    """It was completed, so there is nothing to abort: that must not hide what happened."""

    from minio.error import S3Error

    class Answer:
        status = 404

    class Client:
        aborted = 0

        def _create_multipart_upload(self, *_: Any) -> str:
            return "upload"

        def _upload_part(self, *_: Any) -> str:
            return "etag"

        def _complete_multipart_upload(self, *_: Any) -> None:
            raise urllib3.exceptions.ProtocolError("reset")

        def _abort_multipart_upload(self, *_: Any) -> None:
            self.aborted += 1
            if cut_off:
                raise ParseError("no element found")
            raise S3Error(cast("Any", Answer()), "NoSuchUpload", "gone", "key", "1", "1")

    hook = ObjectStoreHook(pool=Pool(200))
    client = hook.__dict__["client"] = Client()
    with pytest.raises(Unreachable, match="ProtocolError"):
        hook.put_stream("backups", "key", io.BytesIO(bytes(module.PART_BYTES)))
    assert client.aborted == 1


def test_what_is_written_at_once_is_one_request() -> None:
    """An upload in parts that breaks would be told by its abort, which finds nothing."""
    s3 = S3("backups")
    ObjectStoreHook(pool=s3).put("backups", "key", bytes(module.PART_BYTES))
    assert [method for method, _, _ in s3.sent] == ["PUT"]

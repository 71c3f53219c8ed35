"""The accounts of backups are asked one by one, and asking changes nothing."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.systems.object_store.accounts import BackupReader, BackupWriter, RestoreTarget, SourceBucket
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.hook import ObjectStoreHook
from sandbox.contract import new_environment
from sandbox.stand_ins.object_store import create_app
from tests.unit.backups.s3 import S3, Refusal
from tests.unit.sandbox.served import served

ENVIRONMENT = new_environment(1)
VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


def enter(monkeypatch: pytest.MonkeyPatch, name: str, host: str = "http://s3.test", role: str = "") -> None:
    keys = {part: ENVIRONMENT[f"OBJECT_STORE_{role}{part}_KEY"] for part in ("ACCESS", "SECRET")}
    fields = {"conn_type": "object_store", "host": host, "login": keys["ACCESS"], "password": keys["SECRET"]}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))


def wrong(hook: ObjectStoreHook, *places: str) -> dict[str, str]:
    found = hook.check_permissions(places)
    return {one.permission.name: one.state for one in found if one.state != "ok"}


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The sandbox's own store, which knows the accounts by their policies."""
    with served(create_app(ENVIRONMENT, tmp_path / "s3")) as found:
        enter(monkeypatch, "owner", found)
        for bucket in ("backups", "evidence"):
            BucketHook("owner").make_bucket(bucket)
        enter(monkeypatch, "backup_store", found, "BACKUP_WRITER_")
        enter(monkeypatch, "backup_reader", found, "BACKUP_READER_")
        yield found


def test_the_policies_of_the_sandbox_are_what_is_asked_for(address: str) -> None:
    for _ in range(2):
        assert wrong(BackupWriter("backup_store", never="evidence"), "backups") == {}
        assert wrong(BackupReader("backup_reader"), "backups") == {}
    owner = BucketHook("owner")
    assert list(owner.keys("backups", "")) == ["checks/write.json"]
    assert list(owner.keys("evidence", "")) == []


def test_the_accounts_are_told_apart(address: str) -> None:
    assert wrong(BackupReader("backup_store"), "backups") == {"s3:PutObject": "too much"}
    found = wrong(BackupWriter("backup_reader", never="evidence"), "backups")
    assert {name for name, state in found.items() if state == "missing"} >= {
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "s3:GetLifecycleConfiguration",
    }


def test_an_account_that_may_all_is_too_much(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wrong(BackupWriter("owner", never="evidence"), "backups") == {
        "s3:DeleteObjectVersion": "too much",
        "s3:PutObject on the evidence": "too much",
    }
    assert wrong(BackupReader("owner"), "backups", "drill-*") == {
        "s3:PutObject": "too much",
        "s3:DeleteObjectVersion": "too much",
    }
    owner = BucketHook("owner")
    assert list(owner.keys("evidence", "")) == []


def test_a_store_without_a_bucket_for_evidence_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, "backup_store")
    assert wrong(BackupWriter("backup_store", never="evidence", pool=S3("backups")), "backups") == {
        "s3:DeleteObjectVersion": "too much"
    }


def refusing(*refused: Callable[[str, str, str], bool]) -> S3:
    """A source that lets an account only read, and not that."""
    store = S3("shop")
    store.put("shop", "live/one", b"1")

    def judge(method: str, path: str, query: str) -> None:
        if method in ("PUT", "DELETE") or any(each(method, path, query) for each in refused):
            raise Refusal(403, "AccessDenied")

    store.spoil = judge
    return store


@pytest.mark.parametrize("versioned", [True, False])
def test_an_account_that_reads_a_source_is_sound(monkeypatch: pytest.MonkeyPatch, versioned: bool) -> None:
    enter(monkeypatch, "hcp")
    store = refusing()
    if versioned:
        store.buckets["shop"].settings["versioning"] = VERSIONED
    assert wrong(SourceBucket("hcp", pool=store), "shop", "shop/live/", "shop/empty/") == {}


@pytest.mark.parametrize(
    ("refused", "name"),
    [
        (lambda method, path, query: path == "/shop" and "prefix" in query, "s3:ListBucket, s3:ListBucketVersions"),
        (lambda method, path, query: path == "/shop/live/one" and not query, "s3:GetObject, s3:GetObjectVersion"),
        (lambda method, path, query: "tagging" in query, "s3:GetObjectTagging, s3:GetObjectVersionTagging"),
    ],
)
def test_what_a_source_does_not_let_us_read_is_named(
    monkeypatch: pytest.MonkeyPatch, refused: Callable[[str, str, str], bool], name: str
) -> None:
    enter(monkeypatch, "hcp")
    assert wrong(SourceBucket("hcp", pool=refusing(refused)), "shop") == {name: "missing"}


def test_a_source_that_could_be_changed_is_told_and_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, "hcp")
    store = S3("shop")
    store.put("shop", "one", b"1")
    assert wrong(SourceBucket("hcp", pool=store), "shop") == {
        "s3:PutObject": "too much",
        "s3:DeleteObjectVersion": "too much",
    }
    assert store.names("shop") == ["one"]
    assert store.uploads == {}


@pytest.mark.parametrize(
    ("refused", "found"),
    [("/shop", {}), ("nothing", {"s3:PutObject on sources and points": "too much"})],
)
def test_who_restores_must_reach_no_source(
    monkeypatch: pytest.MonkeyPatch, refused: str, found: dict[str, str]
) -> None:
    enter(monkeypatch, "restorer")
    store = S3("shop")

    def judge(method: str, path: str, query: str) -> None:
        if path == "/" or (method == "PUT" and path.startswith(refused)):
            raise Refusal(403, "AccessDenied")

    store.spoil = judge
    restorer = RestoreTarget("restorer", pool=store)
    # What it is to write to, only the form of a restore says; the second bucket lies in another store.
    assert wrong(restorer, "shop", "elsewhere") == {"s3:PutObject on what is restored to": "unknown"} | found
    assert (store.names("shop"), store.uploads) == ([], {})


def test_a_key_that_nobody_knows_restores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, "restorer")
    store = S3("shop")

    def refuse(*_: str) -> None:
        raise Refusal(403, "InvalidAccessKeyId")

    store.spoil = refuse
    with pytest.raises(AuthenticationFailed, match="InvalidAccessKeyId"):
        wrong(RestoreTarget("restorer", pool=store), "shop")

"""Backing up a bucket: what is stored, what is not stored again, what is found when it is restored."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyrage
import pytest

from platform_ops.backups.errors import Contradiction, SourceEmptied, SourceTrouble
from platform_ops.systems.object_store.models import Known
from tests.unit.backups.bucket_world import World
from tests.unit.backups.s3 import Refusal

ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
HOSTILE = [
    "../../etc/passwd",
    "a/../b",
    "a//b",
    "/leading",
    "trailing/",
    ".",
    "..",
    "tab\there",
    "line\nbreak",
    "bell\x07",
    "space and +plus%41",
    "ü/日本/🙂",
    "back\\slash",
    "x" * 1024,
    "mapped-by-its-name",
    "-rf",
    "'$(id)`\"",
]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_what_is_stored_says_nothing_of_what_it_holds(world: World) -> None:
    world.s3.put("shop", "salaries/2026.csv", b"a secret of the company", x_amz_meta_owner="a secret person")
    world.back_up()
    for key in world.s3.names("backups"):
        assert "salaries" not in key
        if not key.endswith((".json", "RESTORE.md")):
            assert b"secret" not in world.s3.newest("backups", key).body
    (line,) = world.lines(world.begin(0))
    assert line["sha256"] not in "".join(world.s3.names("backups"))
    assert line["key"] == "salaries/2026.csv"
    assert line["put"] == {"ContentType": "text/plain", "Metadata": {"owner": "a secret person"}}


def test_a_second_backup_of_an_unchanged_bucket_reads_and_stores_no_content(world: World) -> None:
    for number in range(50):
        world.s3.put("shop", f"object {number:02}", str(number).encode(), {"n": str(number)})
    first = world.back_up()
    stored = world.contents()
    assert len(stored) == 50
    world.s3.sent.clear()
    second = world.begin()
    assert world.contents() == stored
    assert world.s3.count("GET", "^/shop/object") == 0
    assert world.s3.count("PUT", "/contents/") == 0
    assert world.lines(second) == world.lines(first)
    assert second.contents == first.contents
    assert second.state["built_on"] == first.point
    assert (second.state["read"], second.state["added"]) == (0, 0)


def test_a_changed_object_of_equal_size_and_time_is_copied(world: World) -> None:
    world.s3.put("shop", "config", b"mode=safe")
    world.back_up()
    world.s3.put("shop", "config", b"mode=fast")
    (line,) = world.lines(world.back_up())
    assert line["sha256"] != world.lines(world.begin(0))[0]["sha256"]
    assert len(world.contents()) == 2


@pytest.mark.parametrize("what", [{}, {"read_all": True}])
def test_where_etags_say_nothing_objects_are_read(monkeypatch: pytest.MonkeyPatch, what: dict[str, Any]) -> None:
    world = World(monkeypatch, **what)
    world.s3.trusted = False
    world.s3.put("shop", "config", b"mode=safe")
    world.s3.put("shop", "same", b"as ever")
    world.back_up()
    stored = world.contents()
    world.s3.newest("shop", "config").body = b"mode=fast"
    world.back_up()
    # By the ETag alone nobody could tell; the catalogue says whether to trust it.
    assert (len(world.contents()) == len(stored) + 1) is bool(what)


def test_an_object_without_etag_is_read_each_time(world: World) -> None:
    world.s3.put("shop", "config", b"mode=safe").etag = ""
    world.back_up()
    world.s3.newest("shop", "config").body = b"mode=fast"
    world.back_up()
    assert len(world.contents()) == 2


def test_equal_bytes_are_stored_once_whatever_they_are_called(world: World) -> None:
    for number in range(40):
        world.s3.put("shop", f"copy {number}", b"the same")
    world.back_up()
    assert len(world.contents()) == 1
    world.s3.put("shop", "renamed", b"the same")
    world.back_up()
    assert len(world.contents()) == 1


def test_a_deleted_object_is_gone_in_the_new_point_and_there_in_the_old(world: World, tmp_path: Path) -> None:
    world.s3.put("shop", "kept", b"1")
    world.s3.put("shop", "deleted", b"2")
    old = world.back_up()
    world.s3.buckets["shop"].keys.pop("deleted")
    new = world.back_up()
    assert [line["key"] for line in world.lines(new)] == ["kept"]
    assert [line["key"] for line in world.lines(old)] == ["deleted", "kept"]
    assert world.drill(old, tmp_path).differences == ()


@pytest.mark.parametrize("server", ["S3", "MinIO"])
def test_versions_deletions_metadata_and_tags_come_back_in_order(world: World, tmp_path: Path, server: str) -> None:
    s3 = world.s3
    s3.server = server
    s3.put("shop", "before", b"from before the bucket kept versions")
    s3.buckets["shop"].settings["versioning"] = ENABLED
    s3.put("shop", "a", b"one", {"team": "shop & co", "empty": ""}, x_amz_meta_n="1")
    s3.put("shop", "a", b"two", content_type="image/png", cache_control="no-store")
    s3._delete(s3.buckets["shop"], "a", {})
    s3.put("shop", "a", b"three")
    s3.put("shop", "gone", b"x")
    s3._delete(s3.buckets["shop"], "gone", {})
    manifest = world.back_up()
    assert [(line["key"], bool(line.get("marker"))) for line in world.lines(manifest)] == [
        ("a", False), ("a", True), ("a", False), ("a", False), ("before", False), ("gone", True), ("gone", False),
    ]  # fmt: skip
    kind, opened = world.kind(), world.opened(manifest)
    kind.restore(opened, tmp_path)
    scratch = (tmp_path / "scratch-bucket").read_text()
    three, marker, two, one = s3.buckets[scratch].keys["a"]
    assert (three.body, marker.marker, two.body, one.body) == (b"three", True, b"two", b"one")
    assert one.tags == {"team": "shop & co", "empty": ""}
    assert (one.headers["x-amz-meta-n"], two.headers["content-type"]) == ("1", "image/png")
    assert kind.compare(opened, tmp_path) == []
    kind.remove(tmp_path)
    assert sorted(s3.buckets) == ["backups", "shop"]
    again = world.back_up()
    assert again.state["added"] == 0


def test_every_key_comes_back_and_none_is_a_path(world: World, tmp_path: Path) -> None:
    for key in HOSTILE:
        world.s3.put("shop", key, key.encode())
    manifest = world.back_up()
    assert {line["key"] for line in world.lines(manifest)} == set(HOSTILE)
    assert world.drill(manifest, tmp_path).differences == ()
    assert {path.name for path in tmp_path.iterdir()} == {"scratch-bucket"}
    assert world.back_up().state["added"] == 0


def test_bytes_are_backed_up_as_they_are_stored(world: World, tmp_path: Path) -> None:
    packed = gzip.compress(b"text " * 1000)
    world.s3.put("shop", "page.html", packed, content_encoding="gzip")
    manifest = world.back_up()
    assert world.lines(manifest)[0]["size"] == len(packed)
    assert world.drill(manifest, tmp_path).differences == ()


def test_a_large_object_goes_through_in_parts(world: World, tmp_path: Path) -> None:
    import random

    world.s3.put("shop", "large", random.Random(1).randbytes(33 * 1024 * 1024))
    manifest = world.back_up()
    assert world.s3.uploads == {}
    assert world.drill(manifest, tmp_path).differences == ()


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_listing_of_many_pages_is_whole(world: World, page: int) -> None:
    world.s3.buckets["shop"].settings["versioning"] = ENABLED
    for number in range(5):
        for version in range(3):
            world.s3.put("shop", f"k{number}", f"{number} {version}".encode())
    world.s3.page = page
    assert len(world.lines(world.begin())) == 15


@pytest.mark.parametrize("broken", ["cut", "error", "no word about its end"])
def test_half_a_listing_is_not_taken_for_the_whole(world: World, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    for number in range(5):
        world.s3.put("shop", f"k{number}", b"x")
    world.s3.page = 2
    whole = world.s3._list

    def second_page(bucket: Any, name: str, query: dict[str, str]) -> str:
        page = whole(bucket, name, query)
        if name != "shop" or "continuation-token" not in query:
            return page
        if broken == "error":
            raise Refusal(500, "InternalError")
        if broken == "cut":
            return page[: len(page) // 2]
        return page.replace("<IsTruncated>true</IsTruncated>", "")

    monkeypatch.setattr(world.s3, "_list", second_page)
    with pytest.raises(Exception, match="list of the objects of bucket shop"):
        world.begin()
    assert world.points.all() == []


def test_an_object_that_changes_while_it_is_read_is_read_again(world: World) -> None:
    world.s3.put("shop", "busy", b"old bytes")
    changed = []

    def change(method: str, path: str, query: str) -> None:
        if (method, path) == ("GET", "/shop/busy") and "tagging" not in query and not changed:
            changed.append(path)
            world.s3.put("shop", "busy", b"new")

    world.s3.spoil = change
    (line,) = world.lines(world.begin())
    new = world.s3.newest("shop", "busy")
    assert (line["size"], line["etag"]) == (3, new.etag)
    assert len(world.contents()) == 1


def test_an_object_that_never_rests_is_named(world: World) -> None:
    world.s3.put("shop", "busy", b"0")

    def change(method: str, path: str, query: str) -> None:
        if (method, path) == ("GET", "/shop/busy") and "tagging" not in query:
            world.s3.put("shop", "busy", str(len(world.s3.sent)).encode())

    world.s3.spoil = change
    with pytest.raises(SourceTrouble, match="'busy' was another each of 3 times"):
        world.begin()


def test_an_object_that_vanishes_is_told(world: World) -> None:
    world.s3.put("shop", "here", b"1")
    world.s3.put("shop", "there", b"2")

    def vanish(method: str, path: str, query: str) -> None:
        if path == "/shop/there":
            world.s3.buckets["shop"].keys.pop("there", None)

    world.s3.spoil = vanish
    manifest = world.begin()
    assert [line["key"] for line in world.lines(manifest)] == ["here"]
    assert "'there'" in " ".join(world.notes)


def test_wrong_bytes_on_the_way_are_read_again(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world.s3.put("shop", "k", b"right")
    right = world.s3._object
    wrong = iter([True])

    def answer(method: str, bucket: Any, name: str, key: str, query: Any, headers: Any, body: bytes) -> Any:
        status, found, content = right(method, bucket, name, key, query, headers, body)
        if (method, name, query) == ("GET", "shop", {}) and next(wrong, False):
            content = b"wrong"
        return status, found, content

    monkeypatch.setattr(world.s3, "_object", answer)
    assert world.drill(world.begin(), tmp_path).differences == ()


def test_an_etag_that_is_no_md5_is_believed_the_second_time(world: World, tmp_path: Path) -> None:
    world.s3.put("shop", "encrypted by the store", b"x").etag = "0123456789abcdef0123456789abcdef"
    assert world.drill(world.back_up(), tmp_path).differences == ()


def test_with_another_key_all_is_stored_anew(world: World, tmp_path: Path) -> None:
    world.s3.put("shop", "k", b"x")
    world.back_up()
    world.key = str(pyrage.x25519.Identity.generate())
    manifest = world.back_up()
    assert manifest.state["built_on"] is None
    assert len(world.contents()) == 2
    assert world.drill(manifest, tmp_path).differences == ()


def test_for_other_recipients_all_is_stored_anew(world: World, tmp_path: Path) -> None:
    world.s3.put("shop", "a", b"some bytes")
    world.back_up()
    new = pyrage.x25519.Identity.generate()
    world.recipients, world.identity = (str(new.to_public()),), str(new)
    second = world.back_up()
    assert second.state["added"] == 1
    assert any("recipients" in note for note in world.notes)
    assert world.drill(second, tmp_path).differences == ()
    assert world.back_up().state["added"] == 0
    assert world.notes == []


def test_the_order_of_recipients_changes_nothing(world: World) -> None:
    world.recipients = (*world.recipients, str(pyrage.x25519.Identity.generate().to_public()))
    world.s3.put("shop", "a", b"some bytes")
    world.back_up()
    world.recipients = world.recipients[::-1]
    assert world.back_up().state["added"] == 0


def test_without_a_key_nothing_encrypted_is_begun(world: World) -> None:
    world.key = ""
    with pytest.raises(Contradiction, match="age-keygen"):
        world.begin()
    assert world.s3.names("backups") == []


def test_a_bucket_is_not_backed_up_into_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"conn_type": "object_store", "host": "http://backup-store", "login": "key", "password": "a-secret-key"}
    monkeypatch.setenv("AIRFLOW_CONN_HCP_DEFAULT", json.dumps(fields))
    world.source.what["bucket"] = "backups"  # type: ignore[index]
    with pytest.raises(Contradiction, match="into itself"):
        world.begin()


def test_settings_lie_beside_the_data_and_what_a_store_lacks_is_told(world: World, tmp_path: Path) -> None:
    settings = world.s3.buckets["shop"].settings
    settings["policy"] = b'{"Version": "2012-10-17"}'
    settings["lifecycle"] = b"<LifecycleConfiguration><Rule><ID>x</ID></Rule></LifecycleConfiguration>"
    world.s3.unsupported = frozenset({"cors"})
    manifest = world.back_up()
    assert manifest.state["settings"] == {
        "policy": "set", "lifecycle": "set", "versioning": "set", "lock": "none", "cors": Known.NOT_SUPPORTED,
    }  # fmt: skip
    assert "cors: not supported by this store" in " ".join(world.notes)
    with world.opened(manifest).open("settings.json") as plain:
        assert json.loads(plain.read(-1))["policy"] == {"state": "set", "text": '{"Version": "2012-10-17"}'}
    assert world.drill(manifest, tmp_path).differences == ()


def test_prefix_and_exclude_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, prefix="in/", exclude=["*.tmp"])
    for key in ("in/a", "in/b.tmp", "out"):
        world.s3.put("shop", key, key.encode())
    assert [line["key"] for line in world.lines(world.begin())] == ["in/a"]


@pytest.mark.parametrize("spoilt", ["body", "tags", "missing", "extra", "type"])
def test_a_scratch_bucket_that_differs_is_told(world: World, tmp_path: Path, spoilt: str) -> None:
    world.s3.put("shop", "a", b"one", {"t": "1"})
    world.s3.put("shop", "b", b"two")
    kind, opened = world.kind(), world.opened(world.back_up())
    kind.restore(opened, tmp_path)
    scratch = (tmp_path / "scratch-bucket").read_text()
    one = world.s3.newest(scratch, "a")
    if spoilt == "body":
        one.body = b"eno"
    elif spoilt == "tags":
        one.tags = {}
    elif spoilt == "type":
        one.headers["content-type"] = "text/html"
    elif spoilt == "missing":
        world.s3.buckets[scratch].keys.pop("a")
    else:
        world.s3.put(scratch, "aa", b"x")
    (said,) = kind.compare(opened, tmp_path)
    assert ("'aa'" if spoilt == "extra" else "'a'") in said


def test_the_scratch_bucket_of_a_killed_drill_goes_with_the_next(world: World, tmp_path: Path) -> None:
    world.s3.put("shop", "a", b"one")
    manifest = world.back_up()
    world.kind().restore(world.opened(manifest), tmp_path)
    world.s3.buckets["drill-shop-data-2-0123abcd"] = world.s3.buckets["shop"]
    assert world.drill(manifest, tmp_path).differences == ()
    assert sorted(world.s3.buckets) == ["backups", "drill-shop-data-2-0123abcd", "shop"]
    world.kind().restore(world.opened(manifest), tmp_path)
    assert len(world.s3.buckets) == 4
    world.kind().sweep()
    assert sorted(world.s3.buckets) == ["backups", "drill-shop-data-2-0123abcd", "shop"]


def test_a_store_that_does_not_answer_for_a_moment_is_asked_again(world: World) -> None:
    world.s3.put("shop", "a", b"one")
    failing = iter([Refusal(503, "SlowDown"), Refusal(503, "SlowDown")])

    def busy(method: str, path: str, query: str) -> None:
        if method == "PUT" and "/contents/" in path and (failure := next(failing, None)):
            raise failure

    world.s3.spoil = busy
    assert world.begin().contents is not None


def test_a_bucket_that_is_empty_now_is_no_backup(world: World) -> None:
    world.s3.put("shop", "k", b"x")
    first = world.back_up()
    world.s3.buckets["shop"].keys.clear()
    with pytest.raises(SourceEmptied, match=rf"has no objects now, and point {first.point} holds 1"):
        world.begin()
    assert world.points.all() == [first.point]

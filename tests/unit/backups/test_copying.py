"""Points are whole or do not exist, wherever the copy dies; and what was changed in the store is found."""

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard

from platform_ops.backups import copying
from platform_ops.backups.drilling import Opened, drill
from platform_ops.backups.errors import Corrupt, NoPoint
from platform_ops.backups.kinds.directory import Directory
from platform_ops.backups.points import MANIFEST, point_id
from platform_ops.backups.store import Points
from platform_ops.backups.streams import encode_whole
from platform_ops.systems.object_store.errors import ObjectNotFound
from tests.unit.backups.memory_store import Killed, MemoryStore

AT = datetime(2026, 3, 1, 2, tzinfo=UTC)
POINT = point_id(AT, "run 1")


@pytest.fixture
def make(source, points, recipients, copier) -> Any:
    def copy(point: str = POINT, keys: tuple[str, ...] = recipients) -> Any:
        options = {"run_id": "run 1", "recipients": keys, "key": copier if keys else "", "told": lambda _: None}
        return copying.copy(source, Directory(source), points, point, **options)

    return copy


def proven(source, points, key, point: str = POINT, *, scratch: Path) -> tuple[str, ...]:
    manifest, _ = points.manifest(point)
    scratch.mkdir()
    opened = Opened(points, manifest, str(key) if manifest.recipients else None)
    return drill(Directory(source), opened, scratch).differences


@pytest.mark.parametrize("encrypted", [True, False])
def test_what_was_copied_is_restored_alike(
    make, source, points, store, key, recipients, tmp_path: Path, encrypted: bool
) -> None:
    manifest, sha256, notes = make(keys=recipients if encrypted else ())
    assert points.manifest(POINT) == (manifest, sha256)
    assert notes == []
    assert points.all() == [POINT]
    assert proven(source, points, key, scratch=tmp_path / "scratch") == ()
    ending = ".zst.age" if encrypted else ".zst"
    names = [f"index.jsonl{ending}", f"tree.tar{ending}", f"packs.tar{ending}", "contents.jsonl.zst"]
    assert [member.name for member in manifest.members] == names


def test_the_text_for_the_day_without_us_lies_beside_the_point(make, store) -> None:
    make()
    text = lying(store, "RESTORE.md")[1].decode()
    for command in ("sha256sum --check", "age --decrypt --identity key.txt", "zstd --decompress", "tar --extract"):
        assert command in text


@pytest.mark.parametrize("stage", ["before", "answered"])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_copy_that_dies_leaves_no_point_and_the_next_one_is_whole(
    make, source, points, store, key, tmp_path: Path, number: int, stage: str
) -> None:
    store.dies_at, store.stage = number, stage
    with pytest.raises(Killed):
        make()
    committed = f"tree/{POINT}/{MANIFEST}" in store.objects
    assert points.all() == ([POINT] if committed else [])
    assert committed == ((number, stage) == (8, "answered"))
    if not committed:
        make()
    assert points.unfinished() == []
    assert proven(source, points, key, scratch=tmp_path / "scratch") == ()


def delete(points: Points, point: str) -> None:
    points.unmake(point)
    points.clear(point)


@pytest.mark.parametrize("stage", ["before", "answered"])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_deletion_that_dies_leaves_a_whole_point_or_none(make, points, store, number: int, stage: str) -> None:
    make()
    points.note(POINT, "verified.json", {"at": "now"})
    store.changes.clear()
    store.dies_at, store.stage = number, stage
    with pytest.raises(Killed):
        delete(points, POINT)
    # Its manifest is the third to go.
    assert points.all() == ([POINT] if number + (stage == "answered") <= 3 else [])
    assert points.lost() == []
    store.dies_at = 0
    for point in (*points.all(), *points.unfinished()):
        delete(points, point)
    # Contents are pruned by themselves.
    assert all(key.startswith("tree/contents/") for key in store.objects)


def lying(store: MemoryStore, name: str) -> tuple[str, bytes]:
    """Return where the one object of a name lies, and what it holds."""
    ((key, body),) = [(key, body) for key, body in store.objects.items() if key.endswith(f"/{name}")]
    return key, body


def member(points, name: str = "tree.tar.zst.age") -> Any:
    manifest, _ = points.manifest(POINT)
    return next(one for one in manifest.members if one.name == name)


def spoil(body: bytes, how: str) -> bytes:
    if how == "flipped":
        return body[:100] + bytes([body[100] ^ 1]) + body[101:]
    return body[:-1] if how == "cut" else b"swapped" * 100


@pytest.mark.parametrize("how", ["flipped", "cut", "swapped"])
def test_changed_bytes_are_found_and_named(make, source, points, store, key, tmp_path: Path, how: str) -> None:
    make()
    name, body = lying(store, "tree.tar.zst.age")
    store.objects[name] = spoil(body, how)
    with pytest.raises(Corrupt, match=name):
        points.check(points.manifest(POINT)[0], member(points), lambda _: None)
    with pytest.raises(Corrupt, match=name):
        proven(source, points, key, scratch=tmp_path / "scratch")


def test_bytes_that_somebody_else_sealed_are_not_restored(
    make, source, points, store, key, recipients, tmp_path
) -> None:
    """The public keys are public: what unpacks well is not therefore what was stored."""
    make()
    sealed = [one for one in store.objects if one.endswith(".zst.age") and "/packs.tar" not in one]
    assert len(sealed) == 3, "the index, the tree and a pack"
    for number, name in enumerate(sealed):
        kept = store.objects[name]
        plain = zstandard.ZstdDecompressor().stream_reader(pyrage.decrypt(kept, [key])).read()
        store.objects[name] = encode_whole(plain, recipients)
        with pytest.raises(Corrupt, match=name):
            proven(source, points, key, scratch=tmp_path / f"scratch {number}")
        store.objects[name] = kept


def test_bytes_that_were_wrong_once_on_the_way_spoil_nothing(
    make, points, store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    right, wrong = store.stream, [b"other bytes"]

    @contextmanager
    def stream(bucket: str, key: str) -> Iterator[Any]:
        with right(bucket, key) as body:
            yield io.BytesIO(wrong.pop()) if wrong else body

    monkeypatch.setattr(store, "stream", stream)
    points.check(points.manifest(POINT)[0], member(points), lambda _: None)
    assert wrong == []


def test_a_missing_object_is_named(make, source, points, store, key, tmp_path: Path) -> None:
    make()
    del store.objects[lying(store, "tree.tar.zst.age")[0]]
    with pytest.raises(ObjectNotFound, match=r"tree\.tar"):
        points.check(points.manifest(POINT)[0], member(points), lambda _: None)
    with pytest.raises(ObjectNotFound, match=r"tree\.tar"):
        proven(source, points, key, scratch=tmp_path / "scratch")


def test_members_that_changed_places_are_found(make, points, store) -> None:
    make()
    first, second = (lying(store, f"{name}.zst.age")[0] for name in ("tree.tar", "index.jsonl"))
    store.objects[first], store.objects[second] = store.objects[second], store.objects[first]
    with pytest.raises(Corrupt):
        points.check(points.manifest(POINT)[0], member(points), lambda _: None)


def test_of_two_copies_of_one_task_the_faster_ones_point_stands(
    make, source, points, store, key, tmp_path: Path
) -> None:
    faster = make()
    assert make() == faster
    assert points.all() == [POINT]
    assert proven(source, points, key, scratch=tmp_path / "scratch") == ()
    strays = points.strays(faster[0])
    assert len(strays) == 5
    assert not any(faster[0].place in stray for stray in strays)


@pytest.mark.parametrize("point", ["", "latest", "../other", point_id(AT, "run 2"), "99999999T999999Z-0123abcd"])
def test_a_point_that_is_not_there_is_named(points, point: str) -> None:
    with pytest.raises(NoPoint, match=re.escape(f"tree has no point '{point}'.")):
        points.manifest(point)


def test_what_was_found_lies_beside_the_point(points, store) -> None:
    assert points.noted(POINT, "verified.json") is None
    points.note(POINT, "verified.json", {"bytes": 15})
    assert json.loads(store.objects[f"tree/{POINT}/verified.json"]) == {"bytes": 15}
    assert points.noted(POINT, "verified.json") == {"bytes": 15}

"""Where a run's documents go, on a store that lives in memory."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import create_autospec

import pytest

from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.evidence.document import BUCKET, build, canonical, sha256
from platform_ops.evidence.store import Kept, find_end, keep
from platform_ops.systems.object_store.hook import ObjectStoreHook

FOLDER = "runs/release_service/r1/"


class Store:
    """A bucket; ``late`` is what somebody else writes just before our next write."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.late: dict[str, bytes] = {}
        self.hook = create_autospec(ObjectStoreHook, instance=True)
        self.hook.read.side_effect = lambda bucket, key: self._bucket(bucket).get(key)
        self.hook.put_new.side_effect = self._put_new
        self.hook.keys.side_effect = lambda bucket, prefix: iter(
            sorted(key for key in self._bucket(bucket) if key.startswith(prefix))
        )
        self.hook.url.side_effect = lambda bucket, key: f"http://store/{bucket}/{key}"

    def _bucket(self, name: str) -> dict[str, bytes]:
        assert name == BUCKET
        return self.objects

    def _put_new(self, bucket: str, key: str, body: bytes) -> bool:
        self._bucket(bucket).update(self.late)
        self.late = {}
        if key in self.objects:
            return False
        self.objects[key] = body
        return True

    def keep(self, verdict: str, run_id: str = "r1") -> Kept:
        return keep(self.hook, "release_service", run_id, lambda number: document(number, verdict))


def document(number: int, verdict: str) -> dict[str, Any]:
    return {"verdict": verdict, "number": number}


@pytest.fixture
def store() -> Store:
    return Store()


def test_the_first_end_of_a_run_is_number_one(store: Store) -> None:
    kept = store.keep("failed")
    assert kept == Kept(
        number=1,
        key=f"{FOLDER}1.json",
        sha256=sha256(document(1, "failed")),
        url=f"http://store/evidence/{FOLDER}1.json",
        adopted=False,
        document=document(1, "failed"),
    )
    assert store.objects == {f"{FOLDER}1.json": canonical(document(1, "failed"))}


def test_a_second_end_gets_the_next_number_and_leaves_the_first(store: Store) -> None:
    store.keep("failed")
    kept = store.keep("released")
    assert (kept.number, kept.adopted) == (2, False)
    assert [json.loads(body) for body in store.objects.values()] == [document(1, "failed"), document(2, "released")]


def test_an_equal_newest_document_is_adopted(store: Store) -> None:
    first = store.keep("failed")
    again = store.keep("failed")
    assert again.adopted
    assert (again.number, again.sha256, again.key) == (1, first.sha256, first.key)
    assert len(store.objects) == 1


def test_a_document_equal_to_an_older_end_is_a_new_end(store: Store) -> None:
    store.keep("failed")
    store.keep("released")
    assert store.keep("failed").number == 3


def test_who_loses_the_race_takes_the_next_number(store: Store) -> None:
    store.late = {f"{FOLDER}1.json": b"another's"}
    kept = store.keep("failed")
    assert (kept.number, kept.adopted) == (2, False)
    assert store.objects[f"{FOLDER}1.json"] == b"another's"
    assert store.objects[f"{FOLDER}2.json"] == canonical(document(2, "failed"))
    assert kept.sha256 == sha256(document(2, "failed"))


def test_the_tenth_is_newer_than_the_ninth(store: Store) -> None:
    store.objects = {f"{FOLDER}{number}.json": b"{}" for number in range(1, 10)}
    assert store.keep("failed").number == 10
    assert (store.keep("failed").number, store.keep("failed").adopted) == (10, True)


def test_other_runs_and_other_files_count_nothing(store: Store) -> None:
    store.objects = {
        "runs/release_service/r10/7.json": b"{}",
        "runs/backup/r1/7.json": b"{}",
        f"{FOLDER}notes.json": b"{}",
    }
    assert store.keep("failed").number == 1


AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def run(number: int = 1) -> RunRecord:
    """A run whose step has been tried so often; its last step is no step of the document."""
    tasks = (
        TaskRecord("sync", "failed", AT, AT, number, {"summary": "Red.", "facts": {"seconds": 2.0}}),
        TaskRecord("record_evidence", None, None, None, number, None),
    )
    return RunRecord("release_service", "r1", "failed", "oscar", AT, AT, AT, {}, tasks)


def keep_run(store: Store, of: RunRecord, observed: str = "") -> Kept:
    def made(number: int) -> dict[str, Any]:
        seen = {"observed": {"pods": observed}, "differences": [], "subject": {}}
        return build(of, number=number, verdict="failed", without=LAST, **seen)

    return keep(store.hook, of.dag_id, of.run_id, made)


LAST = ("record_evidence",)


def test_an_end_is_found_by_the_tries_of_its_steps_whatever_the_systems_said(store: Store) -> None:
    assert find_end(store.hook, run(), without=LAST) is None
    kept = keep_run(store, run(), "a digest")
    assert find_end(store.hook, run(), without=LAST) == replace(kept, adopted=True)


@pytest.mark.parametrize("body", [b"", b"cut {", b"[]", b"\xff"])
def test_what_is_no_document_keeps_no_end_from_being_stored(store: Store, body: bytes) -> None:
    store.objects[f"{FOLDER}1.json"] = body
    assert find_end(store.hook, run(), without=LAST) is None
    assert keep_run(store, run()).number == 2
    assert store.objects[f"{FOLDER}1.json"] == body


def test_another_try_is_another_end(store: Store) -> None:
    keep_run(store, run(1))
    assert find_end(store.hook, run(2), without=LAST) is None
    keep_run(store, run(2))
    assert find_end(store.hook, run(2), without=LAST)
    assert find_end(store.hook, run(1), without=LAST) is None, "only the newest counts"

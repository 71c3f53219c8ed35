"""The steps of report_backups, on a store in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from platform_ops.backups.drill_steps import DrillRestore
from platform_ops.backups.points import MANIFEST, VERIFIED, point_id
from platform_ops.backups.proofs import Proof
from platform_ops.backups.report_steps import SourcesUnread, WriteReport
from platform_ops.backups.store import Points
from platform_ops.common.errors import Unreachable
from tests.unit.backups.installation import NOW, Steps
from tests.unit.backups.memory_store import MemoryStore

NAME = f"reports/backups/{point_id(NOW, 'r1')}"
DAY = timedelta(days=1)


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """The store of the evidence, which is another one."""
    store = MemoryStore()
    monkeypatch.setattr("platform_ops.backups.report_steps.ObjectStoreHook", lambda: store)
    return store


def standings(report: dict[str, Any]) -> dict[str, str]:
    return {row["source"]: row["standing"] for row in report["facts"]["report"]["sources"]}


def test_it_stores_the_report_as_json_and_as_a_page(steps: Steps, evidence: MemoryStore) -> None:
    steps.back_up()
    steps.run(DrillRestore, source="tree")
    steps.enter("other")
    report = steps.run(WriteReport)
    assert standings(report) == {"other": "never backed up", "tree": "proven"}
    assert report["summary"] == "1 of 2 sources are proven and in time. other: never backed up."
    assert set(evidence.objects) == {f"{NAME}.json", f"{NAME}.html"}
    assert json.loads(evidence.objects[f"{NAME}.json"]) == report["facts"]["report"]
    assert "1 of 2 sources are proven" in evidence.objects[f"{NAME}.html"].decode()
    assert steps.store.changes == [one for one in steps.store.changes if "reports/" not in one]


@pytest.mark.parametrize("dies_at", [1, 2])
@pytest.mark.parametrize("stage", ["before", "answered"])
def test_killed_anywhere_the_next_try_ends_with_one_report(
    steps: Steps, evidence: MemoryStore, dies_at: int, stage: str
) -> None:
    from tests.unit.backups.memory_store import Killed

    steps.back_up()
    evidence.dies_at, evidence.stage = dies_at, stage
    with pytest.raises(Killed):
        steps.run(WriteReport)
    first = evidence.objects.get(f"{NAME}.json")
    report = steps.run(WriteReport)
    assert set(evidence.objects) == {f"{NAME}.json", f"{NAME}.html"}
    assert first in (None, evidence.objects[f"{NAME}.json"])
    assert report["outcome"] == ("reused" if first else "done")
    assert json.loads(evidence.objects[f"{NAME}.json"]) == report["facts"]["report"]


def test_a_broken_entry_is_told_and_the_others_are_reported(steps: Steps, evidence: MemoryStore) -> None:
    steps.enter("broken", "kind: directory", "kind: nothing")
    steps.back_up()
    with pytest.raises(SourcesUnread, match=r"broken\.yaml, line 3"):
        steps.run(WriteReport)
    assert standings(steps.told[-1]) == {"broken": "can't be read", "tree": "never proven"}
    assert f"{NAME}.html" in evidence.objects


def test_a_store_that_is_away_is_asked_again_and_at_last_told(
    steps: Steps, evidence: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise Unreachable("The object store gave no usable answer.")

    monkeypatch.setattr(steps.store, "folders", away)
    with pytest.raises(Unreachable):
        steps.run(WriteReport, tries=(2, 2))
    assert evidence.objects == {}
    with pytest.raises(SourcesUnread, match="no usable answer"):
        steps.run(WriteReport, tries=(3, 2))
    assert standings(steps.told[-1]) == {"tree": "can't be read"}


def test_a_later_try_does_not_look_again(steps: Steps, evidence: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.back_up()
    first = steps.run(WriteReport)
    monkeypatch.setattr(steps.store, "folders", None)
    assert steps.run(WriteReport)["facts"] == first["facts"]


def test_a_manifest_that_is_none_is_told(steps: Steps, evidence: MemoryStore) -> None:
    point = steps.back_up()
    steps.store.objects[f"tree/{point}/{MANIFEST}"] = b"{}"
    with pytest.raises(SourcesUnread, match="is no manifest"):
        steps.run(WriteReport)


def make(points: Points, age: timedelta, *, verified: bool = True) -> str:
    """Commit a point with nothing in it."""
    from platform_ops.backups.points import Manifest

    at = datetime.now(UTC) - age
    point = point_id(at, "r")
    points.commit(Manifest("tree", "directory", point, "place", "r", at, at, at, {}, (), {}))
    if verified:
        points.note(point, VERIFIED, {})
    return point


def proof(points: Points, age: timedelta, *, proven: bool = True) -> None:
    at = datetime.now(UTC) - age
    points.add_proof(point_id(at, "drill"), Proof(at, "p", "drill", proven, DAY, DAY))


def test_the_history_goes_back_to_the_newest_verified_point(points: Points, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_ops.backups.store.LISTED", 1)
    old = [make(points, 50 * DAY), make(points, 60 * DAY)]
    new = make(points, DAY, verified=False)
    since = datetime.now(UTC) - 30 * DAY
    found = points.history(since)
    assert (found.count, [one.point for one in found.points]) == (3, [new, old[0]])
    assert [one.verified for one in found.points] == [False, True]


def test_the_history_lists_older_points_too_and_passes_over_those_without_a_manifest(
    points: Points, store: MemoryStore
) -> None:
    made = [make(points, age * DAY) for age in (1, 50, 60, 70)]
    store.objects[points.key(made[2], MANIFEST)] = b"{}"
    found = points.history(datetime.now(UTC) - 30 * DAY)
    assert (found.count, [one.point for one in found.points], found.spoilt) == (4, [made[0], made[1], made[3]], ())


def test_a_point_that_is_pruned_while_it_is_listed_is_no_trouble(
    points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make(points, age * DAY) for age in (1, 2)]
    monkeypatch.setattr(Points, "all", lambda _: [*made, point_id(datetime.now(UTC) - 3 * DAY, "gone")])
    found = points.history(datetime.now(UTC) - 30 * DAY)
    assert ([one.point for one in found.points], found.spoilt) == (made, ())


def test_proofs_are_found_by_their_time_and_the_newest_proven_however_old(points: Points) -> None:
    for age, proven in ((1, False), (40, False), (50, True), (60, True)):
        proof(points, age * DAY, proven=proven)
    found = points.proofs(datetime.now(UTC) - 30 * DAY)
    assert [(one.proven, (datetime.now(UTC) - one.at).days) for one in found] == [(False, 1), (True, 50)]
    proof(points, 2 * DAY)
    found = points.proofs(datetime.now(UTC) - 30 * DAY)
    assert [(one.proven, (datetime.now(UTC) - one.at).days) for one in found] == [(False, 1), (True, 2)]


def test_what_is_planted_among_the_proofs_proves_nothing(points: Points, store: MemoryStore) -> None:
    store.objects["tree/proofs/20261125T000000Z-0123abcd.json"] = b'{"proven": true}'
    store.objects["tree/proofs/readme.txt"] = b"x"
    assert points.proofs(datetime.now(UTC) - 30 * DAY) == []
    assert points.all() == points.unfinished() == []

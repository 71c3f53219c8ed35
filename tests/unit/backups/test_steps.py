"""The steps of back_up_sources but verification, on a store in memory."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from platform_ops.backups.drill_steps import ChooseDrills, RequireProofs
from platform_ops.backups.errors import Contradiction, NotProven
from platform_ops.backups.points import MANIFEST, point_id
from platform_ops.backups.steps import (
    CHOOSE,
    PRUNE,
    CheckPolicy,
    ChooseSources,
    CopySource,
    PrunePoints,
)
from platform_ops.common.errors import AuthenticationFailed, Invalid
from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.systems.object_store.models import BucketRules
from tests.unit.backups.installation import NOW, Steps


def test_all_that_is_due_is_chosen(steps: Steps) -> None:
    steps.enter("other")
    assert steps.run(ChooseSources)["facts"]["sources"] == ["other", "tree"]
    steps.back_up()
    assert steps.run(ChooseSources)["facts"]["sources"] == ["other"]


def test_what_another_run_is_at_work_on_is_left_to_it(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("slow", "waiting", "done"):
        steps.enter(name)
    report = {"facts": {"sources": ["slow", "done", "waiting"]}}
    tasks = (
        TaskRecord(CHOOSE, "success", NOW, NOW, 1, report),
        TaskRecord("back_up_source.copy_source", "running", NOW, None, 1, None, map_index=0),
        TaskRecord(PRUNE, None, None, None, 0, None, map_index=0),
        TaskRecord(PRUNE, "upstream_failed", None, NOW, 0, None, map_index=1),
    )
    runs = [RunRecord("a_dag", name, "running", None, NOW, NOW, None, {}, ()) for name in ("r1", "r0")]
    ended = RunRecord("a_dag", "old", "failed", None, NOW, NOW, NOW, {}, tasks)

    def run(dag_id: str, run_id: str) -> RunRecord:
        assert (dag_id, run_id) == ("a_dag", "r0")
        return replace(runs[1], tasks=tasks)

    api = SimpleNamespace(runs=lambda _: (*runs, ended), run=run)
    monkeypatch.setattr("platform_ops.backups.steps.AirflowApi", lambda: api)
    report = steps.run(ChooseSources)
    assert report["facts"] == {"sources": ["done", "tree"], "busy": ["slow", "waiting"]}
    assert "still at work on slow, waiting" in report["summary"]
    named = steps.run(ChooseSources, sources=["slow", "tree"])
    assert named["facts"] == {"sources": ["tree"], "busy": ["slow"]}
    assert steps.run(ChooseSources, sources=["slow"])["outcome"] == "not needed"


def test_all_that_is_due_is_backed_up_when_airflow_does_not_say_what_others_do(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        raise AuthenticationFailed("Airflow refused the login of evidence-reader.")

    monkeypatch.setattr("platform_ops.backups.steps.AirflowApi", lambda: SimpleNamespace(runs=away))
    report = steps.run(ChooseSources)
    assert report["facts"]["sources"] == ["tree"]
    assert "not known: Airflow refused the login" in report["summary"]


def test_nothing_due_is_said(steps: Steps) -> None:
    steps.back_up()
    report = steps.run(ChooseSources)
    assert (report["outcome"], report["facts"]["sources"]) == ("not needed", [])


def test_who_names_a_source_gets_it_though_it_is_not_due(steps: Steps) -> None:
    steps.back_up()
    assert steps.run(ChooseSources, sources=["tree", "tree"])["facts"]["sources"] == ["tree"]


def test_an_unknown_source_is_refused_with_those_known(steps: Steps) -> None:
    with pytest.raises(Invalid, match="known are tree"):
        steps.run(ChooseSources, sources=["tree", "forest"])


def test_a_policy_that_contradicts_itself_stops_before_a_byte_moves(steps: Steps) -> None:
    steps.store.found = BucketRules(versioning=True, lock=None, expires=timedelta(days=1))
    with pytest.raises(Contradiction, match="deletes after 1 d"):
        steps.run(CheckPolicy, source="tree")
    assert steps.store.changes == []


def test_recipients_that_are_gone_since_the_policy_was_checked_let_nothing_be_stored_in_the_open(steps: Steps) -> None:
    steps.run(CheckPolicy, source="tree")
    steps.recipients = ()
    with pytest.raises(Contradiction, match="names no recipient"):
        steps.run(CopySource, source="tree")
    assert steps.store.changes == []


def test_a_sound_policy_names_its_recipients_and_what_is_unwise(steps: Steps) -> None:
    steps.recipients = steps.recipients[:1]
    report = steps.run(CheckPolicy, source="tree")
    assert report["facts"]["recipients"] == list(steps.recipients)
    assert "second holder" in report["summary"]


def test_a_copy_reports_its_point_and_the_sum_of_its_manifest(steps: Steps) -> None:
    report = steps.run(CopySource, source="tree")
    point = point_id(NOW, "r1")
    assert report["facts"]["point"] == point
    counts = {"files": 4, "bytes": 4, "packed": 2, "changed": 0, "vanished": 0, "left_out": 0}
    assert report["facts"]["state"] == counts | {"path": str(steps.tree)}
    assert report["links"][0]["url"].endswith("RESTORE.md")
    assert f"tree/{point}/{MANIFEST}" in steps.store.objects


def test_a_later_try_adopts_the_point_of_an_earlier_one(steps: Steps) -> None:
    first = steps.run(CopySource, source="tree")
    before = dict(steps.store.objects)
    again = steps.run(CopySource, source="tree")
    assert (again["outcome"], again["facts"] | {"notes": []}) == ("reused", first["facts"])
    assert steps.store.objects == before


def test_a_source_with_a_bad_entry_keeps_no_other_from_being_chosen(steps: Steps) -> None:
    steps.enter("broken", "kind: directory", "kind: tape")
    assert steps.run(ChooseSources)["facts"]["sources"] == ["broken", "tree"]
    assert steps.run(ChooseDrills)["facts"]["sources"] == ["broken"]
    with pytest.raises(NotProven, match="broken can't be looked at"):
        steps.run(RequireProofs)


def test_a_point_that_was_not_verified_is_made_again(steps: Steps) -> None:
    steps.run(CopySource, source="tree")
    assert steps.run(ChooseSources)["facts"]["sources"] == ["tree"]


def test_a_spoilt_manifest_does_not_keep_the_next_copy_from_being_made(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=1), run_id="r0")
    steps.store.objects[f"tree/{old}/{MANIFEST}"] = b"{}"
    assert steps.run(CopySource, source="tree")["outcome"] == "done"


def test_pruning_deletes_what_no_period_keeps_and_says_why(steps: Steps) -> None:
    steps.enter("tree", "daily: 30", "hourly: 1, daily: 2")
    points = [steps.back_up(at=NOW - timedelta(days=day), run_id=f"r{day}") for day in range(4)]
    report = steps.run(PrunePoints, source="tree")
    assert set(report["facts"]["deleted"]) == set(points[2:])
    assert set(report["facts"]["kept"]) == set(points[:2])
    assert {key.split("/")[1] for key in steps.store.objects} == {*points[:2], "contents"}
    assert steps.run(PrunePoints, source="tree")["outcome"] == "not needed"


def test_pruning_takes_along_what_dead_and_slower_copies_left(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=2), run_id="r0")
    dead = point_id(NOW - timedelta(days=1), "dead")
    steps.store.objects |= {f"tree/{dead}/00000000/tree.tar.zst.age": b"", f"tree/{old}/00000000/tree.tar": b""}
    growing = point_id(NOW + timedelta(hours=1), "r2")
    steps.store.objects[f"tree/{growing}/00000000/tree.tar.zst.age"] = b""
    steps.back_up()
    steps.run(PrunePoints, source="tree")
    left = [key for key in steps.store.objects if "/00000000/" in key]
    assert left == [f"tree/{growing}/00000000/tree.tar.zst.age"]

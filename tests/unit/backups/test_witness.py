"""A point is held against the evidence of the run that made it: who changes a point can't change that too."""

import json
from datetime import timedelta
from typing import Any

import pytest

from platform_ops.backups.drill_steps import DrillRestore
from platform_ops.backups.errors import NotProven
from platform_ops.backups.points import MANIFEST, VERIFIED, point_id, sha256
from platform_ops.backups.steps import CopySource, VerifyPoint
from platform_ops.backups.witness import HELD
from platform_ops.common.errors import Unreachable
from tests.unit.backups.installation import NOW, Steps
from tests.unit.backups.restores import Restores

NONE = "not held against evidence: there is none of it"


def back_up(steps: Steps, *, run_id: str = "r1", **at: Any) -> str:
    """Back up as a run does that stores its evidence at its end."""
    told = [steps.run(step, source="tree", run_id=run_id, **at) for step in (CopySource, VerifyPoint)]
    keep(steps, told, run_id)
    return str(told[0]["facts"]["point"])


def keep(steps: Steps, told: list[dict[str, Any]], run_id: str = "r1", number: int = 1) -> None:
    document = {"steps": [{"step": "choose_sources", "facts": None}, *told]}
    steps.store.objects[f"runs/back_up_sources/{run_id}/{number}.json"] = json.dumps(document).encode()


def forge(steps: Steps, point: str, old: bytes = b'"files":4', new: bytes = b'"files":5') -> None:
    """Change a manifest, and the note beside it, as the holder of the writer's key can."""
    key = f"tree/{point}/"
    body = steps.store.objects[key + MANIFEST]
    assert old in body
    changed = body.replace(old, new)
    note = json.loads(steps.store.objects[key + VERIFIED]) | {"manifest_sha256": sha256(changed)}
    steps.store.objects |= {key + MANIFEST: changed, key + VERIFIED: json.dumps(note).encode()}


def test_a_point_that_is_in_the_evidence_of_its_run_is_said_to_be(steps: Steps) -> None:
    back_up(steps)
    report = steps.run(DrillRestore, source="tree", run_id="drill")
    assert report["facts"]["witness"] == HELD
    assert report["summary"].endswith(HELD)


def test_a_point_that_was_changed_with_its_note_is_no_proof(steps: Steps) -> None:
    point = back_up(steps)
    forge(steps, point)
    with pytest.raises(
        NotProven, match=rf"{point} of tree .* evidence/runs/back_up_sources/r1/1\.json says .* find out"
    ):
        steps.run(DrillRestore, source="tree", run_id="drill")
    assert [proof["proven"] for proof in steps.proofs()] == [False]


def test_a_manifest_that_names_another_run_hides_from_nothing(steps: Steps) -> None:
    point = back_up(steps)
    forge(steps, point, b'"run":"r1"', b'"run":"r2"')
    with pytest.raises(NotProven, match=r"r1/1\.json"):
        steps.run(DrillRestore, source="tree", run_id="drill")
    forge(steps, point, b'"run":"r2"', b'"run":[1]')
    with pytest.raises(NotProven, match=r"r1/1\.json"):
        steps.run(DrillRestore, source="tree", run_id="drill")


def test_a_run_that_was_cleared_and_adopted_what_was_changed_hides_nothing(steps: Steps) -> None:
    point = back_up(steps)
    forge(steps, point)
    keep(steps, [steps.run(CopySource, source="tree")], number=2)
    with pytest.raises(NotProven, match=r"r1/1\.json"):
        steps.run(DrillRestore, source="tree", run_id="drill")


def test_a_point_without_evidence_is_proven_and_that_is_said(steps: Steps) -> None:
    steps.back_up()
    report = steps.run(DrillRestore, source="tree", run_id="drill")
    assert NONE in report["summary"]
    assert NONE in report["facts"]["witness"]


def test_evidence_of_another_point_or_source_says_nothing_of_this_one(steps: Steps) -> None:
    point = steps.back_up()
    other = {"source": "other", "point": point, "manifest_sha256": "0" * 64}
    later = {"source": "tree", "point": point_id(NOW + timedelta(hours=1), "r1"), "manifest_sha256": "0" * 64}
    keep(steps, [{"facts": other}, {"facts": later}])
    steps.store.objects["runs/back_up_sources/r1/2.json"] = b"no document"
    steps.store.objects["runs/back_up_sources/r2/1.json"] = b"[]"
    assert NONE in steps.run(DrillRestore, source="tree", run_id="drill")["summary"]


def test_a_store_of_evidence_that_is_away_keeps_nobody_from_restoring(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise Unreachable("The object store gave no usable answer.")

    back_up(steps)
    monkeypatch.setattr("platform_ops.backups.witness.ObjectStoreHook", away)
    summary = steps.run(DrillRestore, source="tree", run_id="drill")["summary"]
    assert summary.endswith("could not be asked: The object store gave no usable answer.")


def test_a_verification_holds_older_points_against_their_evidence(steps: Steps) -> None:
    old = back_up(steps, at=NOW - timedelta(days=9), run_id="r0")
    steps.age(old, days=9)
    forge(steps, old)
    with pytest.raises(NotProven, match=old):
        back_up(steps)
    assert f"tree/{old}/verified.json" not in steps.store.objects
    assert f"tree/{old}/spoilt.json" in steps.store.objects


def test_a_verification_names_older_points_without_evidence(steps: Steps) -> None:
    old = steps.back_up(at=NOW - timedelta(days=9), run_id="r0")
    steps.age(old, days=9)
    steps.back_up()
    report = steps.told[-1]
    assert f"1 of them were not held against evidence: {old}." in report["summary"]
    assert NONE in report["facts"]["not_held"][old]


def test_nothing_is_restored_from_a_point_that_was_changed(restores: Restores) -> None:
    point = back_up(restores.steps)
    restores.plan()
    forge(restores.steps, point)
    with pytest.raises(NotProven, match="somebody changed the point"):
        restores.restore()
    assert not restores.target.exists()
    with pytest.raises(NotProven, match="somebody changed the point"):
        restores.plan()


def test_a_restore_says_what_its_point_was_held_against(restores: Restores) -> None:
    back_up(restores.steps)
    assert restores.plan()["summary"].endswith(HELD)
    assert restores.restore()["facts"]["witness"] == HELD

"""The steps of drill_restores, on a store in memory."""

import errno
import json
import re
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowTaskTimeout

from platform_ops.backups.drill_steps import ChooseDrills, DrillRestore, Leftovers, RemoveLeftovers, RequireProofs
from platform_ops.backups.errors import Corrupt, NoPoint, NotProven
from platform_ops.backups.points import MANIFEST, point_id
from platform_ops.backups.steps import CHOOSE, CopySource, VerifyPoint
from platform_ops.common.errors import PlatformError, Unreachable
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


def test_drills_that_always_fail_leave_their_turn_to_others(steps: Steps) -> None:
    for name in ("bad", "good", "tree"):
        steps.enter(name)
        steps.back_up(source=name)
        for key in [key for key in steps.store.objects if name == "bad" and key.endswith(".tar.zst.age")]:
            steps.store.objects[key] += b"x"
    steps.enter("broken", "kind: directory", "kind: tape")
    turns = []
    for night in range(4):
        at = NOW + timedelta(days=night)
        chosen = steps.run(ChooseDrills, at=at, at_most=1)["facts"]["sources"]
        assert chosen[0] == "broken"
        turns += chosen[1:]
        with suppress(Corrupt):
            steps.run(DrillRestore, source=chosen[1], at=at)
    assert sorted(turns[:3]) == ["bad", "good", "tree"]
    assert turns[3] == turns[0]


def test_who_is_drilled_now_is_not_called_late_and_the_others_are(steps: Steps) -> None:
    for name in ("tree", "other"):
        steps.enter(name, "target:", "drill_every: 7d\ntarget:")
        steps.back_up(at=NOW - timedelta(days=8), run_id="r0", source=name)
    steps.run(ChooseDrills, at_most=1, task_id=CHOOSE)
    with pytest.raises(NotProven, match=r"^tree: It has waited for a proof for"):
        steps.run(RequireProofs)


def test_points_that_went_do_not_make_a_source_without_a_proof_younger(steps: Steps) -> None:
    steps.enter("tree", "target:", "drill_every: 7d\ntarget:")
    old = steps.back_up(at=NOW - timedelta(days=8), run_id="r0")
    for key in [key for key in steps.store.objects if key.endswith(".tar.zst.age")]:
        steps.store.objects[key] += b"x"
    with pytest.raises(Corrupt):
        steps.run(DrillRestore, source="tree", at=NOW - timedelta(days=8), run_id="r0")
    for key in [key for key in steps.store.objects if f"/{old}/" in key]:
        del steps.store.objects[key]
    steps.back_up()
    with pytest.raises(NotProven, match=r"tree: It has waited for a proof for 8 d"):
        steps.run(RequireProofs)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), r"No space left on device \(/tmp/x\)"),
        (AirflowNotFoundException("The conn_id `backup_identity` isn't defined"), "backup_identity.*docs/connections"),
        (Unreachable("The store is away."), "away"),
    ],
)
def test_a_drill_that_no_try_could_end_is_kept_as_failed(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    steps.back_up()

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("platform_ops.backups.kinds.directory.Directory.restore", fails)
    for number in (1, 2):
        with pytest.raises(PlatformError, match=said):
            steps.run(DrillRestore, source="tree", tries=(number, 2))
        assert steps.proofs() == []
    with pytest.raises(PlatformError, match=said):
        steps.run(DrillRestore, source="tree", tries=(3, 2))
    (proof,) = steps.proofs()
    assert proof["proven"] is False
    assert re.search(said, proof["why"])
    assert re.search(said, steps.told[-1]["summary"])


def test_what_killed_drills_left_goes_with_their_run(steps: Steps, temporary: Path) -> None:
    steps.enter("broken", "kind: directory", "kind: tape")
    steps.back_up()
    steps.run(ChooseDrills, sources=["tree", "broken"], task_id=CHOOSE)
    left, other = (temporary / f"platform-ops-drill-{name}-0123abcd" for name in ("tree", "other"))
    for folder in (left, other):
        folder.mkdir()
    with pytest.raises(Leftovers, match=r"broken: .*tape"):
        steps.run(RemoveLeftovers)
    assert list(temporary.iterdir()) == [other]
    steps.run(ChooseDrills, sources=["tree"], task_id=CHOOSE)
    assert steps.run(RemoveLeftovers)["outcome"] == "done"


def test_a_source_past_its_interval_without_a_proof_is_an_error(steps: Steps) -> None:
    steps.enter("tree", "target:", "drill_every: 7d\ntarget:")
    steps.enter("new")
    steps.back_up(at=NOW - timedelta(days=8), run_id="r0")
    with pytest.raises(NotProven, match=r"tree: It has waited for a proof for .*; one is due every 7 d\."):
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
    # It has had its turn.
    steps.enter("other")
    steps.back_up(source="other")
    assert steps.run(ChooseDrills, at_most=1)["facts"]["sources"] == ["other"]


def test_a_drill_that_does_not_end_is_kept_as_failed(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.back_up()

    def hangs(*_: object) -> None:
        raise AirflowTaskTimeout("Timeout")

    monkeypatch.setattr("platform_ops.backups.kinds.directory.Directory.restore", hangs)
    with pytest.raises(AirflowTaskTimeout):
        steps.run(DrillRestore, source="tree")
    (proof,) = steps.proofs()
    assert (proof["proven"], proof["why"]) == (False, "It did not end in the time that a step has.")


def test_a_store_that_is_away_for_a_moment_has_nobody_drilled(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.back_up()

    def away(*_: object) -> None:
        raise Unreachable("The store is away.")

    monkeypatch.setattr(steps.store, "keys", away)
    with pytest.raises(Unreachable):
        steps.run(ChooseDrills)


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

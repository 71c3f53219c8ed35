"""The steps of restore_backup, on a store in memory and real folders."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow
import pytest

from platform_ops.backups.drill_steps import DrillRestore
from platform_ops.backups.errors import Corrupt, NoPoint, NotProven
from platform_ops.backups.kinds.directory import Directory
from platform_ops.backups.points import MANIFEST, VERIFIED, BadManifest
from platform_ops.backups.progress import Progress
from platform_ops.backups.steps import CopySource
from platform_ops.backups.wishes import BadWish
from platform_ops.common.documents import BadDocument
from platform_ops.common.errors import Busy
from platform_ops.common.report import StepReport
from tests.unit.backups.installation import NOW
from tests.unit.backups.restores import HOUR, Restores, bad, contents


def below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_dry_run_shows_the_plan_and_changes_nothing(restores: Restores) -> None:
    point = restores.steps.back_up()
    restores.steps.run(DrillRestore, source="tree", run_id="drill")
    restores.target.mkdir()
    (restores.target / "mine").write_text("x")
    before = dict(restores.steps.store.objects)
    report = restores.plan(dry_run=True, overwrite=True)
    assert report["facts"]["point"] == point
    assert report["facts"]["in_the_way"] == {"count": 1, "names": ["mine"]}
    assert report["facts"]["bytes"] > 0
    assert report["facts"]["estimated_seconds"] >= 0
    assert "1 entries are in the way and would be moved aside: mine." in report["summary"]
    assert isinstance(restores.ask(), StepReport)
    assert restores.restore()["outcome"] == restores.compare()["outcome"] == "not needed"
    assert below(restores.target.parent) == ["target"]
    assert below(restores.target) == ["mine"]
    assert restores.steps.store.objects == before
    assert restores.asked == []


def test_a_point_is_restored_compared_and_what_was_there_is_kept(restores: Restores) -> None:
    point = restores.steps.back_up()
    restores.target.mkdir()
    (restores.target / "mine").write_text("x")
    restores.plan(overwrite=True)
    report = restores.restore()
    (aside,) = report["facts"]["moved_aside_to"]
    assert contents(Path(aside)) == {"mine": "x"}
    assert aside in report["summary"]
    assert contents(restores.target) == contents(restores.steps.tree)
    assert restores.compare()["summary"] == f"{restores.target} is what point {point} holds."
    assert below(restores.target.parent) == ["target", Path(aside).name]


def test_a_later_try_finds_what_an_earlier_one_restored(restores: Restores) -> None:
    restores.steps.back_up()
    restores.plan()
    restores.restore()
    before = restores.target.stat().st_ino
    assert restores.restore()["outcome"] == "reused"
    assert restores.target.stat().st_ino == before
    restores.compare()
    assert restores.compare()["outcome"] == "done"


def test_what_came_into_the_target_after_the_plan_is_not_moved_aside_unasked(restores: Restores) -> None:
    restores.steps.back_up()
    restores.plan()
    restores.target.mkdir()
    (restores.target / "mine").write_text("x")
    with pytest.raises(BadWish, match="is not empty: mine"):
        restores.restore()
    assert below(restores.target.parent) == ["target"]


def test_a_part_is_restored_alone(restores: Restores) -> None:
    restores.steps.back_up()
    report = restores.plan(subset="folder/below")
    assert (report["facts"]["files"], report["facts"]["bytes"]) == (1, 0)
    restores.restore()
    assert contents(restores.target) == {"folder/below/empty": ""}
    restores.compare()


def test_what_was_changed_after_the_restore_is_not_called_restored(restores: Restores) -> None:
    restores.steps.back_up()
    restores.plan()
    restores.restore()
    (restores.target / "folder" / "text").write_text("two\n")
    with pytest.raises(NotProven, match="folder/text has other bytes"):
        restores.compare()


def test_a_flipped_byte_puts_nothing_in_place(restores: Restores) -> None:
    restores.steps.back_up()
    restores.plan()
    (key,) = [key for key in restores.steps.store.objects if key.endswith("tree.tar.zst.age")]
    body = bytearray(restores.steps.store.objects[key])
    body[-9] ^= 1
    restores.steps.store.objects[key] = bytes(body)
    with pytest.raises(Corrupt):
        restores.restore()
    assert not restores.target.exists()


def test_as_of_a_time_is_the_newest_verified_point_that_holds_nothing_newer(restores: Restores) -> None:
    old = restores.steps.back_up(at=NOW - 5 * HOUR, run_id="old")
    key = f"tree/{old}/{MANIFEST}"
    # Read for half an hour, until four hours ago.
    read = {"state_at": (NOW - 4.5 * HOUR).isoformat(), "ended_at": (NOW - 4 * HOUR).isoformat()}
    manifest = json.loads(restores.steps.store.objects[key]) | read
    restores.steps.store.objects[key] = json.dumps(manifest).encode()
    del restores.steps.store.objects[f"tree/{old}/{VERIFIED}"]
    # Verified again, as it is now.
    from platform_ops.backups.steps import VerifyPoint

    restores.steps.run(VerifyPoint, source="tree", at=NOW - 5 * HOUR, run_id="old")
    new = restores.steps.back_up()
    restores.steps.run(CopySource, source="tree", at=NOW + HOUR, run_id="unverified")
    assert restores.plan()["facts"]["point"] == new
    assert restores.plan(point=f"as of {(NOW - HOUR).isoformat()}")["facts"]["point"] == old
    assert restores.plan(point=old)["facts"]["point"] == old
    assert restores.plan(point=f"as of {(NOW - 4 * HOUR).isoformat()}")["facts"]["point"] == old
    with pytest.raises(NoPoint, match="may hold what is newer"):
        restores.plan(point=f"as of {(NOW - 4.2 * HOUR).isoformat()}")
    assert not restores.target.exists()


def test_an_unverified_point_is_restored_only_by_its_name_and_told(restores: Restores) -> None:
    restores.steps.run(CopySource, source="tree")
    with pytest.raises(NoPoint, match="has no verified point"):
        restores.plan()
    (key,) = [key for key in restores.steps.store.objects if key.endswith(MANIFEST)]
    report = restores.plan(point=key.split("/")[1])
    assert "never verified" in report["summary"]
    assert report["facts"]["verified"] is False


def test_bad_input_is_named_and_changes_nothing(restores: Restores) -> None:
    restores.steps.back_up()
    restores.steps.enter("other")
    other = restores.steps.back_up(source="other", run_id="other")
    bad(restores, BadDocument, "There is no source nosuch", source="nosuch")
    bad(restores, BadDocument, "is no name of a source", source="../tree")
    bad(restores, NoPoint, f"tree has no point '{other}'", source="tree", point=other)
    bad(restores, BadWish, "lies in the source", point="latest", target=str(restores.steps.tree / "folder"))
    bad(restores, BadWish, "contains the source", target=str(restores.steps.tree.parent))
    bad(restores, BadWish, "lies in the source", target=str(restores.steps.tree))
    (restores.target.parent / "link").symlink_to(restores.steps.tree)
    bad(restores, BadWish, "lies in the source", target=str(restores.target.parent / "link" / "new"))
    bad(restores, BadWish, "belongs to the machine or to Airflow", target=str(restores.steps.home / "dags" / "x"))
    bad(restores, BadWish, "belongs to the machine or to Airflow", target="/etc/cron.d/x")
    bad(restores, BadWish, "belongs to the machine or to Airflow", target=str(Path(airflow.__path__[0]) / "x"))
    bad(restores, BadWish, "belongs to the machine or to Airflow", target=str(Path.home() / ".ssh"))
    restores.target.mkdir()
    (restores.target / "mine").write_text("x")
    bad(restores, BadWish, "is not empty: mine", target=str(restores.target))
    bad(restores, NoPoint, "has nothing at 'nosuch'", overwrite=True, subset="nosuch")
    bad(restores, NoPoint, "Ask for a later time", subset="", point="as of 2001-01-01")


def test_the_points_just_before_and_after_one_that_is_not_there_are_named(restores: Restores) -> None:
    with pytest.raises(NoPoint, match=r"has no point .* It has none: run back_up_sources first"):
        restores.plan(point="20261123T120000Z-0123abcd")
    there = [f"2026112{day}T000000Z-0123abcd" for day in range(1, 7)]
    restores.steps.store.objects |= {f"tree/{point}/{MANIFEST}": b"{}" for point in there}
    with pytest.raises(NoPoint, match=f"The nearest are {', '.join(there[1:5])}; the page Backups lists them"):
        restores.plan(point="20261123T120000Z-0123abcd")
    with pytest.raises(NoPoint, match=f"The nearest are {', '.join(there[4:])};"):
        restores.plan(point="20270101T000000Z-0123abcd")


def test_a_manifest_of_another_source_is_refused(restores: Restores) -> None:
    restores.steps.back_up()
    restores.steps.enter("other")
    other = restores.steps.back_up(source="other", run_id="other")
    restores.steps.store.objects[f"tree/{other}/{MANIFEST}"] = restores.steps.store.objects[f"other/{other}/{MANIFEST}"]
    bad(restores, BadManifest, "somebody put it there", point=other)


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    restores.steps.back_up()
    monkeypatch.setattr("platform_ops.backups.placing.shutil.disk_usage", lambda _: SimpleNamespace(free=3))
    bad(restores, BadWish, "3 B are free")


def test_a_point_that_somebody_wrote_into_the_plan_is_refused(restores: Restores) -> None:
    old = restores.steps.back_up(at=NOW - 5 * HOUR, run_id="old")
    restores.steps.back_up()
    restores.plan()
    restores.steps.reports["plan_restore"]["facts"]["point"] = "../../other"
    with pytest.raises(BadWish, match="Clear plan_restore"):
        restores.restore()
    restores.steps.reports["plan_restore"]["facts"]["point"] = old
    with pytest.raises(BadWish, match="is not what the form asks for"):
        restores.restore(point=restores.steps.back_up(at=NOW + HOUR, run_id="new"))


def test_a_second_copy_of_the_task_leaves_the_first_its_work(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    restores.steps.back_up()
    restores.plan()
    monkeypatch.setattr("platform_ops.backups.placing.PATIENCE", 0)
    real, seen = Directory.restore, []

    def slow(kind: Directory, opened: Any, folder: Path) -> None:
        real(kind, opened, folder)
        if not seen:
            seen.append(folder)
            with pytest.raises(Busy, match="held by a_dag restore 1, try 1"):
                restores.restore()

    monkeypatch.setattr(Directory, "restore", slow)
    assert restores.restore()["outcome"] == "done"
    assert contents(restores.target) == contents(restores.steps.tree)
    restores.compare()
    assert below(restores.target.parent) == ["target"]


def test_drills_and_restores_say_how_far_they_are(restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    restores.steps.back_up()
    monkeypatch.setattr("platform_ops.backups.progress.EVERY_SECONDS", 0.0)
    real, said = Progress.__init__, list[str]()
    monkeypatch.setattr(Progress, "__init__", lambda own, _, expected: real(own, said.append, expected))
    restores.steps.run(DrillRestore, source="tree", run_id="drill")
    assert " so far, " in said[0]
    drilled = len(said)
    restores.plan()
    assert len(said) == drilled
    restores.restore()
    assert (restored := len(said)) > drilled
    restores.compare()
    assert len(said) > restored + 1

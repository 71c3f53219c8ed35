"""The steps of restore_backup, on a store in memory and real folders."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from platform_ops.approvals.gate import Request
from platform_ops.approvals.rules import (
    APPROVE,
    REJECT,
    ApprovalExpired,
    ApprovalForeign,
    ApprovalRejected,
    NotApproved,
    TooFewApprovers,
    binding_line,
)
from platform_ops.backups.drill_steps import DrillRestore
from platform_ops.backups.errors import Corrupt, NoPoint, NotProven
from platform_ops.backups.kinds.directory import Directory
from platform_ops.backups.points import MANIFEST, VERIFIED, BadManifest
from platform_ops.backups.restore_steps import ApproveRestore, CompareRestore, PlanRestore, RecordRestore, RestorePoint
from platform_ops.backups.steps import CopySource
from platform_ops.backups.wishes import BadWish
from platform_ops.common.documents import BadDocument
from platform_ops.common.errors import Busy
from platform_ops.common.records import Answer
from platform_ops.common.report import StepReport
from tests.unit.backups.installation import NOW, Steps

HOUR = timedelta(hours=1)
IDENTITIES = """\
people:
- {name: Paula, emails: [paula@example.com], gitlab: paula, airflow: paula}
- {name: Oscar, emails: [oscar@example.com], gitlab: oscar, airflow: oscar}
"""


class Restores:
    """Runs of restore_backup; ``form`` is what a person filled in."""

    def __init__(self, steps: Steps, target: Path) -> None:
        self.steps, self.target = steps, target
        self.form: dict[str, Any] = {"source": "tree", "point": "latest", "target": str(target), "dry_run": False}
        self.answer: Answer | None = None
        self.starter: str | None = "oscar"
        self.asked: list[tuple[str, str, str]] = []

    def run(self, step: type, task_id: str, **form: Any) -> Any:
        self.form |= form
        return self.steps.run(step, task_id=task_id, run_id="restore 1", form=self.form, starter=self.starter)

    def plan(self, **form: Any) -> Any:
        return self.run(PlanRestore, "plan_restore", **form)

    def restore(self, **form: Any) -> Any:
        return self.run(RestorePoint, "restore_point", **form)

    def compare(self) -> Any:
        return self.run(CompareRestore, "compare_restore")

    def ask(self, **form: Any) -> Request | StepReport:
        self.form |= form
        ti = SimpleNamespace(
            dag_id="a_dag", run_id="restore 1", xcom_pull=lambda *, task_ids, key: self.steps.reports.get(task_ids)
        )
        run = SimpleNamespace(triggering_user_name=self.starter)
        gate = ApproveRestore(task_id="approve_restore")
        return gate.ask({"ti": ti, "params": self.form, "dag_run": run})  # type: ignore[typeddict-item]

    def say(self, what: str = APPROVE, by: str | None = "paula", *, bound_to: str = "", ago: timedelta = HOUR) -> None:
        asked = self.ask()
        assert isinstance(asked, Request)
        text = f"{asked.body}\n\n{binding_line(bound_to or asked.bound_to)}"
        self.answer = Answer(asked.subject, text, (what,), by, datetime.now(UTC) - ago, asked.may_answer)

    def given(self, *asked: str) -> Answer | None:
        self.asked.append(asked)  # type: ignore[arg-type]
        return self.answer

    def production(self, folder: Path, *approvers: str) -> None:
        """Call a folder production."""
        block = {"production": [str(folder)], "approval": {"approvers": list(approvers), "expires_after": "24h"}}
        self.steps.enter("tree", "encryption:", f"restore: {json.dumps(block)}\nencryption:")


@pytest.fixture
def restores(steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restores:
    (steps.home / "include" / "identities.yaml").write_text(IDENTITIES)
    made = Restores(steps, tmp_path / "room" / "target")
    made.target.parent.mkdir()
    monkeypatch.setattr("platform_ops.approvals.answers.AirflowApi", lambda: SimpleNamespace(answer=made.given))
    return made


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


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
    assert report["facts"]["would_move_aside"] == {"count": 1, "names": ["mine"]}
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
    (key,) = [key for key in restores.steps.store.objects if key.endswith("files.tar.zst.age")]
    body = bytearray(restores.steps.store.objects[key])
    body[-9] ^= 1
    restores.steps.store.objects[key] = bytes(body)
    with pytest.raises(Corrupt):
        restores.restore()
    assert not restores.target.exists()


def test_as_of_a_time_is_the_newest_verified_state_that_is_no_younger(restores: Restores) -> None:
    old = restores.steps.back_up(at=NOW - 5 * HOUR, run_id="old")
    key = f"tree/{old}/{MANIFEST}"
    state = {"state_at": (NOW - 4 * HOUR).isoformat()}
    manifest = json.loads(restores.steps.store.objects[key]) | state
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
    with pytest.raises(NoPoint, match="Ask for a later time"):
        restores.plan(point=f"as of {(NOW - 4.5 * HOUR).isoformat()}")
    assert not restores.target.exists()


def test_an_unverified_point_is_restored_only_by_its_name_and_told(restores: Restores) -> None:
    restores.steps.run(CopySource, source="tree")
    with pytest.raises(NoPoint, match="has no verified point"):
        restores.plan()
    (key,) = [key for key in restores.steps.store.objects if key.endswith(MANIFEST)]
    report = restores.plan(point=key.split("/")[1])
    assert "never verified" in report["summary"]
    assert report["facts"]["verified"] is False


def bad(restores: Restores, kind: type[Exception], says: str, **form: Any) -> None:
    """Expect a plan to be refused, with nothing changed anywhere."""
    objects, room = dict(restores.steps.store.objects), contents(restores.target.parent.parent)
    with pytest.raises(kind, match=says):
        restores.plan(**form)
    assert restores.steps.store.objects == objects
    assert contents(restores.target.parent.parent) == room


def test_bad_input_is_named_and_changes_nothing(restores: Restores) -> None:
    restores.steps.back_up()
    restores.steps.enter("other")
    other = restores.steps.back_up(source="other", run_id="other")
    bad(restores, BadDocument, "There is no source nosuch", source="nosuch")
    bad(restores, BadDocument, "is not a source's name", source="../tree")
    bad(restores, NoPoint, f"tree has no point '{other}'", source="tree", point=other)
    bad(restores, BadWish, "lies in the source", point="latest", target=str(restores.steps.tree / "folder"))
    bad(restores, BadWish, "contains the source", target=str(restores.steps.tree.parent))
    bad(restores, BadWish, "lies in the source", target=str(restores.steps.tree))
    (restores.target.parent / "link").symlink_to(restores.steps.tree)
    bad(restores, BadWish, "lies in the source", target=str(restores.target.parent / "link" / "new"))
    restores.target.mkdir()
    (restores.target / "mine").write_text("x")
    bad(restores, BadWish, "is not empty: mine", target=str(restores.target))
    bad(restores, NoPoint, "has nothing at 'nosuch'", overwrite=True, subset="nosuch")
    bad(restores, NoPoint, "Ask for a later time", subset="", point="as of 2001-01-01")


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


def test_without_a_production_target_nobody_is_asked(restores: Restores) -> None:
    restores.steps.back_up()
    restores.production(restores.target.parent / "elsewhere", "paula")
    restores.plan()
    asked = restores.ask()
    assert isinstance(asked, StepReport)
    assert asked.outcome == "not needed"
    assert restores.restore()["facts"]["approved_by"] == []
    assert restores.asked == []


def test_production_asks_its_approvers_but_not_who_started_it(restores: Restores) -> None:
    point = restores.steps.back_up()
    restores.production(restores.target.parent, "oscar", "paula")
    assert restores.plan(reason="The disk `died`")["facts"]["production"] is True
    asked = restores.ask()
    assert isinstance(asked, Request)
    assert asked.may_answer == ("paula",)
    assert asked.subject == f"Restore tree to {restores.target}?"
    assert point in asked.body
    assert "`The disk 'died'`" in asked.body
    restores.say()
    assert restores.restore()["facts"]["approved_by"] == ["paula"]
    assert restores.asked == [("a_dag", "restore 1", "approve_restore")]


def test_nobody_approves_their_own_restore(restores: Restores) -> None:
    restores.steps.back_up()
    restores.production(restores.target, "oscar")
    restores.plan()
    with pytest.raises(TooFewApprovers):
        restores.ask()


def test_production_of_another_source_asks_too(restores: Restores) -> None:
    restores.steps.back_up()
    restores.production(restores.target, "paula")
    restores.steps.enter("other")
    restores.steps.back_up(source="other", run_id="other")
    restores.plan(source="other", target=str(restores.target))
    with pytest.raises(NotApproved):
        restores.restore()
    assert not restores.target.exists()


@pytest.mark.parametrize("where", ["", "below"])
def test_where_another_source_lives_is_refused_when_nobody_may_approve(restores: Restores, where: str) -> None:
    restores.steps.back_up()
    lives = restores.target.parent / "lives"
    restores.steps.enter("other", json.dumps(str(restores.steps.tree)), json.dumps(str(lives)))
    for target in (lives / where, lives.parent):
        bad(restores, BadWish, f"{lives}, the source other", target=str(target), overwrite=True)
    assert restores.plan(target=f"{lives}-2")["facts"]["production"] is False


def test_where_another_source_lives_is_production_when_somebody_may_approve(restores: Restores) -> None:
    restores.steps.back_up()
    restores.production(restores.target.parent / "elsewhere", "paula")
    lives = restores.target.parent / "lives"
    tree = json.dumps(str(restores.steps.tree))
    entry = restores.steps.home / "include" / "backups" / "tree.yaml"
    other = entry.read_text().replace("source: tree", "source: other").replace(tree, json.dumps(str(lives)))
    entry.with_name("other.yaml").write_text(other)
    restores.steps.enter("tree")
    assert restores.plan(target=str(lives))["facts"]["production"] is True
    with pytest.raises(NotApproved):
        restores.restore()
    restores.say()
    assert restores.restore()["facts"]["approved_by"] == ["paula"]


def test_production_is_refused_to_a_run_that_nobody_is_known_to_have_started(restores: Restores) -> None:
    restores.steps.back_up()
    restores.production(restores.target, "oscar", "paula")
    restores.plan()
    restores.say()
    restores.starter = None
    for step in (restores.ask, restores.restore):
        with pytest.raises(BadWish, match="does not know who started"):
            step()
    assert not restores.target.exists()


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


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"what": REJECT}, ApprovalRejected),
        ({"by": None}, ApprovalExpired),
        ({"by": "oscar"}, ApprovalForeign),
        ({"bound_to": "b" * 64}, ApprovalForeign),
        ({"ago": 25 * HOUR}, ApprovalExpired),
    ],
)
def test_what_is_no_yes_restores_nothing(restores: Restores, said: dict[str, Any], error: type[Exception]) -> None:
    restores.steps.back_up()
    restores.production(restores.target, "paula")
    restores.plan()
    restores.say(**said)
    with pytest.raises(error):
        restores.restore()
    assert not restores.target.exists()


@pytest.mark.parametrize("change", [{"subset": "folder"}, {"overwrite": True}])
def test_a_yes_counts_for_exactly_what_was_shown(restores: Restores, change: dict[str, Any]) -> None:
    restores.steps.back_up()
    restores.production(restores.target.parent, "paula")
    restores.plan()
    restores.say()
    with pytest.raises(ApprovalForeign):
        restores.restore(**change)
    with pytest.raises(ApprovalForeign):
        restores.restore(subset="", overwrite=False, target=str(restores.target) + "-2")
    assert not restores.target.exists()


def test_evidence_names_what_was_restored_to_where(restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    point = restores.steps.back_up()
    restores.plan()
    seen: dict[str, Any] = {}

    def record(_run: Any, _ending: Any, conclude: Any, *, without: Any) -> StepReport:
        seen["subject"] = conclude().subject
        return StepReport("Stored.")

    monkeypatch.setattr("platform_ops.backups.steps.AirflowApi", lambda: SimpleNamespace(run=lambda *_: None))
    monkeypatch.setattr("platform_ops.backups.steps.judge_run", lambda _: None)
    monkeypatch.setattr("platform_ops.backups.steps.record", record)
    restores.run(RecordRestore, "record_evidence")
    assert seen["subject"] == {
        "source": "tree", "point": point, "target": str(restores.target), "subset": "", "dry_run": False,
    }  # fmt: skip

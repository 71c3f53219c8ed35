"""Who must say yes to a restore, and to what."""

from __future__ import annotations

import json
from typing import Any

import pytest

from platform_ops.approvals.gate import Request
from platform_ops.approvals.rules import (
    REJECT,
    ApprovalExpired,
    ApprovalForeign,
    ApprovalRejected,
    NotApproved,
    TooFewApprovers,
)
from platform_ops.backups.wishes import BadWish
from platform_ops.common.report import StepReport
from tests.unit.backups.restores import HOUR, Restores, bad


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

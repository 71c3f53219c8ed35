"""Where two must say yes: who is asked second, and every way in which two answers are not two times yes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from platform_ops.approvals.gate import ApprovalGate, Request
from platform_ops.approvals.rules import (
    APPROVE,
    REJECT,
    ApprovalError,
    ApprovalExpired,
    ApprovalForeign,
    ApprovalRejected,
    NotApproved,
    TooFewApprovers,
)
from platform_ops.common.report import StepReport
from platform_ops.delivery.gates import ApproveRelease, ConfirmRelease, JudgeApproval
from platform_ops.delivery.names import GATES
from platform_ops.delivery.steps import PinImage

YESTERDAY = timedelta(hours=25)


@pytest.fixture
def web(catalogue: Path) -> Path:
    """The catalogue file of the service, which asks for two."""
    path = catalogue / "services/web.yaml"
    path.write_text(path.read_text().replace("quorum: 1", "quorum: 2"))
    return path


@pytest.fixture
def two(ready, web: Path):
    """A world where two must agree."""
    return ready


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def task(world, environment: str = "prod", **changes: Any) -> Any:
    return world.context(environment, reports={"verify_image": {"digest": world.ours}}, **changes)


def ask(world, gate: type[ApprovalGate], environment: str = "prod", **changes: Any) -> Request | StepReport:
    return gate(task_id="gate").ask(task(world, environment, **changes))


def answer(world, gate: str, by: str | None, chosen: str = APPROVE, ago: timedelta = timedelta(0)) -> None:
    bound_to = ask(world, ApproveRelease).bound_to
    world.say_yes(bound_to, by, chosen, datetime.now(UTC) - ago, gate)


def both(world, first: str = "paula", second: str = "quentin", **changes: Any) -> None:
    answer(world, GATES[0], first)
    answer(world, GATES[1], second, **changes)


def refused(world, error: type[ApprovalError]) -> dict[str, Any]:
    """Require a no of the judging step and of the pushing step; return what the first tells."""
    context, head = task(world), world.gitops.head()
    with pytest.raises(error):
        JudgeApproval(task_id="judge_approval").execute(context)
    with pytest.raises(error):
        PinImage(task_id="pin_image").run_step(task(world))
    assert world.gitops.head() == head
    return context["told"][-1]


def not_asked(world, said: str, environment: str = "prod") -> None:
    report = ask(world, ConfirmRelease, environment)
    assert isinstance(report, StepReport)
    assert report.outcome == "not needed"
    assert report.facts == {"required": False}
    assert [link.title for link in report.links] == ["Release page"]
    assert said in report.summary


def test_the_first_request_goes_to_all_and_says_that_two_must_agree(two) -> None:
    asked = ask(two, ApproveRelease)
    assert asked.may_answer == ("paula", "quentin")
    assert "2 people must agree; you are the first" in asked.body


@pytest.mark.parametrize(("first", "other"), [("paula", "quentin"), ("quentin", "paula")])
def test_the_second_request_goes_to_the_other_with_the_same_binding(two, first: str, other: str) -> None:
    answer(two, GATES[0], first)
    asked = ask(two, ConfirmRelease)
    assert asked.may_answer == (other,)
    assert asked.bound_to == ask(two, ApproveRelease).bound_to
    assert f"`{first}` said yes at" in asked.body
    assert f"    +  digest: {two.ours}" in asked.body.splitlines()


def test_where_one_yes_is_enough_nobody_else_is_asked(ready) -> None:
    not_asked(ready, "One yes is enough for web in prod.")
    ready.airflow.answer.assert_not_called()
    ready.harbor.artifact.assert_not_called()


def test_where_nobody_is_asked_no_second_is_either(two) -> None:
    not_asked(two, "automatic", "rc")
    two.pin("prod", two.second, two.ours)
    not_asked(two, "GitOps needs no change.")
    two.airflow.answer.assert_not_called()


@pytest.mark.parametrize(
    ("first", "error", "said"),
    [
        (None, NotApproved, "No answer to approve_release"),
        (("paula", REJECT), ApprovalRejected, "paula said no"),
        ((None, REJECT), ApprovalExpired, "Nobody answered approve_release"),
        (("paula", APPROVE, YESTERDAY), ApprovalExpired, "paula is older"),
        (("oscar",), ApprovalForeign, "oscar may not approve"),
    ],
)
def test_after_anything_but_a_yes_nobody_else_is_asked_and_the_run_says_why(
    two, first: tuple[Any, ...] | None, error: type[ApprovalError], said: str
) -> None:
    if first:
        answer(two, GATES[0], *first)
    not_asked(two, said)
    # Even if a second answer were there.
    answer(two, GATES[1], "quentin")
    assert said in refused(two, error)["summary"]


def test_two_people_are_told_in_order_and_stand_in_the_commit(two) -> None:
    both(two, "quentin", "paula")
    context = task(two)
    JudgeApproval(task_id="judge_approval").execute(context)
    told = context["told"][-1]
    assert told["summary"] == "quentin and paula said yes."
    assert told["facts"]["quorum"] == 2
    assert told["facts"]["approved_by"] == ["quentin", "paula"]
    assert [(one["by"], one["said"]) for one in told["facts"]["answers"]] == [("quentin", "yes"), ("paula", "yes")]
    assert PinImage(task_id="pin_image").run_step(task(two)).facts["approved_by"] == ["quentin", "paula"]
    assert two.gitops.git("log", "-1", "--format=%(trailers:key=Approved-By,valueonly)") == "quentin, paula"


def test_a_second_gate_set_to_success_by_hand_is_no_second_yes(two) -> None:
    answer(two, GATES[0], "paula")
    assert "No answer to confirm_release" in refused(two, NotApproved)["summary"]


def test_a_no_by_the_second_is_told_beside_the_yes_of_the_first(two) -> None:
    both(two, chosen=REJECT)
    told = refused(two, ApprovalRejected)
    assert told["summary"] == "quentin said no."
    assert [(one["by"], one["said"]) for one in told["facts"]["answers"]] == [("paula", "yes"), ("quentin", "no")]


def test_a_first_gate_cleared_and_answered_by_the_second_person_is_one_person(two) -> None:
    both(two)
    answer(two, GATES[0], "quentin")
    assert "quentin answered twice" in refused(two, ApprovalForeign)["summary"]


def test_a_first_gate_cleared_and_asking_anew_is_no_yes(two) -> None:
    both(two)
    del two.answers[GATES[0]]
    refused(two, NotApproved)


def test_a_first_yes_that_grew_too_old_while_the_second_was_asked_is_no_yes(two) -> None:
    answer(two, GATES[0], "paula", ago=YESTERDAY)
    answer(two, GATES[1], "quentin")
    refused(two, ApprovalExpired)


def test_a_quorum_that_was_raised_meanwhile_is_not_met_by_who_was_asked_before(ready, web: Path) -> None:
    change(web, "quorum: 2", "quorum: 1")
    answer(ready, GATES[0], "paula")
    change(web, "quorum: 1", "quorum: 2")
    not_asked(ready, "what the request showed has changed")
    answer(ready, GATES[1], "quentin")
    assert "paula approved something else" in refused(ready, ApprovalForeign)["summary"]


@pytest.mark.parametrize("second", [APPROVE, REJECT])
def test_a_quorum_that_was_lowered_meanwhile_makes_no_answer_superfluous(two, web: Path, second: str) -> None:
    both(two, chosen=second)
    change(web, "quorum: 2", "quorum: 1")
    refused(two, ApprovalForeign)


def test_a_yes_of_who_is_no_approver_any_more_does_not_count(two, web: Path) -> None:
    answer(two, GATES[0], "paula")
    change(web, "[paula, quentin]", "[quentin, dana, oscar]")
    # Oscar may, once somebody else has started the run.
    with pytest.raises(TooFewApprovers):
        ask(two, ConfirmRelease)
    report = ask(two, ConfirmRelease, starter=None)
    assert "paula may not approve this: only oscar, quentin may" in report.summary


def test_one_who_is_left_is_not_asked(two) -> None:
    two.mergers = {two.second: ("paula",)}
    with pytest.raises(TooFewApprovers, match="only quentin may"):
        ask(two, ApproveRelease)


def test_nobody_is_asked_second_once_only_the_first_is_left(two) -> None:
    answer(two, GATES[0], "paula")
    two.mergers = {two.second: ("quentin",)}
    with pytest.raises(TooFewApprovers, match="only paula may"):
        ask(two, ConfirmRelease)

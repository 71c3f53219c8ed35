"""How the page tells an approval: one step, whoever is asked and however many must agree."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from platform_ops.common.records import RunRecord
from platform_ops.web.story import tell
from platform_ops.web.story_model import State, Step, Story, Tone

NOW = datetime(2026, 11, 25, 9, 17, 13, tzinfo=UTC)


def told(run: RunRecord) -> Story:
    return tell(run, now=NOW, airflow_url="http://airflow.example.com")


def approval_of(story: Story) -> Step:
    return next(step for step in story.steps if step.title == "Approval")


def answered(approval: Step) -> list[str]:
    return [fact.value for fact in approval.facts if fact.label == "answered"]


def test_waiting_for_the_second_says_who_agreed_and_asks_only_the_other(sample_runs):
    story = told(sample_runs["waiting_second"])
    assert story.verdict.sentence == (
        "paula said yes, 2026-11-25 09:17:01 UTC. Nothing moves until another person says yes. quentin may answer. "
        "No answer until 2026-11-26 09:17:01 UTC means no."
    )
    assert story.question.url.endswith("/tasks/confirm_release/required_actions")
    approval = approval_of(story)
    assert approval.state is State.ASKING
    assert approval.summary.startswith("paula said yes. quentin may say yes or no")
    assert answered(approval) == ["paula said yes, 2026-11-25 09:17:01 UTC"]
    facts = {fact.label: fact.value for fact in approval.facts}
    assert (facts["may answer"], facts["may answer second"]) == ("paula, quentin", "quentin")
    assert facts["no answer means no at"] == "2026-11-26 09:17:01 UTC"
    assert approval.tasks == ("approve_release", "confirm_release", "judge_approval")
    # From the first question on, with the first answer behind it.
    assert approval.started.words == "09:14:51"


def test_two_who_agreed_are_told_in_order(make_run):
    answers = [
        {"by": "paula", "said": "yes", "at": "2026-11-25T09:17:01+00:00"},
        {"by": "quentin", "said": "yes", "at": "2026-11-25T09:20:40+00:00"},
    ]
    judged = make_run.report("paula and quentin said yes.", approved_by=["paula", "quentin"], answers=answers)
    approval = approval_of(told(make_run(changes={"judge_approval": judged})))
    assert approval.state is State.DONE
    assert approval.summary == "paula and quentin said yes."
    assert answered(approval) == [
        "paula said yes, 2026-11-25 09:17:01 UTC",
        "quentin said yes, 2026-11-25 09:20:40 UTC",
    ]


def test_a_silence_is_told_as_such(make_run):
    answers = [{"by": "paula", "said": "yes"}, {"by": None, "said": "no"}]
    expired = make_run.report("Nobody answered in time.", "refused", "ApprovalExpired", answers=answers)
    run = make_run(state="failed", at="judge_approval", at_state="failed", at_report=expired)
    assert answered(approval_of(told(run))) == ["paula said yes", "nobody answered in time"]


@pytest.mark.parametrize(("at", "state"), [("confirm_release", "running"), ("judge_approval", "queued")])
def test_between_the_answer_and_its_judgement_the_approval_goes_on(make_run, at, state):
    approval = approval_of(told(make_run(state="running", at=at, at_state=state)))
    assert approval.state is State.RUNNING
    assert "One yes is enough" not in approval.summary


def test_a_second_question_that_cannot_be_put_fails_the_approval(make_run):
    report = make_run.report("2 must agree, and only paula may.", "refused", "TooFewApprovers")
    run = make_run(state="failed", at="confirm_release", at_state="failed", at_report=report, later="upstream_failed")
    approval = approval_of(told(run))
    assert (approval.state, approval.summary) == (State.FAILED, "2 must agree, and only paula may.")


def test_a_judgement_set_by_hand_is_pointed_out(make_run):
    story = told(make_run(changes={"judge_approval": None}))
    assert [(t.where, "by hand" in t.sentence) for t in story.troubles] == [("Approval", True)]


def test_rejected(sample_runs):
    story = told(sample_runs["rejected"])
    assert story.headline == "storefront · prod · rejected"
    assert story.verdict.tone is Tone.BAD
    approval = approval_of(story)
    assert approval.state is State.FAILED
    assert answered(approval) == ["quentin said no, 2026-11-25 09:17:01 UTC"]

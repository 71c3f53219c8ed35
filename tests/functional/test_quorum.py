"""Two different people must say yes: what the second sees, and everything that is not two times yes."""

from datetime import datetime, timedelta

import pytest

from sandbox.airflow_runs import WAITING
from tests.functional.world import World

TWO = {"quorum: 1": "quorum: 2"}
# Long enough for the first to answer, short enough to be waited for.
SERVICES = {"two-people": TWO, "one-left": TWO, "second-late": TWO | {"24h": "15s"}}


def first_yes(world: World, service: str, title: str) -> str:
    """Bring a release so far that paula has said yes and a second person is asked; return the run."""
    run = world.asked(service, title)
    assert world.runs("APPROVER").answer(run, "Approve").status_code == 200
    assert world.admin.wait(run, until=(WAITING,)) == WAITING
    assert world.facts(run, "confirm_release")["may_answer"] == ["quentin"]
    return run


def refused(world: World, run: str, service: str, verdict: str) -> None:
    """Require a red run that pinned nothing."""
    assert world.verdict(run) == verdict
    commit = world.facts(run, "resolve_commit")["commit"]
    assert world.status(service, commit, "prod")[0] == "failed"
    assert commit not in world.pin_file(service, "prod")


@pytest.fixture(scope="module")
def released(world: World) -> str:
    """A release of the sample service whose catalogue entry asks for two, with both."""
    before = world.pin_file("payments", "prod")
    run = first_yes(world, "payments", "Pay out faster")
    # Neither the first again, nor anybody else.
    strangers = ("APPROVER", "OPERATOR", "ADMIN", "VIEWER")
    assert {world.runs(role).answer(run, "Approve").status_code for role in strangers} == {403}
    page = world.page(run)
    assert "paula said yes" in page
    assert "quentin may answer" in page
    assert world.pin_file("payments", "prod") == before
    assert world.runs("APPROVER2").answer(run, "Approve").status_code == 200
    world.admin.wait(run)
    assert world.verdict(run) == "released"
    return run


def test_the_second_request_names_who_said_yes_first(world: World, released: str) -> None:
    first, second = (
        world.admin.api.get(f"{world.admin.path(released)}/taskInstances/{gate}/-1/hitlDetails").json()
        for gate in ("approve_release", "confirm_release")
    )
    assert "2 people must agree; you are the first" in first["body"]
    assert second["subject"] == f"paula said yes. {first['subject']}"
    assert "2 people must agree; `paula` said yes at 20" in second["body"]
    assert second["body"].splitlines()[-1] == first["body"].splitlines()[-1]


def test_the_gitops_commit_and_the_evidence_name_both(world: World, released: str) -> None:
    message = world.gitops_log("payments", "prod").partition("Release payments")[2]
    assert "Approved-By: paula, quentin\n" in message
    steps = {step["step"]: step["facts"] for step in world.evidence(released)["steps"]}
    assert steps["pin_image"]["approved_by"] == ["paula", "quentin"]
    answers = steps["judge_approval"]["answers"]
    assert [(one["by"], one["said"]) for one in answers] == [("paula", "yes"), ("quentin", "yes")]
    assert answers[0]["at"] < answers[1]["at"]


def test_a_no_by_the_second_ends_it(world: World) -> None:
    run = first_yes(world, "two-people", "The second says no")
    assert world.runs("APPROVER2").answer(run, "Reject").status_code == 200
    world.admin.wait(run)
    refused(world, run, "two-people", "rejected")
    assert "quentin said no" in world.page(run)


def test_after_a_no_nobody_else_is_asked(world: World) -> None:
    run = world.asked("two-people", "The first says no")
    assert world.runs("APPROVER2").answer(run, "Reject").status_code == 200
    world.admin.wait(run)
    refused(world, run, "two-people", "rejected")
    assert world.admin.report(run, "confirm_release")["outcome"] == "not needed"
    gate = f"{world.admin.path(run)}/taskInstances/confirm_release/-1/hitlDetails"
    assert world.admin.api.get(gate).status_code == 404


def test_the_second_gate_set_to_success_by_hand_releases_nothing(world: World) -> None:
    run = first_yes(world, "two-people", "The second is set by hand")
    world.set_success(run, "confirm_release")
    world.admin.wait(run)
    refused(world, run, "two-people", "refused")
    assert world.admin.report(run, "judge_approval")["error"] == "NotApproved"
    world.set_success(run, "judge_approval")
    world.clear(run, "pin_image")
    world.admin.wait(run)
    assert world.admin.report(run, "pin_image")["error"] == "NotApproved"
    refused(world, run, "two-people", "refused")


def test_a_yes_to_an_earlier_try_of_a_gate_does_not_count(world: World) -> None:
    run = first_yes(world, "two-people", "The first gate is cleared")
    world.give_up(run)
    world.admin.wait(run)
    world.clear(run, "approve_release", alone=True)
    world.set_success(run, "approve_release")
    world.clear(run, "confirm_release")
    assert world.admin.wait(run, until=(WAITING,)) == "failed"
    assert world.admin.report(run, "judge_approval")["error"] == "NotApproved"
    refused(world, run, "two-people", "refused")


def test_one_person_who_is_left_is_not_even_asked(world: World) -> None:
    commit = world.push("one-left", "rc", "master", title="By Paula", person="paula")
    assert world.released("one-left", "rc", commit) == "released"
    run = world.start("one-left", "prod", commit)
    world.admin.wait(run)
    refused(world, run, "one-left", "refused")
    report = world.admin.report(run, "approve_release")
    assert report["error"] == "TooFewApprovers"
    assert "only quentin may" in report["summary"]


def test_the_second_has_as_long_as_the_first_yes_counts(world: World) -> None:
    run = first_yes(world, "second-late", "The second never looks")
    asked = world.facts(run, "confirm_release")
    first = datetime.fromisoformat(asked["answers"][0]["at"])
    assert datetime.fromisoformat(asked["expires_at"]) - first == timedelta(seconds=15)
    world.admin.wait(run)
    refused(world, run, "second-late", "expired")
    assert "Nobody answered confirm_release in time" in world.page(run)

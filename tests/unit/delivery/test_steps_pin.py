"""From the question to running pods: approve, judge, pin, sync, verify."""

import json
from datetime import timedelta
from typing import Any

import pytest

from platform_ops.approvals.gate import Request
from platform_ops.approvals.rules import (
    REJECT,
    ApprovalError,
    ApprovalForeign,
    ApprovalRejected,
    NotApproved,
    TooFewApprovers,
)
from platform_ops.common.errors import AuthenticationFailed, Busy, Superseded
from platform_ops.common.remote_work import WorkSpec
from platform_ops.common.report import StepReport
from platform_ops.delivery.gates import ApproveRelease, JudgeApproval
from platform_ops.delivery.images import DigestChanged, ImageMissing, NotScanned, leave_proof
from platform_ops.delivery.pinning import ImageDrifted, PinTakenBack, commit_message
from platform_ops.delivery.pins import Pin
from platform_ops.delivery.policies import ForeignImage, ScanAbovePolicy, Unproven
from platform_ops.delivery.source import NotOnBranch
from platform_ops.delivery.standing import Diverged
from platform_ops.delivery.steps import PinImage, SyncApplication, VerifyRunning
from platform_ops.systems.harbor.models import ScanStatus, Severity

HOUR = timedelta(hours=1)


def task(world, environment: str = "prod", hint: str | None = None, **changes: Any) -> Any:
    reports = {"verify_image": {"digest": hint or world.ours}, "pin_image": {"revision": "f" * 40}}
    return world.context(environment, reports=reports, **changes)


def ask(world, environment: str = "prod", **changes: Any) -> Request | StepReport:
    return ApproveRelease(task_id="approve_release").ask(task(world, environment, **changes))


def approve(world, by: str = "paula", **changes: Any) -> None:
    world.say_yes(ask(world).bound_to, by, **changes)


def answered_at(world) -> str:
    return world.answers["approve_release"].answered_at.isoformat(timespec="seconds")


def judge(world, environment: str = "prod") -> dict[str, Any]:
    context = task(world, environment)
    try:
        JudgeApproval(task_id="judge_approval").execute(context)
    except ApprovalError:
        assert context["told"][-1]["outcome"] == "refused"
    return context["told"][-1]


def pin(world, environment: str = "prod", **changes: Any) -> StepReport:
    return PinImage(task_id="pin_image").run_step(task(world, environment, **changes))


def test_a_manual_environment_asks_with_the_change_that_will_be_pushed(ready) -> None:
    asked = ask(ready, reason="Now.")
    assert isinstance(asked, Request)
    assert asked.may_answer == ("paula", "quentin")
    assert f"    -  digest: {ready.other}" in asked.body.splitlines()
    assert f"    +  digest: {ready.ours}" in asked.body.splitlines()
    assert "- reason: `Now.`" in asked.body
    approve(ready)
    assert pin(ready).facts["diff"] == asked.report.facts["diff"]


@pytest.mark.parametrize("environment", ["dev", "rc"])
def test_an_automatic_environment_asks_nobody(ready, environment: str) -> None:
    expected = (f"Releases to {environment} are automatic.", "not needed", {"required": False})
    asked = ask(ready, environment)
    assert (asked.summary, asked.outcome, asked.facts) == expected
    told = judge(ready, environment)
    assert (told["summary"], told["outcome"], told["facts"]) == expected
    ready.airflow.answer.assert_not_called()
    ready.harbor.artifact.assert_not_called()


def test_nobody_is_asked_when_gitops_needs_no_change(ready) -> None:
    ready.pin("prod", ready.second, ready.ours)
    assert (ask(ready).summary, ask(ready).outcome) == ("GitOps needs no change.", "not needed")
    assert judge(ready)["outcome"] == "not needed"


def test_nobody_is_asked_about_a_commit_that_is_behind(ready) -> None:
    ready.pin("prod", ready.second, ready.other)
    ready.push_image(ready.first, commit=ready.first)
    with pytest.raises(Superseded):
        ask(ready, commit=ready.first)


def test_too_few_people_are_refused_before_anybody_is_asked(ready) -> None:
    ready.mergers = {ready.second: ("paula",)}
    with pytest.raises(TooFewApprovers):
        ask(ready, starter="quentin")


def test_a_yes_is_told_with_who_and_when(ready) -> None:
    approve(ready)
    told = judge(ready)
    assert told["summary"] == "paula said yes."
    assert told["facts"] == {
        "required": True,
        "quorum": 1,
        "answers": [{"by": "paula", "said": "yes", "at": answered_at(ready)}],
        "approved_by": ["paula"],
    }


def test_a_no_turns_red_with_who_and_when(ready) -> None:
    approve(ready, chosen=REJECT)
    told = judge(ready)
    assert (told["error"], told["summary"]) == (ApprovalRejected.__name__, "paula said no.")
    assert told["facts"]["rejected_by"] == "paula"
    assert told["facts"]["answers"] == [{"by": "paula", "said": "no", "at": answered_at(ready)}]


def test_a_gate_set_to_success_by_hand_is_no_yes(ready) -> None:
    told = judge(ready)
    assert (told["error"], told["facts"]) == (
        NotApproved.__name__,
        {"required": True, "quorum": 1, "answers": []},
    )


def test_an_automatic_release_is_pinned_in_one_commit(ready) -> None:
    before = ready.gitops.head()
    report = pin(ready, "rc")
    head = ready.gitops.head()
    assert ready.pinned("rc") == Pin(ready.ours, ready.second)
    assert ready.gitops.git("rev-parse", f"{head}^") == before
    assert report.outcome == "done"
    assert (report.facts["digest"], report.facts["revision"], report.facts["approved_by"]) == (ready.ours, head, [])
    assert f"newName: harbor.test/shop/web\n+  digest: {ready.ours}" in report.facts["diff"]
    assert report.links[0].url == f"{ready.gitops.address.removesuffix('.git')}/-/commit/{head}"
    json.dumps(report.as_dict())


def test_the_commit_names_source_image_run_and_approver(ready) -> None:
    approve(ready, "quentin")
    assert pin(ready).facts["approved_by"] == ["quentin"]
    title, _, trailers = ready.gitops.git("log", "-1", "--format=%B").partition("\n\n")
    assert title == f"Release web {ready.second[:12]} to prod"
    assert trailers.splitlines() == [
        f"Source-Commit: {ready.second}",
        f"Image-Digest: {ready.ours}",
        "Run: r1",
        "Approved-By: quentin",
    ]
    parsed = ready.gitops.git("log", "-1", "--format=%(trailers:key=Run,valueonly)")
    assert parsed == "r1"


def test_without_an_approver_there_is_no_such_trailer(world) -> None:
    assert "Approved-By" not in commit_message(world.release(), world.ours, ())


def test_what_is_pinned_already_is_pushed_and_asked_no_more(ready) -> None:
    revision = ready.pin("prod", ready.second, ready.ours)
    ready.pin("dev", ready.first, ready.other)
    head = ready.gitops.head()
    report = pin(ready)
    assert (report.outcome, report.facts["revision"], report.facts["diff"]) == ("not needed", revision, "")
    assert ready.gitops.head() == head
    ready.airflow.answer.assert_not_called()


def test_a_newer_commit_with_our_digest_is_left_as_it_is(ready) -> None:
    ready.push_image(ready.first)
    twin = ready.source.commit("Same again", ready.second, files={"app": "2"})
    ready.source.move(twin, "rc")
    ready.pin("rc", twin, ready.ours)
    assert pin(ready, "rc").outcome == "not needed"
    assert ready.pinned("rc") == Pin(ready.ours, twin)


def refused(world, error: type[Exception], environment: str = "prod", **changes: Any) -> None:
    head = world.gitops.head()
    with pytest.raises(error):
        pin(world, environment, **changes)
    assert world.gitops.head() == head


def test_production_without_an_answer_is_refused(ready) -> None:
    refused(ready, NotApproved)


def test_production_with_a_no_is_refused(ready) -> None:
    approve(ready, chosen=REJECT)
    refused(ready, ApprovalRejected)


def test_a_yes_to_another_digest_is_refused(ready) -> None:
    approve(ready)
    newer = "sha256:" + "c" * 64
    ready.push_image(ready.second, newer)
    leave_proof(ready.release("rc"), newer)
    refused(ready, ApprovalForeign, hint=newer)


def test_a_yes_to_another_change_of_the_file_is_refused(ready) -> None:
    approve(ready)
    ready.pin("prod", ready.first, ready.other)
    refused(ready, ApprovalForeign)


def test_a_yes_by_who_merged_meanwhile_is_refused(ready) -> None:
    approve(ready)
    ready.mergers = {ready.second: ("paula",)}
    refused(ready, ApprovalForeign)


@pytest.mark.parametrize("hint", ["sha256:" + "b" * 64, "nothing"])
def test_a_digest_that_changed_since_it_was_verified_is_refused(ready, hint: str) -> None:
    refused(ready, DigestChanged, "dev", hint=hint)


def test_an_unproven_digest_is_refused_for_production_only(ready) -> None:
    approve(ready)
    ready.objects.clear()
    refused(ready, Unproven)
    assert pin(ready, "dev").outcome == "done"


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ({"severity": Severity.CRITICAL}, ScanAbovePolicy),
        ({"status": ScanStatus.ERROR}, NotScanned),
        ({"commit": "first"}, ForeignImage),
    ],
)
def test_what_was_verified_is_verified_again(ready, image: dict[str, Any], error: type[Exception]) -> None:
    named = getattr(ready, image.pop("commit", "second"))
    ready.push_image(ready.second, commit=named, **image)
    refused(ready, error, "dev")


def test_what_this_run_pinned_and_somebody_took_back_is_not_pinned_again(ready) -> None:
    ready.pin("dev", ready.base, ready.other)
    pin(ready, "dev")
    ready.pin("dev", ready.base, ready.other)
    refused(ready, PinTakenBack, "dev")


def test_an_image_that_is_gone_is_refused(ready) -> None:
    ready.images.clear()
    refused(ready, ImageMissing, "dev")


def test_a_commit_that_left_its_branch_is_refused(ready) -> None:
    ready.source.move(ready.first, "dev")
    refused(ready, NotOnBranch, "dev")


def test_our_commit_pinned_with_another_digest_is_refused(ready) -> None:
    ready.pin("dev", ready.second, ready.other)
    refused(ready, ImageDrifted, "dev")


def test_diverged_history_is_refused(ready) -> None:
    ready.pin("rc", ready.apart, ready.other)
    refused(ready, Diverged, "rc")


def test_a_newer_commit_that_was_faster_is_never_overwritten(ready) -> None:
    approve(ready)
    third = ready.source.commit("Third", ready.second, files={"app": "3"})
    ready.source.move(third, "master")
    given, newest = ready.answers["approve_release"], Pin("sha256:" + "c" * 64, third)

    def pinned_meanwhile(*_: str) -> Any:
        # Between our reading of the file and our push.
        ready.airflow.answer.side_effect = lambda *_: given
        ready.pin("prod", third, newest.digest)
        return given

    ready.airflow.answer.side_effect = pinned_meanwhile
    with pytest.raises(Superseded):
        pin(ready)
    assert ready.pinned("prod") == newest


def test_a_push_to_another_file_meanwhile_costs_one_more_try(ready) -> None:
    approve(ready)
    given = ready.answers["approve_release"]

    def pushed_meanwhile(*_: str) -> Any:
        ready.airflow.answer.side_effect = lambda *_: given
        ready.pin("dev", ready.second, ready.other)
        return given

    ready.airflow.answer.side_effect = pushed_meanwhile
    assert pin(ready).outcome == "done"
    assert ready.pinned("prod") == Pin(ready.ours, ready.second)
    assert ready.pinned("dev") == Pin(ready.other, ready.second)


def test_the_sync_is_of_the_pinned_commit_with_the_digest_at_harbor(ready) -> None:
    spec = SyncApplication(task_id="sync_application", deadline=HOUR).plan(task(ready))
    arguments = {
        "service": "web",
        "environment": "prod",
        "commit": ready.second,
        "digest": ready.ours,
        "revision": "f" * 40,
    }
    assert spec == WorkSpec("platform_ops.delivery.work.PinnedSync", arguments | {"marker": "r1/3"})
    running = VerifyRunning(task_id="verify_running", deadline=HOUR).plan(task(ready))
    assert running == WorkSpec("platform_ops.delivery.work.HealthyRelease", arguments)
    json.dumps(spec.arguments)


@pytest.mark.parametrize(("environment", "proven"), [("dev", False), ("rc", True), ("prod", False)])
def test_only_rc_leaves_the_proof(ready, environment: str, proven: bool) -> None:
    ready.objects.clear()
    ended = StepReport("All pods run it.", facts={"digest": ready.ours})
    report = VerifyRunning(task_id="verify_running", deadline=HOUR).conclude(task(ready, environment), ended)
    key = f"healthy/rc/web/{ready.ours.replace(':', '-')}.json"
    assert list(ready.objects) == ([key] if proven else [])
    assert report.facts.get("proof_key") == (key if proven else None)


def test_the_deployment_runs_before_the_push(ready) -> None:
    pushed = []
    ready.gitlab.deployments.side_effect = lambda *_: pushed.append(ready.pinned("dev")) or ()
    told = pin(ready, "dev")
    assert pushed == [None]
    assert told.facts["deployment"] == 1
    assert told.links[-1].url == "http://gitlab.test/shop/web/-/environments/1"
    assert [one.state for one in ready.deployments] == ["running"]


def test_a_pin_that_is_there_already_is_no_deployment(ready) -> None:
    ready.pin("dev", ready.second, ready.ours)
    assert "deployment" not in pin(ready, "dev").facts
    assert ready.deployments == []


def test_a_refused_push_is_no_deployment(ready) -> None:
    with pytest.raises(NotApproved):
        pin(ready)
    assert ready.deployments == []


def test_a_gitlab_that_is_too_busy_to_be_told_keeps_no_push_waiting(ready) -> None:
    ready.gitlab.create_deployment.side_effect = Busy("GitLab is busy.")
    told = pin(ready, "dev")
    assert (told.outcome, told.facts["untold"]) == ("done", "To be told at the end: GitLab is busy.")
    assert ready.pinned("dev") == Pin(ready.ours, ready.second)


def test_a_gitlab_that_refuses_to_be_told_stops_before_the_push(ready) -> None:
    ready.gitlab.create_deployment.side_effect = AuthenticationFailed("No.")
    with pytest.raises(AuthenticationFailed):
        pin(ready, "dev")
    assert ready.pinned("dev") is None

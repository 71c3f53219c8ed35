"""What every run leaves behind, however it ended."""

import json
from typing import Any

import pytest

from platform_ops.common.errors import Busy, Unreachable
from platform_ops.common.report import StepReport
from platform_ops.delivery.deployments import begin
from platform_ops.delivery.teardowns import RecordEvidence, ReportRelease
from platform_ops.delivery.verdicts import TEARDOWNS
from platform_ops.evidence.document import canonical, sha256
from platform_ops.systems.argocd.models import Application
from platform_ops.systems.gitlab.models import CommitState, CommitStatus
from platform_ops.systems.kubernetes.models import Pod, Rollout

KEY = "runs/release_service/r1/1.json"
REFUSED = StepReport("paula said no.", "refused", error="ApprovalRejected")


@pytest.fixture
def ended(world):
    """A world after a release that went well."""
    world.push_image(world.second)
    world.revision = world.pin("dev", world.second, world.ours)
    world.argocd.application.return_value = Application(
        "web-dev", True, "Synced", world.revision, "Healthy", "", None, None, (), (), "main", "http://argocd.test"
    )
    pod = Pod("web-1", "web", world.ours, True, terminating=False, restarts=0)
    world.kubernetes.rollout.return_value = Rollout(1, 1, 1, True, (pod,), None)
    ran(world)
    return world


def ran(world, **changes: StepReport | None) -> None:
    steps: dict[str, StepReport | None] = {
        "resolve_commit": StepReport("Found.", facts={"commit": world.second, "tree": "t" * 40}),
        "verify_image": StepReport("Fine.", facts={"digest": world.ours}),
        "judge_approval": StepReport("Automatic.", "not needed"),
    }
    world.ran(**(steps | changes))


def record(world, **changes: Any) -> dict[str, Any]:
    context = world.context(reason="Now.", **changes)
    RecordEvidence(task_id="record_evidence").execute(context)
    return context["told"][-1]


def test_a_good_run_is_recorded_with_what_the_systems_say_now(ended) -> None:
    told = record(ended)
    stored = json.loads(ended.objects[KEY])
    assert (stored["verdict"], stored["number"], stored["differences"]) == ("released", 1, [])
    assert stored["subject"] == {
        "service": "web",
        "environment": "dev",
        "commit": ended.second,
        "tree": "t" * 40,
        "digest": ended.ours,
        "reason": "Now.",
    }
    assert stored["observed"] == {
        "harbor": ended.ours,
        "gitops": ended.ours,
        "argocd_revision": ended.revision,
        "pods": [ended.ours],
    }
    assert [step["step"] for step in stored["steps"]] == ["resolve_commit", "verify_image", "judge_approval"]
    facts = told["facts"]
    assert (facts["verdict"], facts["key"], facts["sha256"]) == ("released", KEY, sha256(stored))
    assert ended.objects[KEY] == canonical(stored)
    assert told["links"] == [{"title": "Evidence", "url": f"http://store.test/evidence/{KEY}"}]
    ended.airflow.run.assert_called_once_with("release_service", "r1")


def test_the_teardowns_are_no_steps_of_the_document(ended) -> None:
    ran(ended, **dict.fromkeys(TEARDOWNS))
    record(ended)
    stored = json.loads(ended.objects[KEY])
    assert not {step["step"] for step in stored["steps"]} & set(TEARDOWNS)
    assert stored["verdict"] == "released"


def test_a_second_try_adopts_the_document(ended) -> None:
    first, second = record(ended), record(ended)
    assert (first["outcome"], second["outcome"]) == ("done", "reused")
    assert second["facts"]["sha256"] == first["facts"]["sha256"]
    assert list(ended.objects) == [KEY]


def test_a_second_try_adopts_it_though_the_world_has_moved_on(ended) -> None:
    first = record(ended)
    ended.pin("dev", ended.second, ended.other)
    second = record(ended)
    assert (second["outcome"], second["facts"]["sha256"]) == ("reused", first["facts"]["sha256"])
    assert second["facts"]["observed"] == first["facts"]["observed"]
    assert list(ended.objects) == [KEY]


def test_another_end_of_the_run_is_another_document(ended) -> None:
    ran(ended, judge_approval=REFUSED)
    assert record(ended)["facts"]["verdict"] == "rejected"
    ran(ended)
    facts = record(ended)["facts"]
    assert (facts["verdict"], facts["number"]) == ("released", 2)


def test_a_system_that_holds_something_else_is_named(ended) -> None:
    ended.pin("dev", ended.second, ended.other)
    told = record(ended)
    assert told["facts"]["differences"] == [f"GitOps holds {ended.other}, not {ended.ours}."]
    assert json.loads(ended.objects[KEY])["differences"] == told["facts"]["differences"]
    assert ended.other in told["summary"]


def test_a_run_that_released_nothing_is_not_compared(ended) -> None:
    ended.pin("dev", ended.second, ended.other)
    ran(ended, judge_approval=REFUSED)
    facts = record(ended)["facts"]
    assert (facts["verdict"], facts["reason"], facts["differences"]) == ("rejected", "paula said no.", [])
    assert facts["observed"]["gitops"] == ended.other


def test_a_system_that_does_not_answer_is_said_and_the_rest_is_recorded(ended) -> None:
    ended.argocd.application.side_effect = Unreachable("Argo CD is gone.")
    told = record(ended)
    assert told["facts"]["differences"] == ["argocd_revision could not be asked again: Argo CD is gone."]
    assert told["facts"]["observed"]["harbor"] == ended.ours
    assert KEY in ended.objects


@pytest.mark.parametrize("changes", [{"commit": "master"}, {"environment": "moon"}, {"service": "../x"}])
def test_a_run_that_never_meant_anything_is_recorded_too(ended, changes: dict[str, str]) -> None:
    ended.ran(resolve_commit=StepReport("No such thing.", "refused", error="BadRequest"))
    facts = record(ended, **changes)["facts"]
    stored = json.loads(ended.objects[KEY])
    assert (facts["verdict"], stored["observed"]) == ("refused", {})
    assert stored["subject"] | changes == stored["subject"]


def test_evidence_that_cannot_be_stored_fails_the_task(ended) -> None:
    ended.store.put_new.side_effect = Busy("The store is busy.")
    with pytest.raises(Busy):
        record(ended)


def status(world, **changes: Any) -> CommitStatus:
    release = world.release()
    shown = {"name": "release/dev", "state": "running", "ref": "dev", "target_url": release.page, "description": ""}
    return CommitStatus(**(shown | changes))


SHA256 = "e" * 64
STORED = StepReport("Stored.", facts={"sha256": SHA256})
ANNOUNCED = {"announced": True, "tree": "t" * 40}
UNTOLD = ANNOUNCED | {"untold": "GitLab was busy."}
ELSEWHERE = {"target_url": "http://airflow/another/run"}
PINNED = StepReport("It is pinned.", "not needed")


def report(world, resolved: dict[str, Any] | None = None, **steps: StepReport | None) -> dict[str, Any]:
    """Report a run whose first step left these facts beside the commit."""
    facts = {"commit": world.second} | (resolved or {})
    ran(world, **{"resolve_commit": StepReport("Found.", facts=facts), "record_evidence": STORED} | steps)
    context = world.context()
    ReportRelease(task_id="report_release").execute(context)
    return context["told"][-1]


def test_the_status_that_this_run_began_is_ended_with_the_evidence(ended) -> None:
    ended.gitlab.statuses.return_value = (status(ended),)
    assert report(ended)["facts"]["state"] == "success"
    ended.gitlab.set_status.assert_called_once_with(
        "shop/web",
        ended.second,
        name="release/dev",
        state=CommitState.SUCCESS,
        ref="dev",
        target_url=ended.release().page,
        description=f"released · evidence sha256 {SHA256}",
    )


def test_a_failed_run_says_why(ended) -> None:
    ended.gitlab.statuses.return_value = (status(ended),)
    told = report(ended, judge_approval=REFUSED)["facts"]
    assert told == {"state": "failed", "description": f"rejected · evidence sha256 {SHA256} · paula said no."}


@pytest.mark.parametrize("stored", [None, StepReport("Stored.")])
def test_missing_evidence_is_said(ended, stored: StepReport | None) -> None:
    ended.gitlab.statuses.return_value = (status(ended),)
    told = report(ended, record_evidence=stored)["facts"]
    assert told["description"] == "released · no evidence could be stored"


@pytest.mark.parametrize("resolved", [{}, ANNOUNCED])
def test_a_status_that_another_run_took_over_is_left_alone(ended, resolved: dict[str, Any]) -> None:
    ended.gitlab.statuses.return_value = (status(ended), status(ended, **ELSEWHERE))
    assert report(ended, resolved)["outcome"] == "not needed"
    ended.gitlab.set_status.assert_not_called()


@pytest.mark.parametrize("changes", [{"name": "release/rc"}, {"ref": "master"}])
def test_the_status_of_another_environment_says_nothing(ended, changes: dict[str, str]) -> None:
    ended.gitlab.statuses.return_value = (status(ended, **changes),)
    assert report(ended)["outcome"] == "not needed"
    assert report(ended, ANNOUNCED)["facts"]["state"] == "success"


@pytest.mark.parametrize(("state", "told"), [("failed", True), ("running", False)])
def test_a_run_that_gitlab_never_heard_of_speaks_after_an_earlier_one(ended, state: str, told: bool) -> None:
    ended.gitlab.statuses.return_value = (status(ended, state=state, **ELSEWHERE),)
    report(ended, UNTOLD)
    assert ended.gitlab.set_status.called is told


def test_what_has_been_told_is_not_told_again(ended) -> None:
    told = f"released · evidence sha256 {SHA256}"
    ended.gitlab.statuses.return_value = (status(ended, state="success", description=told),)
    assert report(ended, ANNOUNCED)["outcome"] == "not needed"
    ended.gitlab.set_status.assert_not_called()


def test_another_end_of_the_run_is_told(ended) -> None:
    ended.gitlab.statuses.return_value = (status(ended, state="failed", description="failed · evidence sha256 ff"),)
    assert report(ended, ANNOUNCED)["facts"]["state"] == "success"


@pytest.mark.parametrize("changes", [{"commit": ""}, {"commit": "master"}])
def test_gitlab_is_not_asked_about_a_run_without_a_commit(ended, changes: dict[str, str]) -> None:
    ended.ran(resolve_commit=None)
    context = ended.context(**changes)
    ReportRelease(task_id="report_release").execute(context)
    assert context["told"][-1]["outcome"] == "not needed"
    ended.gitlab.statuses.assert_not_called()


def test_a_run_that_did_not_come_to_the_push_began_no_deployment(ended) -> None:
    ended.gitlab.statuses.return_value = (status(ended),)
    report(ended, judge_approval=REFUSED)
    ended.gitlab.deployments.assert_not_called()


def test_the_deployment_ends_as_the_release(ended) -> None:
    ended.gitlab.statuses.return_value = (status(ended),)
    begin(ended.release())
    told = report(ended, pin_image=StepReport("Pushed."))
    assert told["facts"]["deployment"] == "success"
    assert "the deployment as success" in told["summary"]
    assert [one.state for one in ended.deployments] == ["success"]


def test_a_status_that_is_not_ours_does_not_keep_the_deployment_open(ended) -> None:
    ended.gitlab.statuses.return_value = (status(ended, **ELSEWHERE),)
    begin(ended.release())
    assert report(ended, pin_image=None)["facts"] == {"deployment": "failed"}


@pytest.mark.parametrize(
    ("second", "shown"), [({"judge_approval": REFUSED}, ["failed"]), ({"pin_image": PINNED}, ["failed", "success"])]
)
def test_however_another_run_of_the_commit_ends_no_deployment_stays_open(
    ended, second: dict[str, StepReport], shown: list[str]
) -> None:
    begin(ended.release())
    ended.gitlab.statuses.return_value = (status(ended, **ELSEWHERE),)
    report(ended, pin_image=None)
    ended.gitlab.statuses.return_value = (status(ended),)
    report(ended, **second)
    assert [one.state for one in ended.deployments] == shown

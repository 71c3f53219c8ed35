"""From the commit to a checked image: resolve, build, verify."""

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from platform_ops.common.errors import AuthenticationFailed, Busy, FailNow, Refused
from platform_ops.common.remote_work import WorkSpec
from platform_ops.common.report import Link, StepReport
from platform_ops.delivery.images import DigestChanged, ImageMissing, NotScanned, TagTaken, leave_proof, tree_tag
from platform_ops.delivery.names import derived_run_id
from platform_ops.delivery.policies import ForeignImage, ScanAbovePolicy, Unproven
from platform_ops.delivery.release import BadRequest, ForeignRunId, UnknownParameter
from platform_ops.delivery.source import NotOnBranch
from platform_ops.delivery.standing import Diverged
from platform_ops.delivery.steps import BuildImage, ResolveCommit, VerifyImage
from platform_ops.systems.git.errors import CommitNotFound
from platform_ops.systems.gitlab.errors import ProjectNotFound
from platform_ops.systems.gitlab.models import CommitState
from platform_ops.systems.harbor.models import ScanStatus, Severity

HOUR = timedelta(hours=1)


def resolve(context: Any) -> dict[str, Any]:
    ResolveCommit(task_id="resolve_commit").execute(context)
    return context["told"][-1]


def test_the_head_of_the_branch_is_found_told_to_gitlab_and_described(world) -> None:
    world.pin("rc", world.base, world.other)
    report = resolve(world.context("rc", ""))
    facts = report["facts"]
    assert (facts["commit"], facts["tree"]) == (world.second, world.source.tree(world.second))
    assert facts["previous"] == {"commit": world.base, "digest": world.other}
    assert not facts["already_pinned"]
    assert facts["announced"]
    assert [one["sha"] for one in facts["commits_since"]["commits"]] == [world.second, world.first]
    assert facts["authors"] == [
        {"name": "Ravi", "email": "ravi@example.com"},
        {"name": "Dana", "email": "dana@example.com"},
    ]
    assert report["links"][0]["url"] == f"http://gitlab.test/shop/web/-/commit/{world.second}"
    json.dumps(report)
    world.gitlab.set_status.assert_called_once_with(
        "shop/web",
        world.second,
        name="release/rc",
        state=CommitState.RUNNING,
        ref="rc",
        target_url=world.release("rc").page,
        description="Releasing web to rc",
    )


def test_a_named_commit_is_taken_instead_of_the_head(world) -> None:
    assert resolve(world.context(commit=world.first))["facts"]["commit"] == world.first


def test_a_first_release_has_no_previous_one(world) -> None:
    facts = resolve(world.context())["facts"]
    assert facts["previous"] is None
    assert facts["commits_since"]["count"] == 3


def test_what_is_pinned_already_goes_on_and_says_so(world) -> None:
    world.pin("rc", world.second, world.ours)
    facts = resolve(world.context("rc"))["facts"]
    assert facts["already_pinned"]
    assert facts["authors"] == [{"name": "Ravi", "email": "ravi@example.com"}]


def test_a_commit_behind_what_is_pinned_is_superseded_after_gitlab_knows_of_it(world) -> None:
    world.pin("dev", world.second, world.ours)
    context = world.context(commit=world.first)
    with pytest.raises(AirflowSkipException):
        resolve(context)
    report = context["told"][-1]
    assert report["outcome"] == "superseded"
    assert (report["facts"]["commit"], report["facts"]["announced"]) == (world.first, True)
    assert report["facts"]["pinned"] == {"commit": world.second, "digest": world.ours}
    world.gitlab.set_status.assert_called_once()


@pytest.mark.parametrize("environment", ["rc", "prod"])
def test_diverged_history_is_refused(world, environment: str) -> None:
    world.pin(environment, world.apart, world.other)
    context = world.context(environment)
    with pytest.raises(Diverged):
        resolve(context)
    assert (context["told"][-1]["outcome"], context["told"][-1]["facts"]["commit"]) == ("refused", world.second)


def test_dev_follows_its_branch_to_another_line(world) -> None:
    world.pin("dev", world.apart, world.other)
    assert [one["sha"] for one in resolve(world.context())["facts"]["commits_since"]["commits"]] == [
        world.second,
        world.first,
    ]


@pytest.mark.parametrize(("commit", "error"), [("apart", NotOnBranch), ("1" * 40, CommitNotFound)])
def test_gitlab_is_told_nothing_of_a_commit_that_is_not_on_the_branch(world, commit: str, error: type) -> None:
    with pytest.raises(error):
        resolve(world.context(commit=getattr(world, commit, commit)))
    world.gitlab.set_status.assert_not_called()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"conf": {"force": True}}, UnknownParameter),
        ({"commit": "master"}, BadRequest),
        ({"environment": "x"}, BadRequest),
    ],
)
def test_a_run_with_wrong_parameters_does_nothing(world, changes: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        resolve(world.context(**changes))
    world.gitlab.project.assert_not_called()


OWN = ("web", "dev")


@pytest.mark.parametrize("place", [("web", "prod"), ("api", "dev"), OWN])
@pytest.mark.parametrize("tail", ["", "__2"])
@pytest.mark.parametrize("named", [True, False])
def test_a_run_id_that_names_another_release_is_refused_before_gitlab_hears_of_it(
    world, place: tuple[str, str], tail: str, named: bool
) -> None:
    context = world.context(commit=world.second if named else "")
    commit = world.first if place == OWN else world.second
    context["ti"].run_id = run_id = f"{derived_run_id(*place, commit)}{tail}"
    with pytest.raises(ForeignRunId) as refused:
        resolve(context)
    assert run_id in str(refused.value)
    assert f"Start this one as {derived_run_id(*OWN, world.second)}." in str(refused.value)
    world.gitlab.set_status.assert_not_called()


@pytest.mark.parametrize("tail", ["", "__2", "__from-ci"])
def test_a_run_id_that_names_this_release_is_fine(world, tail: str) -> None:
    context = world.context(commit="")
    context["ti"].run_id = f"{derived_run_id(*OWN, world.second)}{tail}"
    assert resolve(context)["facts"]["commit"] == world.second


@pytest.mark.parametrize("run_id", ["manual__2026-01-02T03:04:05+00:00", "release__tuesday", "release__web__dev__v1"])
def test_a_run_id_of_another_form_names_nothing(world, run_id: str) -> None:
    context = world.context()
    context["ti"].run_id = run_id
    assert resolve(context)["facts"]["commit"] == world.second


def test_a_gitlab_that_is_too_busy_to_be_told_keeps_no_release_waiting(world) -> None:
    world.gitlab.set_status.side_effect = Busy("GitLab is busy.")
    report = resolve(world.context())
    assert report["outcome"] == "done"
    assert (report["facts"]["commit"], report["facts"]["announced"]) == (world.second, True)
    assert report["facts"]["untold"] == "To be told at the end: GitLab is busy."


@pytest.mark.parametrize("error", [AuthenticationFailed, ProjectNotFound])
def test_a_gitlab_that_refuses_to_be_told_fails_with_the_commit_known(world, error: type[FailNow]) -> None:
    world.gitlab.set_status.side_effect = error("No.")
    context = world.context()
    with pytest.raises(error):
        resolve(context)
    facts = context["told"][-1]["facts"]
    assert (facts["commit"], facts["announced"]) == (world.second, False)


def plan_build(context: Any) -> WorkSpec | StepReport:
    return BuildImage(task_id="build_image", deadline=HOUR).plan(context)


def test_an_image_of_the_commit_is_reused(world) -> None:
    image = world.push_image(world.second)
    planned = plan_build(world.context())
    assert planned == StepReport(
        f"Harbor has an image of this commit: {world.ours[:19]}.",
        "reused",
        {"digest": world.ours},
        (Link("Harbor: image", image.url),),
    )
    world.harbor.add_tag.assert_not_called()


def test_an_image_of_the_same_tree_is_reused_and_gets_the_commits_tag(world) -> None:
    twin = world.source.commit("Again", world.second, files={"app": "2"})
    world.source.move(twin, "dev")
    world.push_image(tree_tag(world.source.tree(twin)), commit=world.second)
    planned = plan_build(world.context(commit=twin))
    assert (planned.outcome, planned.facts) == ("reused", {"digest": world.ours})
    assert world.images[twin].digest == world.ours


def test_a_tree_tag_on_a_foreign_image_is_refused(world) -> None:
    world.push_image(tree_tag(world.source.tree(world.second)), commit=world.first)
    with pytest.raises(ForeignImage):
        plan_build(world.context())
    assert world.second not in world.images


def test_nothing_is_built_for_what_is_pinned_already(world) -> None:
    facts = {"already_pinned": True, "previous": {"digest": world.ours}}
    planned = plan_build(world.context(reports={"resolve_commit": facts}))
    assert (planned.outcome, planned.facts) == ("not needed", {"digest": world.ours})


def test_else_jenkins_builds_the_tree(world) -> None:
    planned = plan_build(world.context())
    assert planned == WorkSpec(
        "platform_ops.systems.jenkins.work.JenkinsBuild",
        {
            "job": "shop/web",
            "tree": world.source.tree(world.second),
            "commit": world.second,
            "attempt": "r1/3",
            "jenkins_conn_id": "jenkins_default",
        },
    )


BUILT = StepReport("Build #7: 5 tests passed.", facts={"image_tag": "build-web-7", "tests": {"passed": 5}},
                   links=(Link("Jenkins", "http://j"),))  # fmt: skip


def conclude_build(context: Any) -> StepReport:
    return BuildImage(task_id="build_image", deadline=HOUR).conclude(context, BUILT)


def test_a_built_image_gets_the_tags_of_its_tree_and_commit(world) -> None:
    image = world.push_image("build-web-7")
    ended = conclude_build(world.context())
    assert ended.facts == BUILT.facts | {"digest": world.ours}
    assert ended.summary == BUILT.summary
    assert ended.links == (*BUILT.links, Link("Harbor: image", image.url))
    assert world.images[world.second] is world.images[tree_tag(world.source.tree(world.second))] is image


def test_another_build_of_the_tree_that_was_faster_is_adopted(world) -> None:
    world.push_image("build-web-7")
    world.push_image(tree_tag(world.source.tree(world.second)), world.other)
    ended = conclude_build(world.context())
    assert ended.facts["digest"] == world.other == world.images[world.second].digest
    assert f"Another build of this tree was faster: {world.other[:19]}" in ended.summary


def test_a_commit_tag_on_another_image_is_refused_with_the_build_known(world) -> None:
    world.push_image("build-web-7")
    world.push_image(world.second, world.other)
    with pytest.raises(TagTaken) as refused:
        conclude_build(world.context())
    assert refused.value.facts == BUILT.facts


def test_a_build_that_pushed_nothing_is_refused(world) -> None:
    with pytest.raises(Refused, match="no image shop/web:build-web-7"):
        conclude_build(world.context())


def test_a_build_of_another_tree_claims_nothing(world) -> None:
    world.push_image("build-web-7", commit=world.first)
    with pytest.raises(ForeignImage):
        conclude_build(world.context())
    world.harbor.add_tag.assert_not_called()


def verify(world, environment: str = "dev", hint: str | None = None) -> Any:
    return world.context(environment, reports={"build_image": {"digest": hint or world.ours}})


def plan_verify(context: Any) -> WorkSpec:
    return VerifyImage(task_id="verify_image", deadline=HOUR).plan(context)


def conclude_verify(context: Any) -> StepReport:
    ended = StepReport("Scanned.", links=(Link("Harbor", "http://h"),))
    return VerifyImage(task_id="verify_image", deadline=HOUR).conclude(context, ended)


def test_the_image_of_the_commit_is_scanned(world) -> None:
    world.push_image(world.second)
    assert plan_verify(verify(world)) == WorkSpec(
        "platform_ops.systems.harbor.work.ImageScan",
        {"project": "shop", "repository": "web", "digest": world.ours, "harbor_conn_id": "harbor_default"},
    )


def test_a_digest_that_changed_since_the_build_is_refused_before_the_scan(world) -> None:
    world.push_image(world.second)
    with pytest.raises(DigestChanged) as refused:
        plan_verify(verify(world, hint=world.other))
    assert refused.value.facts["digest"] == world.ours


def test_a_missing_image_is_refused_before_the_scan(world) -> None:
    with pytest.raises(ImageMissing):
        plan_verify(verify(world))


def test_a_good_image_is_told_with_what_was_found(world) -> None:
    world.push_image(world.second, severity=Severity.LOW, counts={"Low": 2})
    report = conclude_verify(verify(world))
    assert report.facts == {
        "digest": world.ours,
        "tag": world.second,
        "severity": "Low",
        "allowed": "Medium",
        "counts": {"Low": 2},
        "image_commit": world.second,
        "proof": {},
    }
    assert "found 2 vulnerabilities, worst Low." in report.summary


def test_production_names_the_proof(world) -> None:
    world.push_image(world.second)
    key = leave_proof(world.release("rc"), world.ours)
    report = conclude_verify(verify(world, "prod"))
    assert report.facts["proof"]["key"] == key
    assert report.summary.endswith("found no vulnerabilities. It ran healthy in rc.")


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ({"severity": Severity.HIGH, "counts": {"High": 1}}, ScanAbovePolicy),
        ({"status": ScanStatus.ERROR}, NotScanned),
        ({"commit": "first"}, ForeignImage),
        ({}, Unproven),
    ],
)
def test_an_image_that_must_not_be_released_is_refused(world, image: dict[str, Any], error: type[FailNow]) -> None:
    named = getattr(world, image.pop("commit", "second"))
    world.push_image(world.second, commit=named, **image)
    with pytest.raises(error) as refused:
        conclude_verify(verify(world, "prod"))
    assert refused.value.facts["digest"] == world.ours

"""What GitLab's environment page is told of a release."""

from dataclasses import replace

import pytest

from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.delivery.deployments import begin, left_to_tell, may_have_begun, tell
from platform_ops.delivery.verdicts import Verdict
from platform_ops.systems.gitlab.models import DeploymentState

FAILED = (Verdict.FAILED, Verdict.REFUSED, Verdict.REJECTED, Verdict.EXPIRED)


@pytest.fixture
def pinned(world):
    """A world whose ``dev`` pins ``second``."""
    world.pin("dev", world.second, world.ours)
    return world


def states(world) -> list[str]:
    return [str(one.state) for one in world.deployments]


def close(world, verdict: Verdict, **changes: str) -> None:
    """Tell the end twice: the second time nothing is left."""
    release = world.release(**changes)
    for change in left_to_tell(release, verdict):
        tell(release, change)
    assert left_to_tell(release, verdict) == ()


def test_a_release_begins_once_however_many_tries(world) -> None:
    assert begin(world.release()) == begin(world.release())
    world.gitlab.create_deployment.assert_called_once_with(
        "shop/web", "dev", world.second, ref="dev", state=DeploymentState.RUNNING
    )


@pytest.mark.parametrize("changes", [{"sha": "f" * 40}, {"ours": False}, {"state": "failed"}])
def test_a_release_begins_beside_what_is_not_its_own(world, changes) -> None:
    begin(world.release())
    world.deployments[0] = replace(world.deployments[0], **changes)
    assert begin(world.release()).id == 2


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(Verdict.RELEASED, "success"), (Verdict.SUPERSEDED, "canceled"), *((verdict, "failed") for verdict in FAILED)],
)
def test_a_running_deployment_ends_as_the_release(pinned, verdict: Verdict, state: str) -> None:
    begin(pinned.release())
    close(pinned, verdict)
    assert states(pinned) == [state]


def test_of_two_that_began_at_once_the_older_tells_the_end(pinned) -> None:
    begin(pinned.release())
    pinned.deployments.append(replace(pinned.deployments[0], id=2))
    close(pinned, Verdict.RELEASED)
    assert states(pinned) == ["success", "canceled"]


def test_of_two_services_of_one_project_and_commit_each_ends_its_own(pinned, second_service) -> None:
    begin(pinned.release())
    begin(pinned.release(service="api"))
    assert pinned.environments == ["dev/web", "dev/api"]
    close(pinned, Verdict.FAILED)
    assert states(pinned) == ["failed", "running"]
    close(pinned, Verdict.RELEASED, service="api")
    assert states(pinned) == ["failed", "success"]


def test_what_others_deploy_is_left_alone(pinned) -> None:
    begin(pinned.release(commit=pinned.first))
    close(pinned, Verdict.FAILED)
    assert states(pinned)[0] == "running"


def test_a_release_that_no_longer_stands_is_not_told_as_the_latest(world) -> None:
    begin(world.release())
    world.pin("dev", world.apart, world.other)
    close(world, Verdict.RELEASED)
    assert states(world) == ["canceled"]


def test_a_success_that_gitlab_was_too_busy_to_hear_of_is_made_up_for(pinned) -> None:
    close(pinned, Verdict.RELEASED)
    assert states(pinned) == ["success"]


def test_a_success_that_only_a_job_of_gitlab_ci_recorded_is_made_up_for(pinned) -> None:
    begin(pinned.release())
    pinned.deployments[0] = replace(pinned.deployments[0], ours=False, state="success")
    close(pinned, Verdict.RELEASED)
    assert [(one.ours, str(one.state)) for one in pinned.deployments] == [(False, "success"), (True, "success")]


def test_what_has_been_told_is_found_without_git(pinned) -> None:
    close(pinned, Verdict.RELEASED)
    pinned.git.reset_mock()
    assert left_to_tell(pinned.release(), Verdict.RELEASED) == ()
    pinned.git.repository.assert_not_called()


def test_the_same_release_again_is_no_deployment(pinned) -> None:
    close(pinned, Verdict.RELEASED)
    close(pinned, Verdict.RELEASED)
    assert states(pinned) == ["success"]


def test_a_release_that_failed_first_is_told_once_it_went_well(pinned) -> None:
    begin(pinned.release())
    close(pinned, Verdict.FAILED)
    close(pinned, Verdict.RELEASED)
    assert states(pinned) == ["failed", "success"]


def test_going_back_to_an_older_commit_is_told(pinned) -> None:
    close(pinned, Verdict.RELEASED)
    pinned.pin("dev", pinned.first, pinned.other)
    close(pinned, Verdict.RELEASED, commit=pinned.first)
    pinned.pin("dev", pinned.second, pinned.ours)
    close(pinned, Verdict.RELEASED)
    assert [one.sha for one in pinned.deployments] == [pinned.second, pinned.first, pinned.second]


def test_a_failure_that_gitlab_was_too_busy_to_hear_of_is_made_up_for_once(pinned) -> None:
    close(pinned, Verdict.FAILED)
    assert states(pinned) == ["failed"]


@pytest.mark.parametrize("verdict", [*FAILED, Verdict.RELEASED, Verdict.SUPERSEDED])
def test_nothing_is_made_up_for_a_commit_that_is_not_pinned(world, verdict: Verdict) -> None:
    close(world, verdict)
    assert states(world) == []


@pytest.mark.parametrize(
    ("state", "report", "begun"),
    [
        ("success", {}, True),
        ("failed", None, True),
        ("skipped", {"outcome": "superseded"}, True),
        ("skipped", None, False),
        ("upstream_failed", None, False),
    ],
)
def test_a_run_may_have_begun_once_it_came_to_the_push(state: str, report, begun: bool) -> None:
    task = TaskRecord("pin_image", state, None, None, 1, report)
    run = RunRecord("release_service", "r1", "failed", None, None, None, None, {}, (task,))
    assert may_have_begun(run) is begun
    assert not may_have_begun(replace(run, tasks=()))

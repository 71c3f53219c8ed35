"""Closing a run that ended without its last steps: what is open, and that it is closed once."""

import json
from dataclasses import replace
from typing import Any

import pytest

from platform_ops.common.errors import Busy, PlatformError, Unreachable
from platform_ops.common.records import RunRecord
from platform_ops.common.report import StepReport
from platform_ops.delivery import closing
from platform_ops.delivery.deployments import begin
from platform_ops.evidence.document import sha256
from platform_ops.systems.gitlab.errors import CommitNotFound, ProjectNotFound
from platform_ops.systems.gitlab.models import CommitStatus

KEY = "runs/release_service/r1/1.json"
LOST = "Airflow ended the run as failed without its last steps"
ELSEWHERE = "http://airflow/another/run"


@pytest.fixture
def gitlab(world):
    """A GitLab that keeps the newest status, as a dictionary."""
    shown: dict[str, Any] = {}

    def statuses(*_: Any) -> tuple[CommitStatus, ...]:
        return (CommitStatus(**shown),) if shown else ()

    def set_status(_project: str, _sha: str, **status: Any) -> None:
        shown.update(status | {"state": str(status["state"])})

    world.gitlab.statuses.side_effect = statuses
    world.gitlab.set_status.side_effect = set_status
    world.argocd.application.side_effect = world.kubernetes.rollout.side_effect = Unreachable("Gone.")
    return shown


@pytest.fixture
def lost(world, gitlab) -> RunRecord:
    """A run that pushed, failed and was ended: its status and its deployment go on."""
    world.push_image(world.second)
    world.pin("dev", world.second, world.ours)
    begin(world.release())
    gitlab.update(name="release/dev", state="running", ref="dev", target_url=world.release().page, description="")
    return ended(world)


def is_closed(world, run: RunRecord) -> bool:
    """Ask without the steps' reports, as a sweep does first."""

    def with_tasks(runs: list[RunRecord], names: tuple[str, ...]) -> list[RunRecord]:
        tasks = [replace(task, report=None) for task in run.tasks if task.task_id in names]
        return [replace(one, tasks=tuple(reversed(tasks))) for one in runs]

    world.airflow.with_tasks.side_effect = with_tasks
    return closing.is_closed(world.airflow, replace(run, tasks=()))


def ended(world, **steps: StepReport | None) -> RunRecord:
    told: dict[str, StepReport | None] = {
        "resolve_commit": StepReport("Found.", facts={"commit": world.second, "announced": True}),
        "verify_image": StepReport("Fine.", facts={"digest": world.ours}),
        "pin_image": StepReport("Pushed."),
        "verify_running": StepReport("Never ready.", "failed", error="NeverReady"),
    }
    world.ran(**(told | steps))
    return replace(world.airflow.run("release_service", "r1"), state="failed")


def close(run: RunRecord) -> None:
    closing.report(run, closing.record(run, late=f"{LOST}.").facts, late=LOST)


def test_everything_is_open_until_it_is_closed(world, gitlab, lost: RunRecord) -> None:
    assert closing.open_ends(lost) == ("evidence", "status", "deployment")
    assert (list(world.objects), gitlab["state"]) == ([], "running"), "looking closes nothing"
    close(lost)
    assert closing.open_ends(lost) == ()
    document = json.loads(world.objects[KEY])
    assert (document["verdict"], document["late"]) == ("failed", f"{LOST}.")
    assert gitlab["state"] == "failed"
    assert gitlab["description"].startswith("failed · evidence sha256 ")
    assert gitlab["description"].endswith(f" · {LOST} · Never ready.")
    assert [one.state for one in world.deployments] == ["failed"]


def test_closing_again_changes_nothing(world, lost: RunRecord) -> None:
    close(lost)
    stored, calls = dict(world.objects), world.gitlab.set_status.call_count
    close(lost)
    assert world.objects == stored
    assert world.gitlab.set_status.call_count == calls
    assert [one.state for one in world.deployments] == ["failed"]


def test_a_status_that_ended_without_evidence_is_told_anew(world, gitlab, lost: RunRecord) -> None:
    closing.report(lost, {})
    assert gitlab["description"] == "failed · no evidence could be stored · Never ready."
    assert closing.open_ends(lost) == ("evidence", "status")
    close(lost)
    assert "evidence sha256" in gitlab["description"]


@pytest.mark.parametrize("state", ["running", "success"])
def test_what_a_newer_run_has_taken_over_is_not_overwritten(world, gitlab, lost: RunRecord, state: str) -> None:
    gitlab.update(target_url=ELSEWHERE, state=state)
    close(lost)
    assert (gitlab["target_url"], gitlab["state"]) == (ELSEWHERE, state)
    assert closing.open_ends(lost) == ()


def test_nor_by_a_run_that_gitlab_never_heard_of(world, gitlab, lost: RunRecord) -> None:
    gitlab.update(target_url=ELSEWHERE, state="success")
    resolved = {"commit": world.second, "announced": True, "untold": "GitLab was busy."}
    close(ended(world, resolve_commit=StepReport("Found.", facts=resolved)))
    assert gitlab["target_url"] == ELSEWHERE


def test_a_run_that_never_meant_anything_has_only_evidence_to_close(world, gitlab) -> None:
    world.context(service="../x", commit="")
    run = ended(world, resolve_commit=StepReport("No such thing.", "refused", error="BadRequest"))
    assert closing.open_ends(run) == ("evidence",)
    close(run)
    assert closing.open_ends(run) == ()
    world.gitlab.statuses.assert_not_called()


GOES_ON = {"target_url": ELSEWHERE, "state": "running"}


def test_the_deployment_of_another_run_of_the_commit_goes_on_with_it(world, gitlab, lost: RunRecord) -> None:
    gitlab.update(GOES_ON)
    close(lost)
    assert [one.state for one in world.deployments] == ["running"]
    gitlab["state"] = "failed"
    close(lost)
    assert [one.state for one in world.deployments] == ["failed"], "nobody else will end it"


def test_a_run_that_announced_itself_meanwhile_is_not_overwritten(world, gitlab, lost: RunRecord) -> None:
    deployments = world.gitlab.deployments.side_effect

    def announced_meanwhile(*asked: Any) -> Any:
        gitlab.update(GOES_ON)
        return deployments(*asked)

    world.gitlab.deployments.side_effect = announced_meanwhile
    close(lost)
    assert gitlab | GOES_ON == gitlab
    world.gitlab.set_status.assert_not_called()


RELEASED = {"verify_running": StepReport("Healthy.")}


def test_what_the_systems_hold_at_the_sweep_is_kept_and_compared_with_nothing(world, lost: RunRecord) -> None:
    world.pin("dev", world.apart, world.other)
    run = ended(world, **RELEASED)
    silent = len(closing.record(run, late=LOST).facts["differences"])
    document = json.loads(world.objects[KEY])
    assert (document["verdict"], document["observed"]["gitops"]) == ("released", world.other)
    assert not any("not " + world.ours in sentence for sentence in document["differences"])
    assert silent == 2, "who did not answer is told"


def test_the_status_counts_the_differences_that_the_runs_page_shows(world, gitlab, lost: RunRecord) -> None:
    differ = {"sha256": "e" * 64, "differences": ["GitOps holds nothing."]}
    run = ended(world, **RELEASED, record_evidence=StepReport("Stored.", facts=differ))
    closing.report(run, differ, late=LOST)
    assert "1 differences, see the page" in gitlab["description"]
    closing.report(run, differ | {"sha256": "f" * 64}, late=LOST)
    assert "see the page" not in gitlab["description"]


@pytest.mark.parametrize("missing", [CommitNotFound("No such commit."), ProjectNotFound("No such project.")])
@pytest.mark.parametrize("late", ["", LOST])
def test_nothing_is_open_at_a_gitlab_that_knows_no_such_commit(world, gitlab, missing: Exception, late: str) -> None:
    world.gitlab.statuses.side_effect = missing
    world.context()
    world.ran(resolve_commit=StepReport("No such commit.", "failed", error="CommitNotFound"))
    run = replace(world.airflow.run("release_service", "r1"), state="failed")
    told = closing.report(run, closing.record(run, late=late).facts, late=late)
    assert told.outcome == "not needed"
    assert closing.open_ends(run) == ()


def test_a_commit_that_went_away_after_it_was_announced_is_an_error(world, lost: RunRecord) -> None:
    world.gitlab.statuses.side_effect = CommitNotFound("No such commit.")
    with pytest.raises(CommitNotFound):
        closing.open_ends(lost)


def test_a_closed_run_costs_few_calls_and_no_report(world, gitlab, lost: RunRecord) -> None:
    assert not is_closed(world, lost)
    close(lost)
    for hook in (world.airflow, world.gitlab, world.store, world.git, world.harbor):
        hook.reset_mock()
    assert is_closed(world, lost)
    called = [call[0] for hook in (world.airflow, world.gitlab) for call in hook.method_calls]
    assert called == ["with_tasks", "statuses", "deployments", "deployments"]
    assert [call[0] for call in world.store.method_calls] == ["keys", "read", "url"]
    assert not world.git.method_calls
    assert not world.harbor.method_calls


@pytest.mark.parametrize("change", [{"try_number": 2}, {"state": "success"}])
def test_another_end_of_a_closed_run_is_read_in_full(world, lost: RunRecord, change: dict[str, Any]) -> None:
    close(lost)
    assert not is_closed(world, replace(lost, tasks=(*lost.tasks[:-1], replace(lost.tasks[-1], **change))))


def test_a_run_whose_deployment_could_not_be_ended_is_not_closed(world, gitlab, lost: RunRecord) -> None:
    ends = world.gitlab.set_deployment.side_effect
    world.gitlab.set_deployment.side_effect = Busy("Busy.")
    with pytest.raises(Busy):
        close(lost)
    assert sha256(json.loads(world.objects[KEY])) in gitlab["description"]
    assert not is_closed(world, lost)
    world.gitlab.set_deployment.side_effect = ends
    close(lost)
    assert is_closed(world, lost)


def test_a_run_without_steps_is_not_taken_as_closed(world, lost: RunRecord) -> None:
    run = replace(lost, tasks=())
    closing.record(run, late=LOST)
    assert not is_closed(world, run)


class Cleared(PlatformError):
    """The run goes on since somebody cleared it."""


@pytest.mark.parametrize(
    ("looks", "left"),
    [
        (0, ("evidence", "status", "deployment")),
        (1, ("status", "deployment")),
        (2, ("deployment",)),
    ],
)
def test_whoever_closes_a_run_looks_again_before_each_change(
    world, lost: RunRecord, looks: int, left: tuple[str, ...]
) -> None:
    def check() -> None:
        nonlocal looks
        looks -= 1
        if looks < 0:
            raise Cleared("It goes on.")

    with pytest.raises(Cleared):
        closing.report(lost, closing.record(lost, LOST, check).facts, LOST, check)
    assert closing.open_ends(lost) == left

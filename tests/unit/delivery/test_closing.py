"""Closing a run that ended without its last steps: what is open, and that it is closed once."""

import json
from dataclasses import replace
from typing import Any

import pytest

from platform_ops.common.errors import Unreachable
from platform_ops.common.records import RunRecord
from platform_ops.common.report import StepReport
from platform_ops.delivery import closing
from platform_ops.delivery.deployments import begin
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

"""What a run's parameters mean."""

from unittest.mock import create_autospec

import pytest

from platform_ops.common.documents import BadDocument
from platform_ops.common.report import reported
from platform_ops.delivery.pins import Pin
from platform_ops.delivery.release import BadRequest, Release, UnknownParameter, check_parameters
from platform_ops.delivery.services import services_by_project


def test_the_parameters_become_a_release(world) -> None:
    release = world.release("prod", reason="Because.")
    assert (release.service.name, release.environment, release.commit) == ("web", "prod", world.second)
    assert (release.reason, release.started_by, release.run_id) == ("Because.", "oscar", "r1")
    assert release.branch == "master"
    assert release.target.application == "web-prod"
    assert release.status_name == "release/prod"
    assert release.pin_file == "apps/web/prod/kustomization.yaml"
    assert release.page.endswith("/platform-ops/runs/release_service/r1")


def test_services_of_one_project_have_each_their_own_status_and_environment(world, second_service) -> None:
    assert world.release("prod").status_name == "release/prod/web"
    assert world.release("prod", service="api").status_name == "release/prod/api"
    assert world.release("prod", service="api").gitlab_environment == "prod/api"


def test_the_catalogue_is_read_once_for_the_names(world, monkeypatch: pytest.MonkeyPatch) -> None:
    read = create_autospec(services_by_project, side_effect=services_by_project)
    monkeypatch.setattr("platform_ops.delivery.release.services_by_project", read)
    release = world.release()
    assert (release.status_name, release.gitlab_environment, release.status_name) == (
        "release/dev",
        "dev",
        "release/dev",
    )
    read.assert_called_once_with("shop/web")


def test_without_a_commit_the_one_that_was_resolved_counts(world) -> None:
    assert world.release(commit="").commit == ""
    assert world.release(commit="", reports={"resolve_commit": {"commit": world.first}}).commit == world.first


def test_the_named_commit_wins_over_what_a_step_reported(world) -> None:
    assert world.release(reports={"resolve_commit": {"commit": world.first}}).commit == world.second


@pytest.mark.parametrize("environment", ["production", "", "Prod"])
def test_an_unknown_environment_is_refused_with_those_that_exist(world, environment: str) -> None:
    with pytest.raises(BadRequest, match="knows dev, rc, prod"):
        world.release(environment)


@pytest.mark.parametrize("commit", ["abc1234", "A" * 40, "a" * 41, "--upload-pack=x", "a" * 39 + "\n", "a" * 40 + "\n"])
def test_only_a_full_hash_names_a_commit(world, commit: str) -> None:
    with pytest.raises(BadRequest, match="not a full commit hash"):
        world.release(commit=commit)


@pytest.mark.parametrize("service", ["nothing", "../identities", ""])
def test_a_service_outside_the_catalogue_is_refused(world, service: str) -> None:
    with pytest.raises(BadDocument):
        world.release(service=service)


def test_an_attempt_outlives_airflows_retries_and_ends_with_a_clear(world) -> None:
    context = world.context()
    context["ti"].try_number = 1
    before = Release.of(context).attempt
    context["ti"].try_number = 2
    assert Release.of(context).attempt == before
    context["ti"].max_tries += 4
    assert Release.of(context).attempt != before


def test_what_is_pinned_is_read_from_the_branch_of_now(world) -> None:
    release = world.release("rc")
    assert release.pinned()[0] is None
    world.pin("rc", world.first, world.other)
    pin, text = release.pinned()
    assert pin == Pin(world.other, world.first)
    assert world.other in text


@pytest.mark.parametrize("facts", [None, "x", ["x"]])
def test_a_hint_that_is_no_report_says_nothing(world, facts: object) -> None:
    assert reported(world.context(reports={"pin_image": facts}), "pin_image") == {}
    assert reported(world.context(), "pin_image") == {}


@pytest.mark.parametrize("conf", [None, {}, {"service": "web", "environment": "dev", "commit": "", "reason": ""}])
def test_parameters_that_exist_are_fine(conf: dict[str, str] | None) -> None:
    check_parameters(conf)


def test_what_is_no_parameter_is_refused_by_name() -> None:
    with pytest.raises(UnknownParameter, match="no parameter dry_run, force; it knows commit, environment"):
        check_parameters({"service": "web", "force": True, "dry_run": True})

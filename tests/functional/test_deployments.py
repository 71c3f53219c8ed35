"""GitLab's environment page beside what really happens."""

import time

import httpx

from tests.functional.world import World

SECONDS = 120.0


def first_deployment(world: World, service: str, environment: str) -> list[tuple[str, str]]:
    """Wait until GitLab shows a deployment, and return what it shows then."""
    deadline = time.monotonic() + SECONDS
    while not (found := world.deployments(service, environment)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_a_failing_release_is_a_failed_deployment_and_the_next_one_a_success(world: World) -> None:
    path = "apps/deploys/dev/deployment.yaml"
    labels = "      labels:\n        app: deploys\n"
    never = f"{labels}        simulate: never-ready\n"
    world.edit_gitops(path, labels, never)
    world.edit_gitops(path, "progressDeadlineSeconds: 60", "progressDeadlineSeconds: 5")
    red = world.push("deploys", "dev", title="Never ready")
    assert first_deployment(world, "deploys", "dev") == [(red, "running")]
    assert world.released("deploys", "dev", red) == "failed"
    assert world.deployments("deploys", "dev") == [(red, "failed")]

    world.edit_gitops(path, never, labels)
    green = world.push("deploys", "dev", title="Ready again")
    assert world.released("deploys", "dev", green) == "released"
    assert world.deployments("deploys", "dev") == [(red, "failed"), (green, "success")]
    assert world.deployed("deploys", "dev") == green

    run = world.run_id("deploys", "dev", green)
    assert world.facts(run, "report_release")["deployment"] == "success"
    (page,) = [one["url"] for one in world.admin.report(run, "pin_image")["links"] if "environment" in one["title"]]
    assert green[:8] in httpx.get(page, trust_env=False).text
    assert page in world.page(run)

    again = world.start("deploys", "dev", green)
    world.admin.wait(again)
    assert world.verdict(again) == "released"
    assert len(world.deployments("deploys", "dev")) == 2

"""GitLab's environment page beside what really happens."""

import httpx

from tests.functional.world import World

SERVICES: dict[str, dict[str, str]] = {"deploys": {}}


def test_a_failing_release_is_a_failed_deployment_and_the_next_one_a_success(world: World) -> None:
    world.never_ready("deploys")
    red = world.push("deploys", "dev", title="Never ready")
    assert world.first_deployment("deploys", "dev") == [(red, "running")]
    assert world.released("deploys", "dev", red) == "failed"
    assert world.deployments("deploys", "dev") == [(red, "failed")]

    world.edit_gitops("apps/deploys/dev/deployment.yaml", "        simulate: never-ready\n", "")
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

"""The story of a release, and what it leaves in every system."""

import pytest

from sandbox.merge import merge
from tests.functional.world import World

SYSTEMS = ("object_store",)
"""Whose real servers this is run against too."""

SERVICES = {"twin-a": {}, "twin-b": {}, "hasty": {}}


@pytest.fixture(scope="module")
def story(world: World) -> dict[str, str]:
    """One commit from a push to dev, by merges, to production."""
    builds = world.effects("JENKINS").get("builds", 0)
    dev = world.push("storefront", "dev", title="Sort by price")
    assert world.released("storefront", "dev", dev) == "released"
    rc = merge(world.environment, "shop/storefront", "dev", "rc")
    assert world.released("storefront", "rc", rc) == "released"
    prod = merge(world.environment, "shop/storefront", "rc", "master")
    run = world.start("storefront", "prod", prod)
    world.admin.wait(run, until=("awaiting_input",))
    # A release that waits is no deployment yet.
    assert world.deployments("storefront", "prod") == []
    before = world.pin_file("storefront", "prod")
    strangers = {role: world.runs(role).answer(run, "Approve").status_code for role in ("OPERATOR", "ADMIN", "VIEWER")}
    assert set(strangers.values()) == {403}
    assert world.pin_file("storefront", "prod") == before
    assert world.runs("APPROVER").answer(run, "Approve").status_code == 200
    world.admin.wait(run)
    assert world.verdict(run) == "released"
    built = world.effects("JENKINS").get("builds", 0) - builds
    return {"dev": dev, "rc": rc, "prod": prod, "run": run, "builds": str(built)}


def test_the_same_digest_runs_everywhere_and_was_built_once(world: World, story: dict[str, str]) -> None:
    runs = [world.run_id("storefront", name, story[name]) for name in ("dev", "rc")] + [story["run"]]
    digests = {world.facts(run, "verify_running")["digest"] for run in runs}
    assert len(digests) == 1
    assert story["builds"] == "1"
    digest = digests.pop()
    assert all(digest in world.pin_file("storefront", name) for name in ("dev", "rc", "prod"))


def test_gitlab_shows_the_end_with_the_hash_of_the_evidence(world: World, story: dict[str, str]) -> None:
    state, description = world.status("storefront", story["prod"], "prod")
    sha256 = world.facts(story["run"], "record_evidence")["sha256"]
    assert (state, description) == ("success", f"released · evidence sha256 {sha256}")


def test_gitlab_shows_one_deployment_for_each_environment(world: World, story: dict[str, str]) -> None:
    for environment in ("dev", "rc", "prod"):
        assert world.deployments("storefront", environment) == [(story[environment], "success")]
        assert world.deployed("storefront", environment) == story[environment]


def test_the_evidence_tells_the_whole_story(world: World, story: dict[str, str]) -> None:
    document = world.evidence(story["run"])
    assert document["verdict"] == "released"
    assert document["differences"] == []
    assert document["started_by"] == "oscar"
    digest = document["subject"]["digest"]
    assert document["observed"] | {"argocd_revision": ""} == {
        "harbor": digest, "gitops": digest, "pods": [digest], "argocd_revision": "",
    }  # fmt: skip
    assert [step["step"] for step in document["steps"]] == [
        "resolve_commit", "build_image", "verify_image", "approve_release", "confirm_release", "judge_approval",
        "pin_image", "sync_application", "verify_running",
    ]  # fmt: skip


def test_every_task_has_a_button_that_opens_what_it_touched(world: World, story: dict[str, str]) -> None:
    opened = {
        task: world.admin.api.get(f"{world.admin.path(story['run'])}/taskInstances/{task}/links").json()["extra_links"]
        for task in world.admin.tasks(story["run"])
    }
    assert {task for task, links in opened.items() if not any((links or {}).values())} == set()


def test_the_gitops_commit_says_what_and_who(world: World, story: dict[str, str]) -> None:
    message = world.gitops_log("storefront", "prod").partition("Release storefront")[2]
    assert f"Source-Commit: {story['prod']}" in message
    assert f"Run: {story['run']}" in message
    assert "Approved-By: paula" in message


def test_the_same_again_changes_nothing(world: World, story: dict[str, str]) -> None:
    log = world.gitops_log("storefront", "prod")
    run = world.start("storefront", "prod", story["prod"])
    world.admin.wait(run)
    assert world.verdict(run) == "released"
    outcomes = {name: world.admin.report(run, name)["outcome"] for name in ("build_image", "pin_image")}
    assert outcomes == {"build_image": "not needed", "pin_image": "not needed"}
    assert world.gitops_log("storefront", "prod") == log


def test_an_older_commit_is_superseded(world: World, story: dict[str, str]) -> None:
    run = world.start("storefront", "rc", story["dev"])
    world.admin.wait(run)
    assert world.verdict(run) == "superseded"
    assert world.status("storefront", story["dev"], "rc")[0] == "canceled"


def test_a_manual_application_is_synced_at_our_revision(world: World) -> None:
    commit = world.push("notifier", "dev", title="First release")
    assert world.released("notifier", "dev", commit) == "released"
    run = world.run_id("notifier", "dev", commit)
    synced = world.facts(run, "sync_application")
    assert synced["automated"] is False
    assert synced["revision"] == world.facts(run, "pin_image")["revision"]


def test_two_services_pushed_at_once_and_one_commit_pushed_to_two_branches(world: World) -> None:
    one = world.push("twin-a", "dev", "rc", title="To both branches")
    other = world.push("twin-b", "dev", title="At the same moment")
    runs = [("twin-a", "dev", one), ("twin-a", "rc", one), ("twin-b", "dev", other)]
    assert [world.released(*run) for run in runs] == ["released"] * 3
    first, second, _ = (world.facts(world.run_id(*run), "verify_running")["digest"] for run in runs)
    assert first == second


def test_a_newer_commit_stands_when_both_are_pushed(world: World) -> None:
    older = world.push("hasty", "dev", title="Older")
    newer = world.push("hasty", "dev", title="Newer")
    assert world.released("hasty", "dev", newer) == "released"
    assert world.released("hasty", "dev", older) in ("released", "superseded")
    assert newer in world.pin_file("hasty", "dev")


def test_a_push_to_master_starts_nothing(world: World, story: dict[str, str]) -> None:
    listed = world.admin.api.get("/api/v2/dags/release_service/dagRuns", params={"limit": 100}).json()["dag_runs"]
    started = [run for run in listed if run["conf"].get("commit") == story["prod"]]
    assert {run["triggering_user_name"] for run in started} == {"oscar"}

"""Each step made to fail by the state of a system: the run is red, its evidence complete, GitLab told."""

import pytest

from tests.functional.world import World, stopped

SERVICES = {
    "wrong-token": {},
    "no-jenkins": {},
    "no-harbor": {},
    "bad-manifest": {},
    "no-cluster": {},
    "no-evidence": {},
}


def red(world: World, service: str, commit: str, step: str, *, error: str = "") -> None:
    """Require a run that failed in a step, with complete evidence, and GitLab told."""
    run = world.run_id(service, "dev", commit)
    assert world.admin.state(run) == "failed"
    assert world.admin.tasks(run)[step]["state"] == "failed"
    document = world.evidence(run)
    assert document["verdict"] in ("failed", "refused")
    failed = next(one for one in document["steps"] if one["step"] == step)
    assert failed["summary"]
    assert error in (failed["error"] or "")
    assert world.status(service, commit, "dev")[0] == "failed"


def test_a_wrong_token_for_gitops(world: World) -> None:
    path = "/api/v2/connections/gitops_default"
    token = world.environment["GITLAB_RELEASE_TOKEN"]
    fields = {"connection_id": "gitops_default", "conn_type": "git"}
    mask = {"update_mask": "password"}
    assert world.admin.api.patch(path, params=mask, json=fields | {"password": "wrong-token"}).status_code == 200
    try:
        commit = world.push("wrong-token", "dev", title="With a wrong token")
        world.admin.wait(world.run_id("wrong-token", "dev", commit))
    finally:
        assert world.admin.api.patch(path, params=mask, json=fields | {"password": token}).status_code == 200
    red(world, "wrong-token", commit, "resolve_commit", error="AuthenticationFailed")


@pytest.mark.parametrize("system", ["jenkins", "harbor"])
def test_a_system_that_the_image_needs_is_down(world: World, system: str) -> None:
    service = f"no-{system}"
    with stopped(world, system):
        commit = world.push(service, "dev", title=f"Without {system}")
        world.admin.wait(world.run_id(service, "dev", commit))
    red(world, service, commit, "build_image", error="Unreachable")


def test_a_bad_manifest(world: World) -> None:
    world.edit_gitops("apps/bad-manifest/dev/deployment.yaml", "kind: Deployment", "kind: [Deployment")
    commit = world.push("bad-manifest", "dev", title="With a bad manifest")
    world.admin.wait(world.run_id("bad-manifest", "dev", commit))
    red(world, "bad-manifest", commit, "sync_application", error="SyncFailed")


def test_the_cluster_is_down(world: World) -> None:
    with stopped(world, "kubernetes_dev"):
        commit = world.push("no-cluster", "dev", title="Without a cluster")
        world.admin.wait(world.run_id("no-cluster", "dev", commit))
    # Argo CD meets the dead cluster first.
    red(world, "no-cluster", commit, "sync_application")


def test_evidence_that_can_not_be_stored_is_told(world: World) -> None:
    with stopped(world, "object_store"):
        commit = world.push("no-evidence", "dev", title="Without evidence")
        run = world.run_id("no-evidence", "dev", commit)
        world.admin.wait(run)
    assert world.admin.tasks(run)["record_evidence"]["state"] == "failed"
    state, description = world.status("no-evidence", commit, "dev")
    assert state == "success"
    assert "no evidence could be stored" in description

"""What each account of the Argo CD stand-in may do, and is told it may do."""

import pytest

from tests.unit.sandbox.test_argocd import APPLICATIONS, World

RELEASES = {"Authorization": "Bearer releases-token"}


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.seed()
    return world


def test_the_account_of_the_releases_may_get_and_sync_and_is_told_so(world):
    revision = world.push()
    world.create()
    world.run()

    def may(action, resource="applications", **headers):
        return world.api.get(f"/api/v1/account/can-i/{resource}/{action}/default/web", headers=headers).json()

    assert world.api.get("/api/v1/session/userinfo", headers=RELEASES).json()["username"] == "releases"
    for action, allowed in (("get", "yes"), ("sync", "yes"), ("delete", "no"), ("override", "no")):
        assert may(action, **RELEASES) == {"value": allowed}
        assert may(action) == {"value": "yes"}
    assert may("dance")["code"] == may("get", "trousers")["code"] == 3
    assert world.api.get(f"{APPLICATIONS}/web", headers=RELEASES).status_code == 200
    assert world.api.post(f"{APPLICATIONS}/web/sync", json={"revision": revision}, headers=RELEASES).status_code == 200
    for method, path in (("DELETE", f"{APPLICATIONS}/web"), ("POST", APPLICATIONS), ("POST", "/api/v1/clusters")):
        answer = world.api.request(method, path, headers=RELEASES)
        assert (answer.status_code, answer.json()["message"]) == (403, "permission denied")

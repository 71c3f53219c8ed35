"""Environments and deployments of the GitLab stand-in: words, codes and states as GitLab's."""

from __future__ import annotations

import pytest

from tests.unit.sandbox.gitlab_world import PROJECT, RAVI, client, receiver, sha, work

__all__ = ["client", "receiver", "sha", "work"]


@pytest.fixture
def make(client, sha):
    def make(status="running", **other):
        body = {"environment": "dev", "sha": sha, "ref": "dev", "tag": False, "status": status} | other
        answer = client.post(f"{PROJECT}/deployments", json=body)
        return answer.status_code, answer.json()

    return make


@pytest.fixture
def put(client):
    def put(number, status):
        answer = client.put(f"{PROJECT}/deployments/{number}", json={"status": status})
        return answer.status_code, answer.json()

    return put


def effects(client):
    return client.get("/_sandbox/state").json()["effects"]


def test_a_deployment_makes_its_environment_once(client, make, sha):
    assert client.get(f"{PROJECT}/environments").json() == []
    status, row = make()
    assert status == 201
    assert (row["sha"], row["ref"], row["status"], row["deployable"]) == (sha, "dev", "running", None)
    assert (row["user"]["username"], row["environment"]["name"]) == ("platform-bot", "dev")
    assert make()[1]["id"] != row["id"], "two running ones are two"
    (environment,) = client.get(f"{PROJECT}/environments?name=dev").json()
    assert environment["id"] == row["environment"]["id"]
    assert client.get(f"{PROJECT}/environments?name=rc").json() == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"sha": "f" * 40}, {"message": {"sha": ["The commit does not exist"]}}),
        ({"ref": "nope"}, {"message": {"ref": ["The branch or tag does not exist"]}}),
        ({"status": "blocked"}, {"error": "status does not have a valid value"}),
        ({"sha": None}, {"error": "sha is missing"}),
    ],
)
def test_what_can_not_be_deployed(client, make, other, said):
    assert make(**other) == (400, said)
    assert client.get(f"{PROJECT}/deployments").json() == []


def test_an_end_is_left_only_for_another_end(make, put):
    number = make()[1]["id"]
    assert put(number, "running") == (400, {"message": {"status": ['cannot transition via "run"']}})
    assert put(number, "failed")[1]["status"] == "failed"
    assert put(number, "failed") == (400, {"message": {"status": ['cannot transition via "drop"']}})
    assert put(number, "running")[0] == 400
    assert put(number, "success")[1]["status"] == "success"
    assert put(99, "success") == (404, {"message": "404 Not found"})


def test_a_success_equal_to_the_last_is_the_last(client, make, work):
    first = make("success")[1]
    assert make("success")[1]["id"] == first["id"]
    assert make("failed")[1]["id"] != make("failed")[1]["id"]
    other = work.commit("dev", {"a": "2"})
    assert make("success", sha=other)[1]["id"] != first["id"]
    assert make("success")[1]["id"] != first["id"], "no longer the last"
    assert effects(client)["deployments"] == 5


def test_what_ended_last_counts_as_deployed(client, make, put, work):
    older = make()[1]
    newer = make(sha=work.commit("dev", {"a": "2"}))[1]
    put(newer["id"], "success")
    address = f"{PROJECT}/environments/{older['environment']['id']}"
    assert client.get(address).json()["last_deployment"]["id"] == newer["id"]
    put(older["id"], "success")
    assert client.get(address).json()["last_deployment"]["id"] == older["id"]
    assert effects(client)["deployments ended"] == 2
    assert client.get(f"{PROJECT}/environments/99").status_code == 404


def test_deployments_are_listed_by_environment_and_state(client, make, put):
    first, second = make()[1]["id"], make()[1]["id"]
    elsewhere = make(environment="rc")[1]["id"]
    put(first, "failed")

    def listed(query=""):
        return [row["id"] for row in client.get(f"{PROJECT}/deployments{query}").json()]

    assert listed() == [first, second, elsewhere]
    assert listed("?sort=desc&per_page=2") == [elsewhere, second]
    assert listed("?environment=dev&status=running") == [second]
    assert listed("?environment=prod") == []
    refused = client.get(f"{PROJECT}/deployments?status=done")
    assert (refused.status_code, refused.json()) == (400, {"error": "status does not have a valid value"})


def test_the_page_behind_our_link(client, make, sha):
    number = make("success")[1]["environment"]["id"]
    page = client.get(f"/shop/storefront/-/environments/{number}")
    assert page.status_code == 200
    assert f"{sha[:8]}</a> success · latest" in page.text
    assert client.get("/shop/storefront/-/environments/99").status_code == 404


def test_everything_is_still_there_after_a_restart(client, make, tmp_path):
    from sandbox.stand_ins import gitlab
    from tests.unit.sandbox.gitlab_world import ENVIRONMENT, TestClient

    made = make()[1]
    again = TestClient(gitlab.create_app(ENVIRONMENT, tmp_path / "gitlab"), headers=client.headers)
    assert again.get(f"{PROJECT}/deployments/{made['id']}").json() == made
    assert again.get(f"{PROJECT}/deployments/{made['id']}", headers={"PRIVATE-TOKEN": "", **RAVI}).status_code == 200

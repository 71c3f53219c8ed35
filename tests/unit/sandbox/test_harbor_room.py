"""The Harbor room against the stand-in."""

import json
from urllib.parse import quote

import pytest

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.systems.harbor.errors import ProjectMissing, ScanFailed
from platform_ops.systems.harbor.hook import HarborHook
from platform_ops.systems.harbor.models import ScanStatus, Severity
from platform_ops.systems.harbor.work import ImageScan
from tests.unit.sandbox.harbor_world import (
    COMMIT,
    GONE,
    PASSWORD,
    RELEASE_PASSWORD,
    RELEASE_USER,
    URL,
    USER,
    WEB,
    with_project,
)


@pytest.fixture
def harbor(tmp_path):
    return with_project(tmp_path / "harbor")


@pytest.fixture
def hook(harbor, monkeypatch):
    fields = {
        "conn_type": "harbor", "host": URL, "login": USER, "password": PASSWORD,
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_HARBOR_DEFAULT", json.dumps(fields))
    return HarborHook(inner=harbor.stranger._transport)


def test_the_room_reads_what_was_pushed(harbor, hook):
    digest = harbor.push("one", "oldyaml==5.3", labels={"org.opencontainers.image.revision": COMMIT})
    harbor.now += 1
    artifact = hook.artifact("shop", "web", "one")
    assert artifact.digest == digest
    assert artifact.labels == {"org.opencontainers.image.revision": COMMIT}
    assert (artifact.scan.status, artifact.scan.severity) == (ScanStatus.SUCCESS, Severity.HIGH)
    page = harbor.stranger.get(artifact.url)
    assert page.status_code == 200
    assert digest in page.text
    assert "oldyaml" in page.text
    assert hook.artifact("shop", "web", "two") is None
    assert hook.artifact("shop", "nothing", GONE) is None
    with pytest.raises(ProjectMissing, match="no project nope"):
        hook.artifact("nope", "web", "one")


def test_the_room_reaches_nested_repositories_and_their_pages(harbor, hook):
    digest = harbor.push("one", repository="shop/team/web")
    artifact = hook.artifact("shop", "team/web", "one")
    assert artifact.digest == digest
    assert quote("team/web", safe="") in artifact.url
    assert harbor.stranger.get(artifact.url).status_code == 200


def test_the_first_claim_wins_and_the_other_learns_who_did(harbor, hook):
    one, two = harbor.push("one"), harbor.push("two", "other==1")
    assert hook.add_tag("shop", "web", one, "tree-1") == one
    assert hook.add_tag("shop", "web", two, "tree-1") == one
    assert hook.add_tag("shop", "web", one, "tree-1") == one
    assert {tag.name: tag.immutable for tag in hook.artifact("shop", "web", one).tags} == {"one": False, "tree-1": True}


def test_the_room_learns_what_each_robot_may_do(harbor, hook, monkeypatch):
    def robot(login, password, project="shop"):
        fields = {"conn_type": "harbor", "host": URL, "login": login, "password": password}
        monkeypatch.setenv("AIRFLOW_CONN_HARBOR_DEFAULT", json.dumps(fields))
        made = HarborHook(inner=harbor.stranger._transport)
        return made, {one.permission.name: one.state for one in made.check_permissions([project]) if one.state != "ok"}

    releases, wrong = robot(RELEASE_USER, RELEASE_PASSWORD)
    assert wrong == {}
    assert set(robot(USER, PASSWORD)[1].values()) == {"too much"}
    harbor.client.post("/api/v2.0/projects", json={"project_name": "loose"})
    assert robot(RELEASE_USER, RELEASE_PASSWORD, "loose")[1] == {"immutable tags": "missing"}
    with pytest.raises(AuthenticationFailed):
        robot(RELEASE_USER, "wrong")
    digest = harbor.push("one")
    assert releases.add_tag("shop", "web", digest, "two") == digest
    for method, path in (("DELETE", f"{WEB}/one/tags/one"), ("POST", "/api/v2.0/projects"), ("GET", WEB)):
        answer = harbor.stranger.request(method, path, auth=(RELEASE_USER, RELEASE_PASSWORD), json={})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "FORBIDDEN")
    scope = {"service": "harbor-registry", "scope": "repository:shop/web:pull,push"}
    token = harbor.stranger.get("/service/token", params=scope, auth=(RELEASE_USER, RELEASE_PASSWORD)).json()["token"]
    refused = harbor.stranger.post("/v2/shop/web/blobs/uploads/", headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 401


def test_a_scan_is_followed_to_its_end_and_a_bad_one_is_tried_once_more(harbor, hook, monkeypatch):
    def scan(digest):
        work = ImageScan(project="shop", repository="web", digest=digest)
        monkeypatch.setattr(work, "_hook", hook)
        return work

    work = scan(harbor.push("one", "chardetish==1.0"))
    handle = work.find()
    states = []
    for _ in range(3):
        states.append(work.probe(handle).state)
        harbor.now += 0.35
    assert states == ["running", "running", "ended"]
    report = work.judge(handle)
    assert report.facts == {"severity": "Low", "counts": {"Low": 1}, "total": 1, "fixable": 1}
    assert work.find() == handle

    work = scan(harbor.push("two", "unscannable==1.0"))
    harbor.now += 1
    assert work.find() is None
    handle = work.start()
    assert work.probe(handle).state == "running"
    harbor.now += 1
    with pytest.raises(ScanFailed, match="ended as Error"):
        work.judge(handle)

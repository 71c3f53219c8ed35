"""The Harbor room against the stand-in."""

import json
from urllib.parse import quote

import pytest

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.systems.harbor.errors import ProjectMissing, ScanFailed
from platform_ops.systems.harbor.hook import HarborHook
from platform_ops.systems.harbor.models import ScanStatus, Severity
from platform_ops.systems.harbor.work import ImageScan
from tests.unit.sandbox.harbor_world import COMMIT, GONE, PASSWORD, URL, USER, with_project


@pytest.fixture
def harbor(tmp_path):
    return with_project(tmp_path / "harbor")


@pytest.fixture
def hook(harbor, monkeypatch):
    fields = {
        "conn_type": "harbor", "host": URL, "login": USER, "password": PASSWORD, "extra": {"project": "shop"},
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
    (found,) = hook.vulnerabilities("shop", "web", digest)
    assert (found.package, found.fix_version) == ("oldyaml", "5.4")
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


def test_the_room_checks_health_credentials_and_immutability(harbor, hook, monkeypatch):
    good, said = hook.test_connection()
    assert good, said
    assert "1 projects" in said
    harbor.client.post("/api/v2.0/projects", json={"project_name": "loose"})
    fields = {"conn_type": "harbor", "host": URL, "login": USER, "password": PASSWORD, "extra": {"project": "loose"}}
    monkeypatch.setenv("AIRFLOW_CONN_HARBOR_DEFAULT", json.dumps(fields))
    good, said = HarborHook(inner=harbor.stranger._transport).test_connection()
    assert not good
    assert "tree-* and 40 hex digits of project loose can be moved" in said
    monkeypatch.setenv("AIRFLOW_CONN_HARBOR_DEFAULT", json.dumps(fields | {"password": "wrong"}))
    wrong = HarborHook(inner=harbor.stranger._transport)
    good, said = wrong.test_connection()
    assert not good
    assert "401" in said
    with pytest.raises(AuthenticationFailed):
        wrong.artifact("shop", "web", "one")


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

"""What a cluster says of our account, and what we make of it."""

import json
import time
from types import SimpleNamespace

import pytest
import urllib3

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.systems.kubernetes.hook import KubernetesHook
from platform_ops.systems.kubernetes.permissions import PERMISSIONS, UNWANTED, WANTED, attributes
from sandbox.contract import web_token

NEEDED = {("get", "apps", "deployments"), ("list", "", "pods"), ("list", "", "events")}


class Cluster:
    """A pool that answers access reviews by a set of verb, group and resource, in one namespace or in all."""

    def __init__(self, allowed, everywhere=(), failure=None):
        self.allowed, self.everywhere, self.failure = set(allowed), set(everywhere), failure

    def request(self, method, url, **options):
        if isinstance(self.failure, Exception):
            raise self.failure
        spec = json.loads(options["body"])["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (spec["resource"], spec["subresource"])))
        asked = (spec["verb"], spec["group"], resource)
        allowed = asked in (self.allowed if spec["namespace"] == "shop" else self.everywhere)
        status, body = self.failure or (201, {"spec": {}, "status": {"allowed": allowed}})
        data = json.dumps(body).encode()
        return SimpleNamespace(
            status=status, reason="", data=data, headers={}, getheaders=dict, getheader=lambda *_: None
        )


@pytest.fixture
def check(monkeypatch):
    def checked(cluster, token=None, places=("shop",)):
        value = {"conn_type": "kubernetes_api", "host": "http://k8s.test", "password": token or web_token(sub="x")}
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEV", json.dumps(value))
        return KubernetesHook("kubernetes_dev", pool=cluster).check_permissions(places)

    return checked


def wrong(findings):
    return [(finding.permission.name, finding.state) for finding in findings if finding.state != "ok"]


def test_the_three_rights_are_all_we_need(check):
    findings = check(Cluster(NEEDED))
    assert wrong(findings) == []
    assert {finding.permission for finding in findings} == set(PERMISSIONS)


@pytest.mark.parametrize("row", WANTED, ids=lambda row: row.name)
def test_a_right_that_is_missing_is_named_with_its_namespace(check, row):
    asked = attributes(row, "shop")
    findings = check(Cluster(NEEDED - {(asked["verb"], asked["group"], asked["resource"])}))
    assert wrong(findings) == [(row.name, "missing")]
    sentence = next(finding.sentence for finding in findings if finding.state == "missing")
    assert f"{row.name} is not granted in namespace shop" in sentence


@pytest.mark.parametrize("row", UNWANTED, ids=lambda row: row.name)
def test_a_right_that_is_too_much_is_named_in_a_namespace_and_in_all(check, row):
    asked = attributes(row, "shop")
    right = (asked["verb"], asked["group"], "/".join(filter(None, (asked["resource"], asked["subresource"]))))
    assert wrong(check(Cluster(NEEDED | {right}))) == [(row.name, "too much")]
    findings = check(Cluster(NEEDED, {right}))
    assert wrong(findings) == [(row.name, "too much")]
    assert "in all namespaces" in next(finding.sentence for finding in findings if finding.state == "too much")


@pytest.mark.parametrize(
    ("token", "state"),
    [
        (web_token(exp=int(time.time()) + 10 * 86400), "expires"),
        (web_token(exp=int(time.time()) - 60), "missing"),
        (web_token(exp=int(time.time()) + 100 * 86400), "ok"),
        ("an-opaque-token", "unknown"),
    ],
)
def test_the_end_of_the_token(check, token, state):
    found = [finding.state for finding in check(Cluster(()), token, ()) if finding.permission.name.startswith("a cred")]
    assert found == [state]


def test_a_refused_token_and_a_dead_cluster(check, monkeypatch):
    with pytest.raises(AuthenticationFailed):
        check(Cluster((), failure=(401, {"message": "Unauthorized"})), places=())
    dead = KubernetesHook("kubernetes_dev", pool=Cluster((), failure=urllib3.exceptions.ProtocolError("cut")))
    assert dead.test_connection()[0] is False

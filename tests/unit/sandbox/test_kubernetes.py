"""The Kubernetes stand-in: the controller, the kubelet's pull, patches and the vendor's errors."""

import hashlib
import json
import warnings

import httpx
import pytest

with warnings.catch_warnings():  # Starlette would like httpx2; the project has httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from sandbox.stand_ins.kubernetes import create_app

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
IMAGE = f"harbor.test/shop/web@{DIGEST}"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
PODS = "/api/v1/namespaces/shop/pods"
ENVIRONMENT = {
    "KUBERNETES_TOKEN": "a-long-token",
    "KUBERNETES_READER_TOKEN": "a-reader",
    "HARBOR_URL": "http://harbor.test",
    "HARBOR_USER": "robot",
    "HARBOR_PASSWORD": "secret",
}


def registry(request):
    known = request.url.path in (f"/v2/shop/web/manifests/{DIGEST}", "/v2/shop/web/manifests/v1")
    return httpx.Response(200, content=MANIFEST) if known else httpx.Response(404)


class World:
    def __init__(self, folder):
        self.now = 1_800_000_000.0
        self.folder = folder
        self.start()

    def start(self):
        app = create_app(
            ENVIRONMENT,
            self.folder,
            "dev",
            registry=httpx.MockTransport(registry),
            clock=lambda: self.now,
            background=False,
        )
        self.cluster = app.state.cluster
        self.api = TestClient(app, headers={"Authorization": "Bearer a-long-token"})

    def run(self, seconds):
        end = self.now + seconds
        self.cluster.step()
        while self.now < end:
            self.now = min(self.now + 0.05, end)
            self.cluster.step()

    def apply(self, image=IMAGE, replicas=2, labels=None, **spec):
        labels = {"app": "web", **(labels or {})}
        body = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "web", "image": image}]},
                },
                **spec,
            },
        }
        return self.api.patch(
            f"{DEPLOYMENTS}/web?fieldManager=argo&force=true",
            content=json.dumps(body),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def deployment(self):
        return self.api.get(f"{DEPLOYMENTS}/web").json()

    def pods(self):
        return self.api.get(PODS).json()["items"]

    def condition(self, kind):
        return next(c for c in self.deployment()["status"]["conditions"] if c["type"] == kind)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    assert world.api.post("/api/v1/namespaces", json={"metadata": {"name": "shop"}}).status_code == 201
    return world


def waiting(pod):
    return pod["status"]["containerStatuses"][0]["state"].get("waiting", {})


def test_a_deployment_becomes_ready_pods_that_carry_the_digest(world):
    assert world.apply().status_code == 201
    world.run(0.1)
    assert {pod["status"]["phase"] for pod in world.pods()} == {"Pending"}
    world.run(0.4)
    statuses = [pod["status"]["containerStatuses"][0] for pod in world.pods()]
    assert [(s["imageID"], s["ready"], s["restartCount"]) for s in statuses] == [(IMAGE, True, 0)] * 2
    status = world.deployment()["status"]
    assert (status["observedGeneration"], status["updatedReplicas"], status["availableReplicas"]) == (1, 2, 2)
    assert world.condition("Progressing")["reason"] == "NewReplicaSetAvailable"


def test_a_tag_is_resolved_to_its_digest(world):
    world.apply("harbor.test/shop/web:v1", replicas=1)
    world.run(0.5)
    assert world.pods()[0]["status"]["containerStatuses"][0]["imageID"] == IMAGE


def test_a_rolling_update_keeps_old_pods_until_new_ones_are_ready(world):
    world.apply()
    world.run(0.5)
    before = {pod["metadata"]["name"] for pod in world.pods()}
    assert world.apply(labels={"version": "2"}).json()["metadata"]["generation"] == 2
    world.run(0.1)
    assert before < {pod["metadata"]["name"] for pod in world.pods()}
    world.run(2)
    assert before.isdisjoint(pod["metadata"]["name"] for pod in world.pods())
    assert len(world.api.get("/apis/apps/v1/namespaces/shop/replicasets").json()["items"]) == 2


def test_a_stopping_pod_stays_listed_for_a_moment(world):
    world.apply(replicas=1)
    world.run(0.5)
    name = world.pods()[0]["metadata"]["name"]
    world.api.delete(f"{PODS}/{name}")
    world.run(0.2)
    assert "deletionTimestamp" in world.pods()[0]["metadata"]
    world.run(0.8)
    assert [pod["metadata"]["name"] != name for pod in world.pods()] == [True]


@pytest.mark.parametrize(
    ("image", "labels"),
    [("harbor.test/shop/web:gone", {}), (IMAGE, {"simulate": "no-image"}), ("shop/web", {})],
)
def test_an_image_that_is_not_there_backs_off(world, image, labels):
    world.apply(image, labels=labels)
    world.run(0.6)
    assert waiting(world.pods()[0])["reason"] == "ImagePullBackOff"
    assert "not found" in waiting(world.pods()[0])["message"]
    name = world.pods()[0]["metadata"]["name"]
    events = world.api.get(
        "/api/v1/namespaces/shop/events",
        params={"fieldSelector": f"involvedObject.name={name},type=Warning"},
    ).json()["items"]
    assert {event["reason"] for event in events} == {"Failed", "BackOff"}


def test_a_crashing_pod_counts_restarts(world):
    world.apply(replicas=1, labels={"simulate": "crash"})
    world.run(5)
    status = world.pods()[0]["status"]["containerStatuses"][0]
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["restartCount"] == 2
    assert status["lastState"]["terminated"]["exitCode"] == 1


def test_a_pod_that_never_gets_ready_runs_into_the_progress_deadline(world):
    world.apply(replicas=1, labels={"simulate": "never-ready"}, progressDeadlineSeconds=3)
    world.run(1)
    assert world.pods()[0]["status"]["phase"] == "Running"
    assert world.condition("Progressing")["status"] == "True"
    world.run(3)
    assert world.condition("Progressing")["reason"] == "ProgressDeadlineExceeded"


def test_a_slow_pod_takes_five_seconds(world):
    world.apply(replicas=1, labels={"simulate": "slow"})
    world.run(4.5)
    assert world.deployment()["status"]["readyReplicas"] == 0
    world.run(1)
    assert world.deployment()["status"]["readyReplicas"] == 1


def test_a_quota_refuses_pods_beyond_it(world):
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}}
    world.api.post("/api/v1/namespaces/shop/resourcequotas", json=quota)
    world.apply(replicas=3)
    world.run(1)
    assert len(world.pods()) == 2
    failure = world.condition("ReplicaFailure")
    assert failure["reason"] == "FailedCreate"
    assert failure["message"].endswith("exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2")
    world.api.patch(
        "/api/v1/namespaces/shop/resourcequotas/small",
        json={"spec": {"hard": {"pods": "9"}}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    world.run(1)
    assert len(world.pods()) == 3


def test_everything_survives_a_restart(world):
    world.apply()
    world.run(0.1)
    world.start()
    world.run(0.5)
    assert world.deployment()["status"]["readyReplicas"] == 2


def test_server_side_apply_removes_what_is_no_longer_said(world):
    world.apply(labels={"old": "yes"})
    world.apply(minReadySeconds=1)
    spec = world.deployment()["spec"]
    assert spec["template"]["metadata"]["labels"] == {"app": "web"}
    assert spec["minReadySeconds"] == 1
    assert spec["progressDeadlineSeconds"] == 600


def test_errors_have_the_vendors_shape(world):
    missing = world.api.get(f"{DEPLOYMENTS}/nosuch")
    assert (missing.status_code, missing.json()["message"]) == (404, 'deployments.apps "nosuch" not found')
    assert world.apply(image="").status_code == 422
    world.apply()
    again = world.api.post(DEPLOYMENTS, json={**world.deployment()})
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
    old = world.deployment()
    world.apply(labels={"version": "2"})
    conflict = world.api.put(f"{DEPLOYMENTS}/web", json=old)
    assert (conflict.status_code, conflict.json()["reason"]) == (409, "Conflict")
    anonymous = world.api.get(PODS, headers={"Authorization": "Bearer wrong"})
    assert (anonymous.status_code, anonymous.json()["kind"]) == (401, "Status")
    assert world.api.get("/apis/nosuch/v1/things").status_code == 404


def test_selectors(world):
    for name, labels in {"a": {"tier": "x"}, "b": {"tier": "y"}, "c": {}}.items():
        world.api.post("/api/v1/namespaces/shop/configmaps", json={"metadata": {"name": name, "labels": labels}})

    def found(selector):
        answer = world.api.get("/api/v1/configmaps", params={"labelSelector": selector})
        return [item["metadata"]["name"] for item in answer.json()["items"]]

    assert found("tier=x") == found("tier==x") == ["a"]
    assert found("tier!=x") == ["b", "c"]
    assert found("tier in (x, y)") == ["a", "b"]
    assert found("!tier") == ["c"]


def test_access_reviews_and_versions_answer(world):
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    review = world.api.post(path, json={"spec": {"resourceAttributes": {"verb": "get"}}})
    assert (review.status_code, review.json()["status"]["allowed"]) == (201, True)
    assert world.api.get("/version").json()["gitVersion"] == "v1.34.10"


READER = {"Authorization": "Bearer a-reader"}


@pytest.mark.parametrize(
    ("verb", "group", "resource", "namespace", "allowed"),
    [
        ("get", "apps", "deployments", "shop", True),
        ("list", "", "pods", "shop", True),
        ("list", "", "events", "shop", True),
        ("list", "", "pods", "", False),
        ("list", "apps", "deployments", "shop", False),
        ("get", "", "secrets", "shop", False),
        ("patch", "apps", "deployments", "shop", False),
    ],
)
def test_the_reader_may_read_three_things_and_is_told_so(world, verb, group, resource, namespace, allowed):
    attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace}
    body = {"spec": {"resourceAttributes": attributes}}
    for headers, expected in ((READER, allowed), ({}, True)):
        answer = world.api.post(REVIEWS, json=body, headers=headers)
        assert (answer.status_code, answer.json()["status"]["allowed"]) == (201, expected)


def test_what_the_reader_may_not_is_refused(world):
    world.apply()
    assert world.api.get(f"{DEPLOYMENTS}/web", headers=READER).status_code == 200
    assert world.api.get(PODS, headers=READER).status_code == 200
    for method, path, words in (
        ("GET", DEPLOYMENTS, 'cannot list resource "deployments" in API group "apps" in the namespace "shop"'),
        ("DELETE", f"{DEPLOYMENTS}/web", 'deployments.apps "web" is forbidden'),
        ("POST", PODS, 'cannot create resource "pods"'),
        ("GET", "/api/v1/pods", 'cannot list resource "pods" in API group "" at the cluster scope'),
    ):
        answer = world.api.request(method, path, headers=READER)
        assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")
        assert words in answer.json()["message"]
    assert world.api.post(REVIEWS, json={"spec": {}}, headers=READER).status_code == 422

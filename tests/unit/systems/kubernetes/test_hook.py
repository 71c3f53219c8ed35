"""The hook on a stubbed pool: what it reads, how it words trouble, which errors it raises."""

import json
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3

from platform_ops.common.errors import AuthenticationFailed, Busy, Unreachable
from platform_ops.systems.kubernetes.errors import DeploymentNotFound
from platform_ops.systems.kubernetes.hook import KubernetesHook
from platform_ops.systems.kubernetes.models import TroubleKind

DIGEST = "sha256:" + "a" * 64
IMAGE = f"reg/shop/web@{DIGEST}"
SELECTOR = {
    "matchLabels": {"app": "web"},
    "matchExpressions": [{"key": "tier", "operator": "In", "values": ["x", "y"]}],
}


class Pool:
    """A urllib3 pool that answers from a table."""

    def __init__(self, **answers):
        self.answers = answers
        self.calls = []

    def request(self, method, url, **options):
        parts = urlsplit(url)
        self.calls.append((method, parts.path, dict(options.get("fields") or {}) or parse_qs(parts.query), options))
        answer = self.answers[parts.path.rstrip("/").rpartition("/")[2]]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        data = json.dumps(body).encode()
        return SimpleNamespace(
            status=status, reason="", data=data, headers={}, getheaders=dict, getheader=lambda *_: None
        )


def deployment(conditions=(), **status):
    counts = {"observedGeneration": 3, "updatedReplicas": 1, "readyReplicas": 1} | status
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": IMAGE}]}}
    return {
        "metadata": {"name": "web", "generation": 3},
        "spec": {"replicas": 1, "selector": SELECTOR, "template": template},
        "status": {**counts, "conditions": list(conditions)},
    }


def condition(kind, reason, message="", status="True"):
    return {"type": kind, "status": status, "reason": reason, "message": message}


def pod(*, ready=False, phase="Running", state=None, image_id=IMAGE, restarts=0, last=None, conditions=(), **metadata):
    own = {"name": "web", "image": IMAGE, "imageID": image_id, "ready": ready, "restartCount": restarts}
    own |= {"state": state or {"running": {}}, "lastState": last or {}}
    side = {
        "name": "side",
        "image": "reg/side",
        "imageID": f"reg/side@{DIGEST[:-1]}b",
        "ready": True,
        "restartCount": 0,
    }
    ready_condition = condition("Ready", "", status="True" if ready else "False")
    return {
        "metadata": {"name": "web-1", **metadata},
        "spec": {"containers": [{"name": "side", "image": "reg/side"}, {"name": "web", "image": IMAGE}]},
        "status": {"phase": phase, "conditions": [ready_condition, *conditions], "containerStatuses": [side, own]},
    }


@pytest.fixture(autouse=True)
def connection(monkeypatch):
    value = {"conn_type": "kubernetes_api", "host": "http://k8s.test", "password": "a-long-token"}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEV", json.dumps(value))


def look(*pods, found=None, events=()):
    pool = Pool(web=found or deployment(), pods={"items": list(pods)}, events={"items": list(events)})
    return KubernetesHook("kubernetes_dev", pool=pool).rollout("shop", "web"), pool


def test_it_reads_the_container_with_the_deployments_name():
    rollout, pool = look(pod(ready=True), found=deployment([condition("Progressing", "NewReplicaSetAvailable")]))
    assert (rollout.desired, rollout.updated, rollout.ready, rollout.observed) == (1, 1, 1, True)
    assert rollout.condition == "NewReplicaSetAvailable"
    assert [(p.name, p.image, p.digest, p.ready, p.trouble) for p in rollout.pods] == [
        ("web-1", IMAGE, DIGEST, True, None)
    ]
    assert pool.calls[1][2]["labelSelector"] == "app=web,tier in (x,y)"
    assert pool.calls[0][3]["headers"]["Authorization"] == "Bearer a-long-token"


def test_old_counts_and_local_image_ids_are_recognised():
    rollout, _ = look(pod(ready=True, image_id=DIGEST), found=deployment(observedGeneration=2))
    assert not rollout.observed
    assert rollout.pods[0].digest is None


@pytest.mark.parametrize("changes", [{"deletionTimestamp": "2026-01-01T00:00:00Z"}, {"phase": "Failed"}])
def test_a_pod_on_its_way_out_counts_no_more(changes):
    assert look(pod(**changes))[0].pods[0].terminating


EXITED = {"terminated": {"exitCode": 1}}


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        (
            {
                "phase": "Pending",
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": f"x {IMAGE}: not found"}},
            },
            TroubleKind.IMAGE_PULL,
            "not found. Check",
        ),
        (
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restarts": 4, "last": EXITED},
            TroubleKind.CRASH_LOOP,
            "exit code 1, restarts so far: 4",
        ),
        ({"restarts": 2, "last": EXITED}, TroubleKind.CRASH_LOOP, "logs web-1 --previous"),
        ({}, TroubleKind.NOT_READY, "statuscode: 503"),
        (
            {
                "phase": "Pending",
                "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}},
            },
            TroubleKind.OTHER,
            "no secret",
        ),
        (
            {"phase": "Pending", "conditions": [condition("PodScheduled", "Unschedulable", "0/3 nodes", "False")]},
            TroubleKind.UNSCHEDULABLE,
            "0/3 nodes",
        ),
    ],
)
def test_trouble_in_plain_words(changes, kind, words):
    event = {"metadata": {}, "involvedObject": {"name": "web-1"}, "message": "Readiness probe failed: statuscode: 503"}
    trouble = look(pod(**changes), events=[event])[0].pods[0].trouble
    assert trouble.kind == kind
    assert "web-1" in trouble.message
    assert words in trouble.message


def test_a_starting_pod_has_no_trouble():
    starting = pod(phase="Pending", state={"waiting": {"reason": "ContainerCreating"}}, image_id="")
    found = look(starting)[0].pods[0]
    assert (found.trouble, found.digest) == (None, None)


@pytest.mark.parametrize(
    ("message", "kind"), [("exceeded quota: small", TroubleKind.QUOTA), ("denied by webhook", TroubleKind.OTHER)]
)
def test_pods_that_are_not_created(message, kind):
    rollout, _ = look(found=deployment([condition("ReplicaFailure", "FailedCreate", message)]))
    assert rollout.trouble.kind == kind
    assert message in rollout.trouble.message


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((404, {"message": "no"}), DeploymentNotFound),
        ((403, {"message": "no"}), AuthenticationFailed),
        ((503, {}), Busy),
        (urllib3.exceptions.ProtocolError("cut"), Unreachable),
    ],
)
def test_errors(answer, error):
    with pytest.raises(error, match="kubernetes_dev"):
        KubernetesHook("kubernetes_dev", pool=Pool(web=answer)).rollout("shop", "web")

"""The hook on a stubbed transport, with the answers measured on Argo CD 3.2.11."""

import json

import httpx
import pytest

from platform_ops.common.errors import AuthenticationFailed, Busy, Invalid, Unreachable
from platform_ops.systems.argocd.errors import (
    ApplicationNotVisible,
    AutoSyncRefusal,
    OperationInProgress,
    SyncWindowClosed,
)
from platform_ops.systems.argocd.hook import ArgoCDHook

SHA = "a" * 40
INFOS = [{"name": "platform-ops/run", "value": "run-1"}]
SPEC = {"source": {"repoURL": "x", "path": "p", "targetRevision": "main"}, "syncPolicy": {"automated": {}}}


@pytest.fixture(autouse=True)
def connection(monkeypatch):
    value = {"conn_type": "argocd", "host": "http://argo.test", "password": "a-long-token"}
    monkeypatch.setenv("AIRFLOW_CONN_ARGOCD_DEFAULT", json.dumps(value))


class Server:
    def __init__(self, status=200, body=None):
        self.answer = (status, body)
        self.calls = []

    def __call__(self, request):
        self.calls.append(request)
        status, body = self.answer
        return httpx.Response(status, json=body)

    @property
    def hook(self):
        return ArgoCDHook(inner=httpx.MockTransport(self))


def error(code, message):
    return {"error": message, "code": code, "message": message}


def test_it_reads_a_finished_operation():
    operation = {"sync": {"revision": SHA}, "initiatedBy": {"automated": True}, "info": INFOS}
    rows = [
        {"kind": "Deployment", "name": "web", "status": "SyncFailed", "hookPhase": "Failed", "message": "is invalid"},
        {"kind": "ConfigMap", "name": "old", "status": "PruneSkipped", "message": "ignored (requires pruning)"},
        {"kind": "Service", "name": "web", "status": "Synced", "hookPhase": "Running"},
    ]
    state = {"phase": "Failed", "message": "no", "operation": operation, "retryCount": 2, "startedAt": "t"}
    state |= {"syncResult": {"revision": SHA, "resources": rows}}
    status = {"sync": {"status": "OutOfSync", "revision": SHA}, "health": {"status": "Degraded", "message": "bad"}}
    status |= {
        "operationState": state,
        "summary": {"images": ["i"]},
        "conditions": [{"type": "SyncError", "message": "m"}],
    }
    server = Server(body={"metadata": {"name": "web-dev"}, "spec": SPEC, "status": status})
    app = server.hook.application("web-dev")
    assert (app.automated, app.sync_status, app.sync_revision, app.target_revision) == (True, "OutOfSync", SHA, "main")
    assert (app.health, app.health_message, app.images) == ("Degraded", "bad", ("i",))
    assert app.conditions == ("SyncError: m",)
    assert app.url == "http://argo.test/applications/argocd/web-dev"
    assert app.operation is None
    assert (app.last.phase, app.last.revision, app.last.automated, app.last.retries) == ("Failed", SHA, True, 2)
    assert app.last.failed == ("Deployment web: is invalid",)
    assert app.last.left == ("ConfigMap old",)
    assert app.last.infos == {"platform-ops/run": "run-1"}
    assert server.calls[0].headers["Authorization"] == "Bearer a-long-token"


def test_right_after_a_sync_was_asked_for_there_is_no_state():
    body = {"metadata": {"name": "w"}, "spec": SPEC, "operation": {"sync": {"revision": SHA}, "info": INFOS}}
    app = Server(body=body | {"status": {"sync": {"status": ""}, "health": {}}}).hook.application("w")
    assert app.last is None
    assert (app.operation.revision, app.operation.infos) == (SHA, {"platform-ops/run": "run-1"})


def test_a_refresh_is_asked_for_and_names_are_encoded():
    server = Server(body={"metadata": {"name": "w"}, "spec": SPEC})
    server.hook.application("a/b", refresh=True)
    assert server.calls[0].url.raw_path == b"/api/v1/applications/a%2Fb?refresh=normal"


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (403, error(7, "permission denied"), ApplicationNotVisible, "lacks the permission"),
        (404, error(5, "not found"), ApplicationNotVisible, "does not exist"),
        (401, error(16, "no session information"), AuthenticationFailed, "no session"),
        (500, error(2, "x"), Busy, "500"),
        (200, {"odd": 1}, Invalid, "address"),
    ],
)
def test_reading_errors(status, body, kind, words):
    with pytest.raises(kind, match=words):
        Server(status, body).hook.application("w")


def test_no_answer():
    def cut(request):
        raise httpx.ConnectError("refused", request=request)

    hook = ArgoCDHook(inner=httpx.MockTransport(cut))
    with pytest.raises(Unreachable):
        hook.terminate("w")


def test_a_sync_carries_the_marker():
    server = Server(body={})
    server.hook.sync("w", SHA, marker="run-1")
    assert json.loads(server.calls[0].content) == {"revision": SHA, "infos": INFOS}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error(9, "another operation is already in progress"), OperationInProgress),
        (400, error(9, f"Cannot sync to {SHA}: auto-sync currently set to main"), AutoSyncRefusal),
        (400, error(9, "error resolving repo revision: unable to resolve"), Invalid),
        (403, error(7, "cannot sync: blocked by sync window"), SyncWindowClosed),
        (403, error(7, "permission denied"), ApplicationNotVisible),
    ],
)
def test_sync_errors(status, body, kind):
    with pytest.raises(kind, match="w"):
        Server(status, body).hook.sync("w", SHA, marker="m")


def test_ending_an_operation():
    server = Server(body={})
    server.hook.terminate("w")
    assert server.calls[0].method == "DELETE"
    assert server.calls[0].headers["Content-Type"] == "application/json"
    Server(400, error(3, "Unable to terminate operation. No operation is in progress")).hook.terminate("w")
    with pytest.raises(Invalid):
        Server(400, error(3, "odd")).hook.terminate("w")
    with pytest.raises(ApplicationNotVisible):
        Server(403, error(7, "permission denied")).hook.terminate("w")

"""What Argo CD says of our account, and what we make of it."""

import json

import httpx
import pytest

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.systems.argocd.hook import ArgoCDHook
from platform_ops.systems.argocd.permissions import PERMISSIONS, UNWANTED, WANTED
from sandbox.contract import web_token

NEEDED = {"applications/get", "applications/sync"}
SPEC = {"source": {"repoURL": "x", "path": "p", "targetRevision": "main"}, "project": "shop"}


@pytest.fixture
def hook(monkeypatch):
    """Make the hook of an account that may do some things, or nothing at all."""

    def made(allowed=frozenset(NEEDED), *, logged_in=True, hidden=False, token=None):
        def answer(request):
            path = request.url.path
            if path == "/api/v1/session/userinfo":
                return httpx.Response(200, json={"loggedIn": logged_in, "username": "releases"})
            if path == "/api/v1/applications/web-dev":
                body = {"code": 7, "message": "permission denied"} if hidden else {"metadata": {"name": "web-dev"}}
                return httpx.Response(403 if hidden else 200, json=body | {"spec": SPEC})
            _, found, rest = path.partition("/api/v1/account/can-i/")
            assert found
            assert rest.endswith("/shop/web-dev")
            return httpx.Response(200, json={"value": "yes" if rest.removesuffix("/shop/web-dev") in allowed else "no"})

        value = {"conn_type": "argocd", "host": "http://argo.test", "password": token or web_token(sub="releases")}
        monkeypatch.setenv("AIRFLOW_CONN_ARGOCD_DEFAULT", json.dumps(value))
        return ArgoCDHook(inner=httpx.MockTransport(answer))

    return made


def wrong(findings):
    return [(finding.permission.name, finding.state) for finding in findings if finding.state != "ok"]


def test_get_and_sync_are_all_we_need(hook):
    findings = hook().check_permissions(["web-dev"])
    assert wrong(findings) == []
    assert {finding.permission for finding in findings} == set(PERMISSIONS)


@pytest.mark.parametrize("row", WANTED, ids=lambda row: row.name)
def test_what_is_missing_is_named_with_project_and_application(hook, row):
    findings = hook(NEEDED - {row.name}).check_permissions(["web-dev"])
    assert wrong(findings) == [(row.name, "missing")]
    assert "on shop/web-dev for account releases" in next(one.sentence for one in findings if one.state == "missing")


@pytest.mark.parametrize("row", UNWANTED, ids=lambda row: row.name)
def test_what_is_too_much_is_named(hook, row):
    assert wrong(hook(NEEDED | {row.name}).check_permissions(["web-dev"])) == [(row.name, "too much")]


def test_a_hidden_application_is_a_missing_permission(hook):
    findings = hook(hidden=True).check_permissions(["web-dev"])
    assert wrong(findings) == [("applications/get", "missing")]
    assert "Either it does not exist or the token" in findings[-1].sentence


def test_a_token_that_is_no_web_token_has_an_unknown_end(hook):
    assert wrong(hook(token="opaque-and-long").check_permissions()) == [("a credential that lasts", "unknown")]


def test_a_token_that_argo_cd_does_not_know(hook):
    with pytest.raises(AuthenticationFailed, match="does not know the token"):
        hook(logged_in=False).check_permissions()
    assert hook(logged_in=False).test_connection()[0] is False

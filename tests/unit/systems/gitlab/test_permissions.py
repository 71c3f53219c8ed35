"""What GitLab says of our account, and what we make of it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.systems.gitlab.permissions import PERMISSIONS
from tests.unit.systems.gitlab.conftest import TOKEN


def day(days):
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def checked(hook, answers, *, level=30, admin=None, **token):
    user = {"id": 4, "username": "release-bot"} | ({} if admin is None else {"is_admin": admin})
    answers.give("GET /api/v4/user", body=user)
    own = {"id": 1, "scopes": ["api"], "expires_at": day(100), "active": True}
    answers.give("GET /api/v4/personal_access_tokens/self", body={**own, **token})
    member = "GET /api/v4/projects/shop%2Fstorefront/members/all/4"
    if level:
        answers.give(member, body={"id": 4, "access_level": level})
    else:
        answers.give(member, 404, {"message": "404 Not found"})
    findings = hook.check_permissions(["shop/storefront"])
    assert {finding.permission for finding in findings} == set(PERMISSIONS)
    return {finding.permission.name: finding for finding in findings if finding.state != "ok"}


def test_a_developer_with_scope_api_is_all_we_need(hook, answers):
    assert checked(hook, answers) == {}


@pytest.mark.parametrize(
    ("told", "name", "state", "words"),
    [
        ({"scopes": ["read_api", "write_repository"]}, "scope api", "missing", "which has read_api, write_repository"),
        ({"scopes": []}, "scope api", "missing", "which has no scope"),
        ({"scopes": ["api", "sudo", "admin_mode"]}, "scopes beyond api", "too much", "has admin_mode, sudo"),
        ({"admin": True}, "administrator", "too much", "for user release-bot"),
        ({"level": 40}, "role Maintainer or Owner", "too much", "in shop/storefront"),
        ({"level": 20}, "role Developer", "missing", "has Reporter"),
        ({"level": 0}, "role Developer", "missing", "no role"),
        ({"expires_at": day(10)}, "a credential that lasts", "expires", "in 9 days"),
    ],
)
def test_what_is_wrong_is_named(hook, answers, told, name, state, words):
    found = checked(hook, answers, **told)
    assert [(name, finding.state) for name, finding in found.items()] == [(name, state)]
    assert words in found[name].sentence


def test_a_token_without_an_end_is_fine(hook, answers):
    assert checked(hook, answers, expires_at=None) == {}


def test_a_refused_token_is_told_as_such(hook, answers):
    answers.give("GET /api/v4/user", 401, {"message": "401 Unauthorized"})
    with pytest.raises(AuthenticationFailed, match="has not expired"):
        hook.check_permissions()
    good, said = hook.test_connection()
    assert not good
    assert TOKEN not in said


def test_a_connection_without_an_address_is_no_connection(hook, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_DEFAULT", json.dumps({"conn_type": "gitlab", "password": TOKEN}))
    good, said = hook.test_connection()
    assert not good
    assert "has no host" in said

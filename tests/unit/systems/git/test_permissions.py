"""When a token ends, as far as GitLab says it."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from unittest.mock import create_autospec

import httpx
import pytest

from platform_ops.common.permissions import Finding
from platform_ops.systems.git.hook import GitHook, Repository
from platform_ops.systems.git.permissions import PERMISSIONS, VALID

TOKEN = "glpat-of-the-tests"
ADDRESS = "https://gitlab.test/platform/gitops.git"
OWN = "https://gitlab.test/api/v4/personal_access_tokens/self"

Answer = Callable[[httpx.Request], httpx.Response]


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finding]:
    """What a connection is told of its end, by a server whose git answers."""

    def end(answer: Answer, *, address: str = ADDRESS, password: str = TOKEN) -> Finding:
        connection = {"conn_type": "git", "host": address, "login": "oauth2", "password": password}
        monkeypatch.setenv("AIRFLOW_CONN_GITOPS_DEFAULT", json.dumps(connection))
        repository = create_autospec(Repository, instance=True)
        repository.branches.return_value = {"main": "1" * 40}
        monkeypatch.setattr(GitHook, "repository", lambda _: nullcontext(repository))
        findings = GitHook(inner=httpx.MockTransport(answer)).check_permissions(["main"])
        assert {finding.permission for finding in findings} == set(PERMISSIONS)
        assert TOKEN not in str(findings)
        return next(finding for finding in findings if finding.permission == VALID)

    return end


@pytest.mark.parametrize(
    ("ends", "state", "words"),
    [
        (in_days(10), "expires", "in 9 days. Make a new token and enter it in the connection"),
        (in_days(100), "ok", "lasts until"),
        (None, "ok", "has no end"),
    ],
)
def test_gitlab_is_asked_when_the_token_ends(end, ends: str | None, state: str, words: str) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"id": 1, "scopes": ["write_repository"], "expires_at": ends})

    found = end(answer)
    assert (found.state, words in found.sentence) == (state, True)
    assert [(str(request.url), request.headers["PRIVATE-TOKEN"]) for request in asked] == [(OWN, TOKEN)]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        # A deploy token may not look at itself.
        (httpx.Response(401, json={"message": "401 Unauthorized"}), "answered 401"),
        (httpx.Response(404, text="no such page"), "answered 404"),
        (httpx.Response(302, headers={"Location": "/login"}), "not JSON"),
        (httpx.Response(200, text="<html>"), "not JSON"),
        (httpx.Response(200, json={"login": "bot"}), "https://gitlab.test does not answer as GitLab"),
        (httpx.Response(200, json=["bot"]), "https://gitlab.test does not answer as GitLab"),
        (httpx.ConnectError("refused"), "did not answer"),
    ],
)
def test_an_end_that_nobody_tells_is_unknown_with_the_reason(end, answer: httpx.Response | Exception, words) -> None:
    def given(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    found = end(given)
    assert found.state == "unknown"
    assert words in found.sentence
    assert "Look where it was made." in found.sentence


@pytest.mark.parametrize(("address", "password"), [("file:///srv/gitops.git", TOKEN), (ADDRESS, "")])
def test_without_a_token_for_http_nobody_is_asked(end, address: str, password: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError

    found = end(answer, address=address, password=password)
    assert (found.state, "no token for HTTP" in found.sentence) == ("unknown", True)

import base64
import json
from typing import Any

import httpx
import pytest

from platform_ops.common.errors import AuthenticationFailed, Busy, NotFound, Unreachable
from platform_ops.systems.harbor.errors import (
    LatestRefused,
    NotADigest,
    ProjectMissing,
    TagVanished,
    UnknownWord,
)
from platform_ops.systems.harbor.hook import HarborHook
from platform_ops.systems.harbor.models import Artifact, Scan, ScanStatus, Severity, Tag

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
GENERIC = "application/vnd.security.vulnerability.report; version=1.1"
NATIVE = "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0"
PASSWORD = "a-good-password"
WEB = "/api/v2.0/projects/shop/repositories/web/artifacts"


def artifact(digest: str = DIGEST, **fields: Any) -> dict[str, Any]:
    return {"digest": digest, "project_id": 7, "push_time": "2026-11-25T01:02:03.000Z"} | fields


def refusal(status: int, message: str, code: str = "NOT_FOUND") -> httpx.Response:
    return httpx.Response(status, json={"errors": [{"code": code, "message": message}]})


class Harbor:
    """Answers by method and path, and remembers what was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers[f"{request.method} {request.url.raw_path.decode().partition('?')[0]}"]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


@pytest.fixture(autouse=True)
def connection(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    fields = {
        "conn_type": "harbor",
        "host": "https://harbor.example.com:8443/",
        "login": "robot$ops",
        "password": PASSWORD,
    }
    monkeypatch.setenv("AIRFLOW_CONN_HARBOR_DEFAULT", json.dumps(fields))
    return fields


def hook(answers: dict[str, Any] | Harbor) -> HarborHook:
    handler = answers if isinstance(answers, Harbor) else Harbor(answers)
    return HarborHook(inner=httpx.MockTransport(handler))


def path(reference: str) -> str:
    return f"{WEB}/{reference.replace(':', '%3A')}"


def test_an_artifact_is_read_with_everything_a_release_asks() -> None:
    harbor = Harbor(
        {
            f"GET {path('abc')}": artifact(
                tags=[{"name": "abc", "immutable": True}, {"name": "build-1"}],
                extra_attrs={"config": {"Labels": {"revision": "abc"}}},
                scan_overview={
                    GENERIC: {
                        "scan_status": "Success",
                        "severity": "High",
                        "summary": {"total": 3, "fixable": 2, "summary": {"High": 1, "Low": 2}},
                    }
                },
            )
        }
    )
    assert hook(harbor).artifact("shop", "web", "abc") == Artifact(
        digest=DIGEST,
        tags=(Tag("abc", immutable=True), Tag("build-1", immutable=False)),
        labels={"revision": "abc"},
        scan=Scan(ScanStatus.SUCCESS, Severity.HIGH, {"High": 1, "Low": 2}, 3, 2, "success, 3 findings, worst High"),
        pushed_at="2026-11-25T01:02:03.000Z",
        url=f"https://harbor.example.com:8443/harbor/projects/7/repositories/web/artifacts-tab/artifacts/{DIGEST}",
    )
    (request,) = harbor.asked
    assert request.headers["X-Accept-Vulnerabilities"] == f"{GENERIC}, {NATIVE}"
    assert request.url.params["with_immutable_status"] == request.url.params["with_scan_overview"] == "true"
    user = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
    assert user == f"robot$ops:{PASSWORD}"


@pytest.mark.parametrize(
    ("overview", "status", "detail"),
    [
        (None, ScanStatus.NOT_SCANNED, "not scanned"),
        ({NATIVE: {"scan_status": "Pending"}}, ScanStatus.PENDING, "pending, 0 %"),
        ({GENERIC: {"scan_status": "Running", "complete_percent": 40}}, ScanStatus.RUNNING, "running, 40 %"),
        ({GENERIC: {"scan_status": "Error"}}, ScanStatus.ERROR, "error"),
    ],
)
def test_a_scan_without_success_says_nothing_about_severity(
    overview: dict[str, Any] | None, status: ScanStatus, detail: str
) -> None:
    found = hook({f"GET {path(DIGEST)}": artifact(scan_overview=overview)}).artifact("shop", "web", DIGEST)
    assert found
    assert found.scan == Scan(status, Severity.UNKNOWN, {}, 0, 0, detail)


@pytest.mark.parametrize("scan", [{"scan_status": "Perhaps"}, {"scan_status": "Success", "severity": "Catastrophic"}])
def test_an_unknown_scan_word_is_no_guess(scan: dict[str, str]) -> None:
    with pytest.raises(UnknownWord, match=r"Perhaps|Catastrophic"):
        hook({f"GET {path(DIGEST)}": artifact(scan_overview={GENERIC: scan})}).artifact("shop", "web", DIGEST)


def test_a_missing_artifact_or_repository_is_nothing() -> None:
    for said in ("artifact shop/web:abc not found", "repository shop/web not found"):
        answers = {f"GET {path('abc')}": refusal(404, said), "HEAD /api/v2.0/projects": httpx.Response(200)}
        assert hook(answers).artifact("shop", "web", "abc") is None


def test_a_missing_project_is_an_error() -> None:
    harbor = Harbor(
        {
            f"GET {path('abc')}": refusal(404, "repository shop/web not found"),
            "HEAD /api/v2.0/projects": httpx.Response(404),
        }
    )
    with pytest.raises(ProjectMissing, match="has no project shop"):
        hook(harbor).artifact("shop", "web", "abc")
    assert harbor.asked[1].url.params["project_name"] == "shop"


@pytest.mark.parametrize("answer", [refusal(404, "path /x was not found"), httpx.Response(404, text="<h1>nginx</h1>")])
def test_a_404_from_elsewhere_is_not_a_missing_artifact(answer: httpx.Response) -> None:
    with pytest.raises(NotFound, match="do not mean a missing image"):
        hook({f"GET {path('abc')}": answer}).artifact("shop", "web", "abc")


def test_something_else_that_answers_200_is_not_an_artifact() -> None:
    page = httpx.Response(200, text="<h1>Sign in</h1>")
    with pytest.raises(NotFound, match="is not Harbor"):
        hook({f"GET {path('abc')}": page}).artifact("shop", "web", "abc")


def test_names_are_data_and_a_nested_repository_is_encoded_twice() -> None:
    nested = "/api/v2.0/projects/sh%2Fop/repositories/team%252Fweb%2520%253F/artifacts/a%2F..%2Fb"
    found = hook({f"GET {nested}": artifact()}).artifact("sh/op", "team/web ?", "a/../b")
    assert found
    assert "/repositories/team%2Fweb%20%3F/artifacts-tab/" in found.url


def test_latest_is_refused_before_anything_is_asked() -> None:
    harbor = Harbor({})
    with pytest.raises(LatestRefused):
        hook(harbor).artifact("shop", "web", "latest")
    with pytest.raises(LatestRefused):
        hook(harbor).add_tag("shop", "web", DIGEST, "latest")
    assert not harbor.asked


def test_a_free_tag_goes_to_our_digest() -> None:
    harbor = Harbor({f"POST {path(DIGEST)}/tags": httpx.Response(201)})
    assert hook(harbor).add_tag("shop", "web", DIGEST, "tree-1") == DIGEST
    assert json.loads(harbor.asked[0].content) == {"name": "tree-1"}


@pytest.mark.parametrize(("status", "winner"), [(409, OTHER), (409, DIGEST), (412, OTHER)])
def test_a_taken_tag_tells_who_has_it_and_never_moves(status: int, winner: str) -> None:
    harbor = Harbor(
        {
            f"POST {path(DIGEST)}/tags": refusal(status, "tag tree-1 already exists", "CONFLICT"),
            f"GET {path('tree-1')}": artifact(winner),
        }
    )
    assert hook(harbor).add_tag("shop", "web", DIGEST, "tree-1") == winner
    assert [request.method for request in harbor.asked] == ["POST", "GET"]


def test_a_taken_tag_that_is_gone_is_tried_again_later() -> None:
    answers = {
        f"POST {path(DIGEST)}/tags": refusal(409, "tag tree-1 already exists", "CONFLICT"),
        f"GET {path('tree-1')}": refusal(404, "artifact shop/web:tree-1 not found"),
        "HEAD /api/v2.0/projects": httpx.Response(200),
    }
    with pytest.raises(TagVanished, match="tree-1"):
        hook(answers).add_tag("shop", "web", DIGEST, "tree-1")


def test_only_a_digest_is_tagged_scanned_and_run() -> None:
    refused = hook({})
    for call in (
        lambda: refused.add_tag("shop", "web", "main", "tree-1"),
        lambda: refused.start_scan("shop", "web", "main"),
        lambda: refused.reference("shop", "web", "main"),
    ):
        with pytest.raises(NotADigest, match="'main' is not a digest"):
            call()


def test_a_scan_that_goes_on_is_fine_and_other_refusals_are_not() -> None:
    for status in (202, 409):
        hook({f"POST {path(DIGEST)}/scan": httpx.Response(status)}).start_scan("shop", "web", DIGEST)
    refused = {f"POST {path(DIGEST)}/scan": refusal(412, "no available scanner for project: 7", "PRECONDITION")}
    with pytest.raises(Busy, match="no available scanner"):
        hook(refused).start_scan("shop", "web", DIGEST)


def test_a_pod_gets_registry_project_repository_and_digest() -> None:
    assert hook({}).reference("shop", "team/web", DIGEST) == f"harbor.example.com:8443/shop/team/web@{DIGEST}"


def test_errors_carry_harbors_words_and_no_secret() -> None:
    with pytest.raises(AuthenticationFailed, match="401 to GET for artifact shop/web:abc: unauthorized") as caught:
        hook({f"GET {path('abc')}": refusal(401, "unauthorized", "UNAUTHORIZED")}).artifact("shop", "web", "abc")
    assert PASSWORD not in str(caught.value)


def test_no_answer_is_unreachable() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    broken = HarborHook(inner=httpx.MockTransport(refuse))
    with pytest.raises(Unreachable, match="did not answer POST"):
        broken.start_scan("shop", "web", DIGEST)


def test_the_client_keeps_no_cookie() -> None:
    harbor = Harbor({f"POST {path(DIGEST)}/scan": httpx.Response(202, headers={"Set-Cookie": "sid=1; Path=/"})})
    same = hook(harbor)
    same.start_scan("shop", "web", DIGEST)
    same.start_scan("shop", "web", DIGEST)
    assert "Cookie" not in harbor.asked[1].headers

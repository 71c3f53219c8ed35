from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.delivery.services import services_by_project
from platform_ops.web import app as web
from platform_ops.web import hooks
from platform_ops.web.hooks import WebhookAccount
from platform_ops.web.json_body import BadBody, Limits, parse_object, read_body
from tests.unit.web.hook_world import COMMIT, PUSH, RUN, SECRET, SIGNING_TOKEN, Airflow, connection, receiver

LARGEST_BODY = Limits().largest


@pytest.fixture
def airflow() -> Airflow:
    return Airflow()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, airflow: Airflow) -> Any:
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_WEBHOOK", connection(token=SECRET))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example.com")
    ours = receiver(airflow)
    web.app.dependency_overrides[hooks.this_receiver] = lambda: ours
    yield TestClient(web.app, root_path="/platform-ops")
    web.app.dependency_overrides.clear()


def send(client: TestClient, body: Any = PUSH, **headers: Any) -> httpx.Response:
    given = {"X-Gitlab-Token": SECRET, "X-Gitlab-Event": "Push Hook", "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if not isinstance(body, dict) else json.dumps(body)
    return client.post("/hooks/gitlab", content=content, headers={k: v for k, v in given.items() if v is not None})


def test_a_push_starts_one_run(client, airflow):
    response = send(client)
    assert response.status_code == 201
    page = f"http://airflow.example.com/platform-ops/runs/release_service/{RUN}"
    assert response.json() == {"run_id": RUN, "page": page}
    assert airflow.runs[RUN] == {
        "dag_run_id": RUN,
        "logical_date": None,
        "conf": {"service": "storefront", "environment": "dev", "commit": COMMIT, "reason": "push by dana to dev"},
    }
    again = send(client)
    assert again.status_code == 200
    assert again.json() == {"run_id": RUN, "page": page, "duplicate": True}
    assert len(airflow.runs) == 1
    assert airflow.logins == 1


@pytest.mark.parametrize(
    "token", [None, "", "wrong", SECRET + "x", SECRET[:-1], SECRET.upper(), b"\xff\xfe", "geheimnis-\u00fc".encode()]
)
def test_who_does_not_know_the_secret(client, airflow, token):
    response = send(client, X_Gitlab_Token=token)
    assert response.status_code == 401
    assert response.json()["code"] == "unauthorized"
    assert airflow.runs == {}


def test_two_secrets_are_none(client):
    headers = [("X-Gitlab-Token", SECRET), ("X-Gitlab-Token", SECRET), ("Content-Type", "application/json")]
    assert client.post("/hooks/gitlab", content=b"{}", headers=headers).status_code == 401


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_another_content_type(client, kind):
    assert send(client, Content_Type=kind).status_code == 415


def test_a_content_type_with_a_charset(client):
    assert send(client, Content_Type="Application/JSON; charset=utf-8").status_code == 201


def chunks(count: int):
    yield from (b"x" * 65536 for _ in range(count))


@pytest.mark.parametrize("body", [b"x" * (LARGEST_BODY + 1), chunks(17)])
def test_a_body_that_is_too_large(client, body):
    response = send(client, body)
    assert response.status_code == 413
    assert response.json()["code"] == "too_large"


def test_the_largest_body_is_read(client):
    filler = " " * (LARGEST_BODY - len(json.dumps(PUSH)))
    assert send(client, json.dumps(PUSH) + filler).status_code == 201


BROKEN = [
    b"",
    b"{",
    json.dumps(PUSH)[:-5].encode(),
    b"[]",
    b"7",
    b"null",
    b'{"a": NaN}',
    b'{"a": -Infinity}',
    b'{"a": 1e999}',
    b'{"a": 1, "a": 2}',
    b'{"b": {"a": 1, "a": 1}}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"a": ' + b"7" * 5_000 + b"}",
    b'{"a": "\xff"}',
    b"\xef\xbb\xbf{}",
    json.dumps(PUSH).encode("utf-16"),
]


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_body(client, airflow, body):
    response = send(client, body)
    assert response.status_code == 400
    assert response.json() == {"code": "malformed", "reason": "the body must be one JSON object in strict form"}
    assert airflow.runs == {}


def test_a_wrong_field_is_named_and_not_repeated(client):
    response = send(client, {**PUSH, "after": "<script>"})
    assert response.status_code == 400
    assert response.json()["field"] == "after"
    assert "script" not in response.text


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (PUSH, {"X_Gitlab_Event": "Tag Push Hook"}),
        (PUSH, {"X_Gitlab_Event": None}),
        ({**PUSH, "after": "0" * 40}, {}),
        ({**PUSH, "ref": "refs/heads/master"}, {}),
        ({**PUSH, "ref": "refs/heads/feature"}, {}),
        ({**PUSH, "project": {"path_with_namespace": "other/thing"}}, {}),
    ],
)
def test_an_event_that_concerns_nobody(client, airflow, body, headers):
    response = send(client, body, **headers)
    assert response.status_code == 202
    assert set(response.json()) == {"ignored"}
    assert airflow.runs == {}


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_airflow_cannot_start_it(client, airflow, status):
    airflow.status = status
    response = send(client)
    assert response.status_code == 503
    assert response.json()["code"] == "airflow_unavailable"
    airflow.status = 200
    assert send(client).status_code == 201


@pytest.mark.parametrize("host", ["", "http://ci:its-password-123@127.0.0.1:8080"])
def test_airflow_has_no_address_that_can_be_used(client, monkeypatch, airflow, host):
    fields = json.loads(connection(token=SECRET)) | {"host": host}
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_WEBHOOK", json.dumps(fields))
    response = send(client)
    assert response.status_code == 503
    assert response.json()["code"] == "airflow_unavailable"
    assert airflow.logins == 0


def test_a_login_that_ran_out_is_renewed_once(client, airflow):
    airflow.valid = {"token-2"}
    assert send(client).status_code == 201
    assert airflow.logins == 2
    airflow.valid = set()
    assert send(client).status_code == 503
    assert airflow.logins == 3


def test_a_login_is_kept_for_some_minutes(monkeypatch, airflow):
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_WEBHOOK", connection(token=SECRET))
    now = [0.0]
    inner = httpx.MockTransport(airflow)
    account = WebhookAccount(lambda: AirflowApi("gitlab_webhook", inner=inner), clock=lambda: now[0])
    for seconds, logins in ((0, 1), (299, 1), (301, 2), (400, 2)):
        now[0] = seconds
        account.start(hooks.StartRun(f"r{seconds}", {}))
        assert airflow.logins == logins


UNSOUND = [
    {},
    {"token": ""},
    {"token": None},
    {"token": 7},
    {"token": "short"},
    {"token": SECRET, "signing_token": ""},
    {"token": "", "signing_token": SIGNING_TOKEN},
    {"signing_token": 7},
    {"signing_token": ["whsec_"]},
    {"signing_token": "whsec_"},
    {"signing_token": SIGNING_TOKEN.removeprefix("whsec_")},
    {"signing_token": SIGNING_TOKEN[:-5]},
    {"signing_token": SIGNING_TOKEN.replace("A", "\u00c4")},
    {"signing_token": "whsec_" + "c2hvcnQ="},
    {"signing_token": SIGNING_TOKEN + "AAAA"},
]


@pytest.mark.parametrize("extra", UNSOUND, ids=range(len(UNSOUND)))
@pytest.mark.parametrize("sent", [None, "", "short", SECRET])
def test_without_sound_secrets_nobody_comes_in(client, monkeypatch, airflow, extra, sent):
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_WEBHOOK", connection(**extra))
    response = send(client, X_Gitlab_Token=sent)
    assert response.status_code == 503
    assert response.json()["code"] == "not_configured"
    assert airflow.runs == {}


def test_without_a_connection_nobody_comes_in(client, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_GITLAB_WEBHOOK")
    assert send(client).json()["code"] == "not_configured"


def test_a_new_secret_counts_at_once(client, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_WEBHOOK", connection(token="another-secret-now"))
    assert send(client).status_code == 401
    assert send(client, X_Gitlab_Token="another-secret-now").status_code == 201


def test_several_services_of_one_project(client, airflow):
    class Entry:
        def __init__(self, name):
            self.name, self.branches = name, {"dev": "dev"}

    ours = receiver(airflow, services=lambda project: (Entry("one"), Entry("two")))
    web.app.dependency_overrides[hooks.this_receiver] = lambda: ours
    response = send(client)
    assert response.status_code == 201
    assert [run["run_id"] for run in response.json()["runs"]] == [
        "release__one__dev__4f1d2c9a7be3",
        "release__two__dev__4f1d2c9a7be3",
    ]


def test_services_come_from_the_catalogue():
    assert asyncio.run(hooks.this_receiver()).services is services_by_project


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post(client, method):
    assert client.request(method, "/hooks/gitlab").status_code == 405


def test_a_slow_body_is_given_up():
    async def drip():
        yield b"{"
        await asyncio.Event().wait()

    with pytest.raises(BadBody) as caught:
        asyncio.run(read_body(drip(), Limits(seconds=0.01)))
    assert caught.value.status == 408


def test_a_body_without_end_is_read_no_further_than_the_limit():
    async def drip():
        while True:
            yield b"x"

    with pytest.raises(BadBody) as caught:
        asyncio.run(read_body(drip(), Limits(largest=10)))
    assert caught.value.status == 413


def test_a_good_object():
    assert parse_object('{"a": [1, 2.5, "ü", true, null]}'.encode()) == {"a": [1, 2.5, "ü", True, None]}

"""Signed deliveries from end to end: proof, replay, and forged ones by the hundred."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from platform_ops.web import app as web
from platform_ops.web import hooks
from platform_ops.web.replays import IdReused, Replays
from platform_ops.web.signatures import Signed
from tests.unit.web.hook_world import (
    KEY,
    NOW,
    PUSH,
    RUN,
    SECRET,
    SIGNING_TOKEN,
    Airflow,
    connection,
    receiver,
    sign,
    signed_headers,
)

FORGED = 500
TO_RC = {**PUSH, "ref": "refs/heads/rc"}


@pytest.fixture
def airflow():
    return Airflow()


@pytest.fixture
def client(monkeypatch, airflow):
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_WEBHOOK", connection(token=SECRET, signing_token=SIGNING_TOKEN))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example.com")
    ours = receiver(airflow)
    web.app.dependency_overrides[hooks.this_receiver] = lambda: ours
    yield TestClient(web.app, root_path="/platform-ops", raise_server_exceptions=False)
    web.app.dependency_overrides.clear()


def post(client, body, headers, kind="Push Hook") -> httpx.Response:
    return client.post(
        "/hooks/gitlab", content=body, headers={"Content-Type": "application/json", "X-Gitlab-Event": kind} | headers
    )


def send(client, event=PUSH, **how) -> httpx.Response:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return post(client, body, signed_headers(body, **how))


def test_a_signed_push_starts_one_run(client, airflow):
    first = send(client)
    assert first.status_code == 201
    assert first.json()["run_id"] == RUN
    assert set(airflow.runs) == {RUN}


def test_a_replay_is_answered_without_asking_airflow(client, airflow):
    send(client)
    asked = airflow.asked
    again = send(client)
    assert again.status_code == 200
    assert again.json() == {
        "run_id": RUN,
        "page": f"http://airflow.example.com/platform-ops/runs/release_service/{RUN}",
        "duplicate": True,
    }
    assert airflow.asked == asked


def test_another_api_server_answers_a_replay_the_same(client, airflow):
    send(client)
    elsewhere = receiver(airflow)
    web.app.dependency_overrides[hooks.this_receiver] = lambda: elsewhere
    again = send(client)
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert len(airflow.runs) == 1


@pytest.mark.parametrize(
    "other",
    [TO_RC, {**PUSH, "after": "a" * 40}],
)
def test_an_id_does_not_stand_for_two_events(client, airflow, other):
    send(client)
    refused = send(client, other)
    assert (refused.status_code, refused.json()["code"]) == (422, "id_reused")
    assert set(airflow.runs) == {RUN}
    assert send(client, other, event_id="another").status_code == 201


def test_what_is_sent_again_for_a_service_that_has_left_the_catalogue_concerns_nobody(client, airflow):
    kept = Replays()
    with_it, without = receiver(airflow, replays=kept), receiver(airflow, replays=kept, services=lambda project: ())
    web.app.dependency_overrides[hooks.this_receiver] = lambda: with_it
    assert send(client).status_code == 201
    web.app.dependency_overrides[hooks.this_receiver] = lambda: without
    assert send(client, stamp=f"{NOW + 60:.0f}").status_code == 202


def test_what_a_person_sends_again_is_no_other_event(client, airflow):
    """GitLab resends with the old id, a new stamp, and without the e-mail addresses."""
    send(client)
    redacted, later = {**PUSH, "user_email": "[REDACTED]"}, f"{NOW + 60:.0f}"
    again = send(client, redacted, stamp=later)
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    airflow.runs.clear()
    assert send(client, redacted, stamp=f"{NOW + 61:.0f}").status_code == 201


def test_what_airflow_did_not_start_is_not_remembered(client, airflow):
    airflow.status = 503
    assert send(client).status_code == 503
    airflow.status = 200
    assert send(client).status_code == 201


def test_a_delivery_that_started_nothing_is_not_remembered(client, airflow):
    assert send(client, {**PUSH, "ref": "refs/heads/master"}).status_code == 202
    assert send(client).status_code == 201


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"object_kind": "tag_push", "ref": "refs/tags/v1"}, "Tag Push Hook"),
        ({"object_kind": "issue"}, "Issue Hook"),
        ({**PUSH, "project": {"path_with_namespace": "other/thing"}}, "Push Hook"),
        ({**PUSH, "ref": "refs/heads/feature"}, "Push Hook"),
        ({**PUSH, "after": "0" * 40}, "Push Hook"),
    ],
)
def test_an_event_that_concerns_nobody(client, airflow, event, kind):
    body = json.dumps(event).encode()
    response = post(client, body, signed_headers(body), kind)
    assert response.status_code == 202
    assert set(response.json()) == {"ignored"}
    assert airflow.asked == 0


def test_a_broken_body_is_told_only_to_who_signed_it(client):
    assert send(client, b"[" * 100_000).status_code == 400
    assert post(client, b"[" * 100_000, signed_headers(b"{}")).status_code == 401


def test_a_refusal_ends_the_connection_and_repeats_nothing(client):
    response = send(client, stamp="<script>")
    assert response.status_code == 401
    assert response.headers["connection"] == "close"
    assert response.json() == {"code": "unauthorized", "reason": "webhook-timestamp is not a number of seconds"}


class Forger:
    """Makes deliveries that somebody without the secrets could send, who has overheard genuine ones."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._tricks = [
            self.nothing,
            self.a_token,
            self.another_header,
            self.another_byte,
            self.another_event,
            self.a_late_replay,
            self.another_key,
            self.a_header_less,
            self.anothers_signature,
        ]

    def delivery(self) -> tuple[str, bytes, dict[str, Any]]:
        trick = self._chance.choice(self._tricks)
        body = json.dumps(self._chance.choice([PUSH, TO_RC])).encode()
        genuine = dict(signed_headers(body, event_id=f"{self._chance.getrandbits(64):x}"))
        body, headers = trick(body, genuine)
        if "webhook-signature" in headers and self._chance.random() < 0.3:
            headers["X-Gitlab-Token"] = SECRET
        return trick.__name__, body, headers

    def _mutated(self, value: bytes) -> bytes:
        at = self._chance.randrange(len(value))
        fit = [byte for byte in range(33, 256) if byte not in (value[at], 127)]
        return value[:at] + bytes([self._chance.choice(fit)]) + value[at + 1 :]

    def nothing(self, body, headers):
        return body, {}

    def a_token(self, body, headers):
        return body, {"X-Gitlab-Token": self._mutated(SECRET.encode())}

    def another_header(self, body, headers):
        name = self._chance.choice(sorted(headers))
        return body, headers | {name: self._mutated(headers[name].encode())}

    def another_byte(self, body, headers):
        return self._mutated(body), headers

    def another_event(self, body, headers):
        return json.dumps({**PUSH, "after": f"{self._chance.getrandbits(160):040x}"}).encode(), headers

    def a_late_replay(self, body, headers):
        off = self._chance.choice([-1, 1]) * self._chance.randrange(301, 10**6)
        return body, signed_headers(body, stamp=f"{NOW + off:.0f}")

    def another_key(self, body, headers):
        key = self._chance.randbytes(32)
        signature = sign(headers["webhook-id"], headers["webhook-timestamp"], body, key)
        return body, headers | {"webhook-signature": signature}

    def a_header_less(self, body, headers):
        gone = self._chance.choice(sorted(headers))
        return body, {name: value for name, value in headers.items() if name != gone}

    def anothers_signature(self, body, headers):
        other = signed_headers(b'{"object_kind": "issue"}', event_id="overheard")
        return body, headers | {"webhook-signature": other["webhook-signature"]}


def test_nothing_forged_is_accepted(client, airflow):
    seed = random.randrange(2**32)
    forger = Forger(seed)
    for number in range(FORGED):
        trick, body, headers = forger.delivery()
        answer = post(client, body, headers)
        assert answer.status_code == 401, f"{trick} got in: seed {seed}, number {number}, {headers}, {body!r}"
    assert airflow.asked == 0
    assert send(client).status_code == 201


def test_the_memory_is_bounded():
    replays = Replays(most=2)
    deliveries = [Signed(b"%d" % number, b"1", (), KEY) for number in range(3)]
    for signed in deliveries:
        replays.remember(signed, frozenset({"run"}))
    assert [replays.knows(signed, frozenset({"run"})) for signed in deliveries] == [False, True, True]
    with pytest.raises(IdReused):
        replays.knows(deliveries[2], frozenset({"another"}))
    assert not replays.knows(deliveries[2], frozenset({"run", "another"}))

"""GitLab and Airflow as the receiver of webhooks meets them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import httpx

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.web.hooks import Receiver, WebhookAccount

SECRET = "a-secret-of-the-webhook"
KEY = bytes(range(32))
SIGNING_TOKEN = "whsec_" + base64.b64encode(KEY).decode()
NOW = 1_795_600_000.0
COMMIT = "4f1d2c9a7be3508fd6a1c0e2b94837f5a6d0c1e8"
RUN = "release__storefront__dev__4f1d2c9a7be3"
EVENT_ID = "0c6d3f6e-7b0a-4b57-9a55-3b1c0f3e6a11"
PUSH: dict[str, Any] = {
    "object_kind": "push",
    "ref": "refs/heads/dev",
    "after": COMMIT,
    "user_username": "dana",
    "user_email": "dana@example.com",
    "project": {"path_with_namespace": "shop/storefront"},
}


class Airflow:
    """Airflow's REST: logs in, starts runs, and remembers both."""

    def __init__(self) -> None:
        self.logins = 0
        self.asked = 0
        self.runs: dict[str, Any] = {}
        self.status = 200
        self.valid = {"token-1", "token-2", "token-3"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            assert json.loads(request.content) == {"username": "gitlab-webhook", "password": "its-password-123"}
            self.logins += 1
            return httpx.Response(201, json={"access_token": f"token-{self.logins}"})
        assert request.url.path == "/api/v2/dags/release_service/dagRuns"
        self.asked += 1
        if request.headers["Authorization"].removeprefix("Bearer ") not in self.valid:
            return httpx.Response(401, json={"detail": "Token Expired"})
        if self.status != 200:
            return httpx.Response(self.status, json={"detail": "no"})
        body = json.loads(request.content)
        if body["dag_run_id"] in self.runs:
            return httpx.Response(409, json={"detail": "exists"})
        self.runs[body["dag_run_id"]] = body
        return httpx.Response(200, json={})


def connection(**extra: Any) -> str:
    """Return the connection ``gitlab_webhook`` as Airflow reads it from the environment."""
    return json.dumps(
        {
            "conn_type": "http",
            "host": "http://127.0.0.1:8080",
            "login": "gitlab-webhook",
            "password": "its-password-123",
            "extra": extra,
        }
    )


def receiver(airflow: Airflow, **parts: Any) -> Receiver:
    inner = httpx.MockTransport(airflow)
    account = WebhookAccount(lambda: AirflowApi("gitlab_webhook", inner=inner))
    return Receiver(**{"account": account, "now": lambda: NOW} | parts)


def sign(event_id: bytes | str, stamp: bytes | str, body: bytes, key: bytes = KEY) -> str:
    """Sign as GitLab does."""
    event_id, stamp = (part if isinstance(part, bytes) else part.encode() for part in (event_id, stamp))
    digest = hmac.digest(key, b".".join((event_id, stamp, body)), hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def signed_headers(body: bytes, *, event_id: str = EVENT_ID, stamp: str = f"{NOW:.0f}") -> dict[str, str]:
    return {
        "webhook-id": event_id,
        "webhook-timestamp": stamp,
        "webhook-signature": sign(event_id, stamp, body),
    }

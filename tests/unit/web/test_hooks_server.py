"""Senders who send too much or too slowly meet a real server: they are answered, and their connection ends."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from platform_ops.web import app as web
from platform_ops.web import hooks
from platform_ops.web.json_body import Limits
from tests.unit.web.hook_world import PUSH, SECRET, SIGNING_TOKEN, Airflow, connection, receiver, signed_headers

PATIENCE = 20.0


class PassOn(BaseHTTPMiddleware):
    """Wraps what is received as Airflow's own middleware does."""

    async def dispatch(self, request, call_next):
        return await call_next(request)


@contextmanager
def served(http: str) -> Iterator[int]:
    """Serve the app below Airflow's middleware; yield the port."""
    outer = Starlette(
        routes=[Mount("/platform-ops", web.app)], middleware=[Middleware(PassOn), Middleware(GZipMiddleware)]
    )
    config = uvicorn.Config(outer, http=http, ws="none", lifespan="off", log_config=None, timeout_keep_alive=3600)
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


@pytest.fixture(params=["httptools", "h11"])
def port(request, monkeypatch) -> Iterator[int]:
    monkeypatch.setenv("AIRFLOW_CONN_GITLAB_WEBHOOK", connection(token=SECRET, signing_token=SIGNING_TOKEN))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example.com")
    ours = receiver(Airflow(), limits=Limits(largest=4096, seconds=0.3))
    web.app.dependency_overrides[hooks.this_receiver] = lambda: ours
    with served(request.param) as number:
        yield number
    web.app.dependency_overrides.clear()


@contextmanager
def begun(port: int, *headers: str) -> Iterator[socket.socket]:
    """Begin a request and leave its body to the test."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        lines = [
            "POST /platform-ops/hooks/gitlab HTTP/1.1",
            "Host: airflow",
            "Content-Type: application/json",
            *headers,
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        yield connection


def told(connection: socket.socket) -> str:
    """Read until the server ends the connection, with a reset where it had not read everything."""
    answer = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            answer += part
    return answer.decode()


PROOFS = {
    "token": [f"X-Gitlab-Token: {SECRET}"],
    "signature": [f"{name}: {value}" for name, value in signed_headers(b"{}").items()],
}


@pytest.fixture(params=sorted(PROOFS))
def proof(request) -> list[str]:
    return PROOFS[request.param]


def test_too_much_in_chunks_without_a_length(port, proof):
    with begun(port, *proof, "Transfer-Encoding: chunked") as sender:
        sender.sendall(b"1001\r\n" + b"x" * 0x1001 + b"\r\n")
        answer = told(sender)
    assert answer.startswith("HTTP/1.1 413 ")
    assert "too_large" in answer


def test_a_declared_length_is_not_waited_for(port, proof):
    with begun(port, *proof, "Content-Length: 1000000000") as sender:
        sender.sendall(b"x" * 5000)
        assert told(sender).startswith("HTTP/1.1 413 ")


def test_a_dripping_sender_is_cut_off_while_others_are_served(port, proof):
    with begun(port, *proof, "Transfer-Encoding: chunked") as sender:
        sender.sendall(b"1\r\n{\r\n")
        good = httpx.post(
            f"http://127.0.0.1:{port}/platform-ops/hooks/gitlab",
            json=PUSH,
            headers={"X-Gitlab-Token": SECRET, "X-Gitlab-Event": "Push Hook"},
            trust_env=False,
        )
        assert good.status_code == 201
        while not select.select([sender], [], [], 0.01)[0]:
            sender.sendall(b"1\r\n \r\n")
        answer = told(sender)
    assert answer.startswith("HTTP/1.1 408 ")
    assert "too_slow" in answer


def test_a_silent_sender_is_cut_off(port, proof):
    with begun(port, *proof, "Content-Length: 100") as sender:
        assert told(sender).startswith("HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "headers", [["X-Gitlab-Token: wrong"], ["webhook-signature: v1,wrong"], [], ["X-Gitlab-Token: \u00fc"]]
)
def test_who_is_refused_by_the_headers_sends_no_body(port, headers):
    with begun(port, *headers, "Content-Length: 1000000000") as sender:
        assert told(sender).startswith("HTTP/1.1 401 ")

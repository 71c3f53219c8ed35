"""Hands requests on to a server that is not ours, so that the fault layer can stand before it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox import effects

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""Headers that belong to one connection (RFC 9110, 7.6.1)."""
SECONDS = 300.0


class Forward:
    """ASGI app that asks another server and passes on what it says, byte for byte.

    The Host header stays the one the client sent: S3 clients sign it.

    :param upstream: base URL of the server.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        # A connection for each request: one that was kept would break with the server's next restart.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=SECONDS, limits=limits, trust_env=False, follow_redirects=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = httpx.Request(
            scope["method"],
            self._url(scope),
            headers=[(name, value) for name, value in scope["headers"] if name not in HOP_BY_HOP | {b"expect"}],
            content=_sent(receive) if _has_body(scope) else None,
        )
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.TransportError as error:
            body = f"{self._upstream.netloc} gives no answer: {type(error).__name__}\n".encode()
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 502, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        try:
            headers = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in HOP_BY_HOP]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            async for chunk in answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await answer.aclose()

    def _url(self, scope: Scope) -> httpx.URL:
        # The path as it was sent: decoding it once would turn %2F into another path.
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        parts = self._upstream
        return httpx.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, raw_path=target)


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


async def _sent(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            # Ending here would make a whole upload of half a chunked one; raising breaks the connection to the server.
            raise httpx.ReadError("The client went away in the middle of its request.")
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


class Counted:
    """ASGI middleware that counts what a server did and answers `GET /_sandbox/state` with it.

    :param effect: what happened when a request (method, path, query) had succeeded; None for nothing.
    :param file: keeps the counts over a restart.
    """

    def __init__(self, app: ASGIApp, effect: Callable[[str, str, str], str | None], file: Path) -> None:
        self._app = app
        self._effect = effect
        self._file = file
        self._counts = Counter(json.loads(file.read_text())) if file.exists() else Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/_sandbox/state":
            await JSONResponse(effects.state(self._counts))(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < httpx.codes.MULTIPLE_CHOICES:
                self._happened(scope)
            await send(message)

        await self._app(scope, receive, counting)

    def _happened(self, scope: Scope) -> None:
        kind = self._effect(scope["method"], scope["raw_path"].decode("ascii"), scope["query_string"].decode("ascii"))
        if kind:
            self._counts[kind] += 1
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps(self._counts))
            new.replace(self._file)

"""Hands requests on to a server that is not ours, so that the fault layer can stand before it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
from starlette.types import Receive, Scope, Send

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
        yield message.get("body", b"")
        if not message.get("more_body"):
            return

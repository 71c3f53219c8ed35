"""The one fault layer: it stands before a server and spoils what it was told to, on the wire as a client sees it.

`POST /_sandbox/faults` orders a fault, `GET` lists the orders with how often each has struck, `DELETE` forgets them.
Our stand-ins run inside it; `sandbox/forward.py` puts it before servers that are not ours.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PATH = "/_sandbox/faults"
TRANSPORT = "sandbox.transport"
"""Key of an ASGI scope under which `Connection` leaves the connection itself."""


class BadOrder(ValueError):
    """An order that can't be carried out; it says which field is wrong."""


@dataclass(slots=True)
class Fault:
    """One order.

    :param kind: one of `KINDS`.
    :param path: regular expression, searched in the path as it was sent, with its query.
    :param method: empty for any.
    :param status: of kind `status`.
    :param seconds: `status`: the answer's Retry-After, none when 0; `delay`: before the request is handed on; `drip`:
        between two bytes of the answer.
    :param times: how many requests it strikes; 0 for all until it is forgotten.
    :param struck: how many it has struck.
    """

    kind: str
    path: str = ""
    method: str = ""
    status: int = 503
    seconds: float = 0.0
    times: int = 1
    struck: int = 0
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            self._pattern = re.compile(self.path)
        except re.error as error:
            raise BadOrder(f"path {self.path!r} is no regular expression: {error}") from error

    def meets(self, method: str, target: str) -> bool:
        """Tell whether it strikes a request.

        :param target: path and query as they were sent.
        """
        left = not self.times or self.struck < self.times
        return left and self.method.upper() in ("", method) and bool(self._pattern.search(target))

    def shown(self) -> dict[str, Any]:
        """Return the order as it is listed."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.init}


TAKEN: Mapping[str, Any] = {
    "kind": str, "path": str, "method": str, "status": int, "seconds": int | float, "times": int
}  # fmt: skip
"""What an order may say."""


def order(document: Any) -> Fault:
    """Make a fault of what was sent.

    :raises BadOrder: a field is unknown, missing or wrong.
    """
    if not isinstance(document, dict):
        raise BadOrder("send one JSON object")
    unknown = sorted(set(document) - set(TAKEN))
    if unknown:
        raise BadOrder(f"unknown fields {', '.join(unknown)}; known are {', '.join(TAKEN)}")
    for name, value in document.items():
        if isinstance(value, bool) or not isinstance(value, TAKEN[name]) or (not isinstance(value, str) and value < 0):
            raise BadOrder(f"{name} can't be {value!r}")
    if document.get("kind") not in KINDS:
        raise BadOrder(f"kind must be one of {', '.join(KINDS)}")
    return Fault(**document)


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with the connection in the scope, so that the layer can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        served = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            await served({**scope, TRANSPORT: transport}, receive, send)

        self.app = with_transport


class FaultLayer:
    """ASGI middleware; it has to be the outermost.

    :param app: the server behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == PATH:
            await self._manage(scope["method"], receive, send)
        else:
            fault = self._strike(scope)
            if fault is None:
                await self._app(scope, receive, send)
            else:
                await KINDS[fault.kind](_Exchange(self._app, scope, receive, send), fault)

    def _strike(self, scope: Scope) -> Fault | None:
        """Take the first fault that meets the request; the layer's own pages and the state are never spoiled."""
        target = scope["raw_path"].decode("latin-1")
        if target.startswith("/_sandbox/"):
            return None
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        with self._lock:
            found = next((fault for fault in self._faults if fault.meets(scope["method"], target)), None)
            if found:
                found.struck += 1
            return found

    async def _manage(self, method: str, receive: Receive, send: Send) -> None:
        status, refusal = 200, ""
        try:
            if method == "POST":
                made = order(json.loads(await _body(receive)))
                with self._lock:
                    self._faults.append(made)
                status = 201
            elif method == "DELETE":
                with self._lock:
                    self._faults.clear()
            elif method != "GET":
                status, refusal = 405, "GET, POST or DELETE"
        except ValueError as error:
            status, refusal = 422, str(error)
        with self._lock:
            answer = {"error": refusal} if refusal else {"faults": [fault.shown() for fault in self._faults]}
        await _answer(send, status, json.dumps(answer).encode(), {"content-type": "application/json"})


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request and the way its answer takes."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send

    async def passed_on(self) -> None:
        await self.app(self.scope, self.receive, self.send)

    async def done(self) -> tuple[Message, bytes]:
        """Have the server do it, and keep the answer back."""
        kept: list[Message] = []

        async def keep(message: Message) -> None:
            kept.append(message)

        await self.app(self.scope, self.receive, keep)
        return kept[0], b"".join(message.get("body", b"") for message in kept[1:])

    async def gone(self) -> None:
        """Wait for the end of the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def left_within(self, seconds: float) -> bool:
        """Tell whether the client ends the connection before the time is over; nobody else reads its request."""
        try:
            await asyncio.wait_for(self.gone(), seconds)
        except TimeoutError:
            return False
        return True

    async def dropped(self, *, reset: bool) -> None:
        """End the connection.

        :param reset: with a TCP reset and all that is still unsent thrown away, else after that.
        """
        transport: asyncio.Transport = self.scope[TRANSPORT]
        if reset:
            # Closing a socket that may not linger sends a reset (socket(7), SO_LINGER).
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        # uvicorn answers 500 for a server that ends without an answer, unless it knows that nobody waits for one.
        await self.gone()


async def _status(exchange: _Exchange, fault: Fault) -> None:
    """Answer with a status; the server never hears of it."""
    headers = {"content-type": "text/plain"} | ({"retry-after": f"{fault.seconds:g}"} if fault.seconds else {})
    # A body that nobody reads would be taken for the next request.
    await _body(exchange.receive)
    await _answer(exchange.send, fault.status, b"ordered by a fault\n", headers)


async def _delay(exchange: _Exchange, fault: Fault) -> None:
    """Wait, then hand the request on."""
    await asyncio.sleep(fault.seconds)
    await exchange.passed_on()


async def _reset(exchange: _Exchange, fault: Fault) -> None:
    """Reset the connection; the server never hears of it."""
    await exchange.dropped(reset=True)


async def _lose_reply(exchange: _Exchange, fault: Fault) -> None:
    """Have it done, then reset the connection."""
    await exchange.done()
    await exchange.dropped(reset=True)


async def _truncate(exchange: _Exchange, fault: Fault) -> None:
    """Have it done, send half of the answer, then end the connection."""
    start, body = await exchange.done()
    await exchange.send(start)
    await exchange.send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    await exchange.dropped(reset=False)


async def _drip(exchange: _Exchange, fault: Fault) -> None:
    """Have it done, then send the answer byte by byte, for as long as somebody reads."""
    start, body = await exchange.done()
    await exchange.send(start)
    for place in range(len(body)):
        await exchange.send({"type": "http.response.body", "body": body[place : place + 1], "more_body": True})
        if await exchange.left_within(fault.seconds):
            return
    await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wrong_bytes(exchange: _Exchange, fault: Fault) -> None:
    """Have it done, then send the answer with one byte flipped; its length and headers stay."""
    start, body = await exchange.done()
    spoiled = bytearray(body)
    if spoiled:
        spoiled[len(spoiled) // 2] ^= 0xFF
    await exchange.send(start)
    await exchange.send({"type": "http.response.body", "body": bytes(spoiled)})


KINDS: Mapping[str, Callable[[_Exchange, Fault], Awaitable[None]]] = {
    "status": _status,
    "delay": _delay,
    "reset": _reset,
    "truncate": _truncate,
    "drip": _drip,
    "lose_reply": _lose_reply,
    "wrong_bytes": _wrong_bytes,
}


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _answer(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    start = {"type": "http.response.start", "status": status}
    await send(start | {"headers": [*named, (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})

import ssl
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import certifi
import httpx
import pytest

from platform_ops.common.errors import AuthenticationFailed, Busy, Invalid, NotFound, PlatformError, Unreachable
from platform_ops.common.http import LARGEST_ANSWER, HttpApi, Transport, httpx_client, url_path


def api(handler: Callable[[httpx.Request], httpx.Response], pauses: list[float] | None = None) -> HttpApi:
    transport = Transport(httpx.MockTransport(handler), pause=(pauses if pauses is not None else []).append)
    return HttpApi("Harbor", httpx.Client(base_url="http://harbor.example.com", transport=transport))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Invalid), (401, AuthenticationFailed), (403, AuthenticationFailed), (404, NotFound), (409, Busy),
     (412, Busy), (422, Invalid), (429, Busy), (500, Busy), (503, Busy)],
)  # fmt: skip
def test_a_status_becomes_an_error_that_names_system_and_object(status: int, kind: type[PlatformError]) -> None:
    with pytest.raises(kind, match=f"Harbor answered {status} to POST for artifact shop/web"):
        api(lambda _: httpx.Response(status, text="why")).call("POST", "/x", what="artifact shop/web")


@pytest.mark.parametrize(("method", "sent"), [("GET", 3), ("HEAD", 3), ("POST", 1), ("PUT", 1), ("DELETE", 1)])
def test_only_safe_calls_are_repeated(method: str, sent: int) -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        raise httpx.ConnectError("refused")

    with pytest.raises(Unreachable, match="did not answer"):
        api(handler).call(method, "/x", what="it")
    assert len(seen) == sent


def test_retry_after_is_honoured_up_to_a_limit() -> None:
    answers = iter([httpx.Response(429, headers={"Retry-After": "2"}), httpx.Response(503, headers={"Retry-After": "900"}),
                    httpx.Response(200, json={})])  # fmt: skip
    pauses: list[float] = []
    api(lambda _: next(answers), pauses).json("GET", "/x", what="it")
    assert pauses == [2.0, 5.0]


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_a_final_answer_is_asked_for_once(status: int) -> None:
    seen: list[int] = []

    def handler(_: httpx.Request) -> httpx.Response:
        seen.append(1)
        return httpx.Response(status)

    with pytest.raises(PlatformError):
        api(handler).call("GET", "/x", what="it")
    assert len(seen) == 1


def test_a_page_instead_of_json_is_no_answer() -> None:
    with pytest.raises(Unreachable, match="not JSON"):
        api(lambda _: httpx.Response(200, text="<html>")).json("GET", "/x", what="it")


def test_an_endless_answer_is_cut_off() -> None:
    def endless() -> object:
        while True:
            yield b"x" * (1024 * 1024)

    with pytest.raises(Busy, match=str(LARGEST_ANSWER)):
        api(lambda _: httpx.Response(200, content=endless())).call("GET", "/x", what="it")  # type: ignore[arg-type]


def test_an_answer_that_drips_is_cut_off() -> None:
    clock = count(0, 25)

    def dripping() -> Iterator[bytes]:
        while True:
            yield b"x"

    inner = httpx.MockTransport(lambda _: httpx.Response(200, content=dripping()))
    client = httpx.Client(base_url="http://harbor", transport=Transport(inner, clock=lambda: next(clock)))
    with pytest.raises(Unreachable, match="has not ended its answer after 60 s"):
        HttpApi("Harbor", client).call("GET", "/x", what="it")


def test_a_slash_inside_a_segment_stays_inside() -> None:
    assert url_path("projects", "a/../b", "x y") == "/projects/a%2F..%2Fb/x%20y"


def test_no_cookie_is_sent_back() -> None:
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Cookie"))
        return httpx.Response(200, headers={"Set-Cookie": "sid=1; Path=/"})

    client = httpx_client("http://harbor.example.com", inner=httpx.MockTransport(handler))
    client.get("/a")
    client.get("/b")
    assert seen == [None, None]


def test_encrypted_connections_are_verified_with_what_the_connection_names(tmp_path: Path) -> None:
    def context(address: str, verify: bool | str) -> ssl.SSLContext:
        transport = httpx_client(address, verify=verify)._transport
        return transport._inner._pool._ssl_context  # type: ignore[attr-defined, no-any-return]

    assert context("https://harbor.example.com", True).verify_mode is ssl.CERT_REQUIRED
    assert context("https://harbor.example.com", True) is context("https://gitlab.example.com", True)
    assert context("https://harbor.example.com", False).verify_mode is ssl.CERT_NONE
    bundle = tmp_path / "ca.pem"
    bundle.write_text(Path(certifi.where()).read_text())
    own = context("https://harbor.example.com", str(bundle))
    assert own.verify_mode is ssl.CERT_REQUIRED
    assert own is not context("https://harbor.example.com", True)

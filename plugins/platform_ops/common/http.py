"""The one HTTP transport, in the three forms the clients take: httpx, requests and urllib3.

Each gives time-outs, repeats of safe calls only, and a limit on the size of an answer. A mutating call is
never repeated here: whether it happened is for the caller to find out. Around it lies its fail point.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from platform_ops.common.errors import Busy, Unreachable, error_for_status
from platform_ops.common.fail_points import around_change

if TYPE_CHECKING:
    import requests
    import urllib3

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
SAFE_TRIES = 3
CONNECTIONS = 16
"""How many threads may share a pool of urllib3 without a new connection for each call."""
LARGEST_ANSWER = 32 * 1024 * 1024
LONGEST_ANSWER_SECONDS = 60.0
"""From its first byte to its last: each read has its own time-out, which an answer byte by byte never meets."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PASSING_STATUSES = frozenset({429, 502, 503, 504})
LONGEST_RETRY_AFTER = 5.0


def url_path(*segments: str) -> str:
    """Join path segments, each fully percent-encoded (a slash inside a segment included)."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


def keep_dots(url: str) -> str:
    """Encode the dots of segments ``.`` and ``..``: urllib3 would resolve them, and an S3 key may have them."""
    before, mark, query = url.partition("?")
    kept = [segment.replace(".", "%2E") if segment in (".", "..") else segment for segment in before.split("/")]
    return "/".join(kept) + mark + query


def _fail_point(method: str) -> AbstractContextManager[None]:
    return nullcontext() if method in SAFE_METHODS else around_change()


class _LimitedStream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, what: str, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._what = what
        self._clock = clock

    def __iter__(self) -> Iterator[bytes]:
        total, until = 0, self._clock() + LONGEST_ANSWER_SECONDS
        for chunk in self._stream:
            if self._clock() > until:
                raise Unreachable(f"{self._what} has not ended its answer after {LONGEST_ANSWER_SECONDS:.0f} s.")
            total += len(chunk)
            if total > LARGEST_ANSWER:
                message = f"{self._what} answered with more than {LARGEST_ANSWER} bytes; ask for less at a time."
                raise Busy(message)
            yield chunk

    def close(self) -> None:
        self._stream.close()


class Transport(httpx.BaseTransport):
    """An httpx transport that repeats safe calls and limits answers.

    :param inner: what really sends; tests pass ``httpx.MockTransport``.
    :param pause: called with the seconds to wait between tries of a safe call.
    :param clock: seconds that never go back.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport,
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._pause = pause
        self._clock = clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and send again while a safe call meets a passing trouble."""
        tries = SAFE_TRIES if request.method in SAFE_METHODS else 1
        for number in range(1, tries + 1):
            try:
                with _fail_point(request.method):
                    response = self._inner.handle_request(request)
            except httpx.TransportError:
                if number == tries:
                    raise
                self._pause(0.2 * number)
                continue
            if response.status_code in PASSING_STATUSES and number < tries:
                response.close()
                self._pause(_retry_after(response.headers, 0.2 * number))
                continue
            stream = response.stream
            if isinstance(stream, httpx.SyncByteStream):
                response.stream = _LimitedStream(stream, str(request.url.copy_with(query=None)), self._clock)
            return response
        raise AssertionError  # pragma: no cover

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


def _retry_after(headers: Mapping[str, str], otherwise: float) -> float:
    value = headers.get("Retry-After", "")
    return min(float(value), LONGEST_RETRY_AFTER) if value.isdigit() else otherwise


@cache
def _trust(verify: bool | str) -> ssl.SSLContext:  # noqa: FBT001
    """Return what to trust; reading the certificates takes longer than a call, so each set is read once."""
    return ssl.create_default_context(cafile=verify) if isinstance(verify, str) else httpx.create_ssl_context(verify)


def _encrypted(base_url: str) -> bool:
    return base_url.lower().startswith("https:")


def httpx_client(
    base_url: str,
    *,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    verify: bool | str = True,
    read_seconds: float = READ_SECONDS,
    inner: httpx.BaseTransport | None = None,
) -> httpx.Client:
    """Return a client on our transport; it keeps no cookies and follows no redirects.

    :param verify: False or the path of a CA bundle.
    :param inner: replaces the network in tests.
    """
    client = httpx.Client(
        base_url=base_url,
        headers=dict(headers or {}),
        auth=auth,
        timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
        transport=Transport(inner or httpx.HTTPTransport(verify=_trust(verify if _encrypted(base_url) else False))),
        follow_redirects=False,
    )
    # A session cookie would make Harbor ask every write for a CSRF token (goharbor/harbor issue 20048).
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


def _plain_text(response: httpx.Response) -> str:
    return response.text.strip()[:500]


class HttpApi:
    """JSON calls to one system, with every failure turned into one of our errors.

    :param system: the name a person knows it by, e.g. ``Harbor``.
    :param error_text: takes the vendor's message out of an error answer.
    """

    def __init__(
        self, system: str, client: httpx.Client, *, error_text: Callable[[httpx.Response], str] = _plain_text
    ) -> None:
        self.system = system
        self.client = client
        self._error_text = error_text

    def call(
        self,
        method: str,
        path: str,
        *,
        what: str,
        accept: tuple[int, ...] = (),
        json: Any = None,
        params: Mapping[str, str | int | bool] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """Send one request.

        :param what: the object a person would name, for messages: ``artifact shop/web:abc``.
        :param accept: statuses of 400 and above that the caller judges itself.
        :raises PlatformError: the class that the status, or the lack of an answer, stands for.
        """
        try:
            response = self.client.request(method, path, json=json, params=params, headers=headers, content=content)
        except httpx.TransportError as error:
            message = (
                f"{self.system} at {self.client.base_url} did not answer {method} for {what}: "
                f"{type(error).__name__}. Check that it runs and that the connection's address is right."
            )
            raise Unreachable(message) from error
        if response.status_code < 400 or response.status_code in accept:
            return response
        kind = error_for_status(response.status_code)
        said = self._error_text(response) or response.reason_phrase
        message = f"{self.system} answered {response.status_code} to {method} for {what}: {said}"
        raise kind(message, facts={"system": self.system, "status": response.status_code})

    def json(self, method: str, path: str, *, what: str, **options: Any) -> Any:
        """Send one request and return the JSON of its answer.

        :raises Unreachable: the answer is not JSON (a proxy's page, a cut body).
        """
        response = self.call(method, path, what=what, **options)
        try:
            return response.json()
        except ValueError as error:
            message = (
                f"{self.system} at {self.client.base_url} answered {response.status_code} for {what} "
                "with something that is not JSON. Check that the connection's address is the API's."
            )
            raise Unreachable(message) from error


def requests_session(*, verify: bool | str = True) -> requests.Session:
    """Return a requests session on our terms, for python-gitlab and hvac."""
    import requests
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
            kwargs["timeout"] = kwargs.get("timeout") or (CONNECT_SECONDS, READ_SECONDS)
            with _fail_point(request.method):
                return super().send(request, *args, **kwargs)

    session = requests.Session()
    session.verify = verify
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter(max_retries=_urllib3_retry()))
    return session


def urllib3_pool(*, verify: bool | str = True) -> urllib3.PoolManager:
    """Return a urllib3 pool on our terms, for minio and kubernetes.

    :param verify: False or the path of a CA bundle.
    """
    import urllib3

    class Pool(urllib3.PoolManager):
        def urlopen(self, method: str, url: str, *options: Any, **named: Any) -> Any:
            with _fail_point(method):
                return super().urlopen(method, keep_dots(url), *options, **named)

    options: dict[str, Any] = {} if verify is True else {"ca_certs": verify} if verify else {"cert_reqs": "CERT_NONE"}
    return Pool(
        maxsize=CONNECTIONS,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        retries=_urllib3_retry(),
        **options,
    )


def _urllib3_retry() -> urllib3.Retry:
    import urllib3

    return urllib3.Retry(
        total=SAFE_TRIES - 1,
        backoff_factor=0.2,
        allowed_methods=SAFE_METHODS,
        status_forcelist=PASSING_STATUSES,
        raise_on_status=False,
        respect_retry_after_header=False,
    )

"""Buckets of a million objects that nobody stored: a server that makes up their listings and hands on all else.

`python -m benchmarks.million PORT OBJECTS URL` stands before the store at that URL. It answers ListObjectsV2 of two
buckets that are the same, and of the contents that backups of the first have stored.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.stores import Store, free_port
from sandbox.processes import ROOT, SandboxError, clean_environment, python_path

BUCKET, COPY, BACKUPS = "million", "million-copy", "million-backups"
CONTENTS = f"{BUCKET}/contents/"
FOLDER = 1000
"""Objects in each folder, and on each page."""
MODIFIED = "2026-11-01T00:00:00.000Z"
SIZE, STORED_SIZE = 10_000, 4_000
POINT = "20261101T000000Z-01234567"
_SPREAD = 617_717
"""Coprime to the powers of ten: contents are needed in another order than that of their names."""
_START_SECONDS = 10.0


def key(number: int) -> str:
    """Return the key of an object."""
    return f"{number // FOLDER:04}/{number:07}"


def etag(number: int) -> str:
    """Return the ETag of an object."""
    return hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest()


def content(number: int) -> str:
    """Return the name of a stored content; names grow with their numbers."""
    return f"{number:08x}{hashlib.sha256(b'%d' % number).hexdigest()[8:]}-{POINT}-01234567.zst.age"


def content_of(number: int, objects: int) -> int:
    """Return which content an object has."""
    return number * _SPREAD % objects


class Handler(BaseHTTPRequestHandler):
    """Answers what is made up, and asks the store for the rest.

    :cvar objects: how many there are.
    :cvar store: host and port of the store.
    """

    protocol_version = "HTTP/1.1"
    objects = 0
    store = ""

    def handle(self) -> None:
        """Serve one connection; clients drop those they kept when they end."""
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a listing, or hand on."""
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        bucket, prefix = parts.path.strip("/"), asked.get("prefix", "")
        if asked.get("list-type") != "2":
            self._hand_on()
        elif bucket in (BUCKET, COPY):
            self._answer(self._listing(prefix, asked))
        elif (bucket, prefix) == (BACKUPS, CONTENTS):
            self._answer(self._page(_contents, 0, self.objects, asked))
        else:
            self._hand_on()

    def _listing(self, prefix: str, asked: dict[str, str]) -> str:
        if prefix:
            first = int(prefix.strip("/")) * FOLDER
            return self._page(_objects, first, min(first + FOLDER, self.objects), asked)
        if asked.get("delimiter"):
            folders = range(-(-self.objects // FOLDER))
            return _page("".join(f"<CommonPrefixes><Prefix>{one:04}/</Prefix></CommonPrefixes>" for one in folders), "")
        return self._page(_objects, 0, self.objects, asked)

    def _page(self, entries: Any, first: int, last: int, asked: dict[str, str]) -> str:
        """Make the page that begins where the token says."""
        at = int(asked.get("continuation-token", first))
        end = min(at + FOLDER, last)
        return _page("".join(entries(range(at, end))), str(end) if end < last else "")

    def _answer(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hand_on(self) -> None:
        """Ask the store the same: with the host that was signed."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # A connection of its own: the store closes those that are idle for a while.
        with closing(http.client.HTTPConnection(self.store, timeout=600)) as behind:
            behind.request(self.command, self.path, body, dict(self.headers.items()))
            answer = behind.getresponse()
            found = answer.read()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    do_HEAD = do_PUT = do_POST = do_DELETE = _hand_on  # noqa: N815 - the names http.server asks for


def _page(entries: str, token: str) -> str:
    top = {"Name": BUCKET, "MaxKeys": FOLDER, "EncodingType": "url", "IsTruncated": "true" if token else "false"}
    if token:
        top["NextContinuationToken"] = token
    head = "".join(f"<{name}>{value}</{name}>" for name, value in top.items())
    return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{head}{entries}</ListBucketResult>'


def _objects(numbers: range) -> Iterator[str]:
    return (_entry(key(number), etag(number), SIZE) for number in numbers)


def _contents(numbers: range) -> Iterator[str]:
    return (_entry(CONTENTS + content(number), etag(number), STORED_SIZE) for number in numbers)


def _entry(name: str, tag: str, size: int) -> str:
    return (
        f"<Contents><Key>{name}</Key><LastModified>{MODIFIED}</LastModified><ETag>&quot;{tag}&quot;</ETag>"
        f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


@contextmanager
def listing(store: Store, objects: int) -> Iterator[Store]:
    """Run the server before a store for as long as the block lasts; what is returned is the store behind it."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.million", str(port), str(objects), store.url]
    environment = clean_environment({"PYTHONPATH": python_path()})
    with subprocess.Popen(command, cwd=ROOT, env=environment) as child:
        try:
            _wait(port)
            yield replace(store, url=f"http://127.0.0.1:{port}")
        finally:
            child.terminate()


def _wait(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise SandboxError("The server of the million objects does not start.") from error
            time.sleep(0.05)
        else:
            return


def main() -> None:
    """Serve."""
    Handler.objects, Handler.store = int(sys.argv[2]), urlsplit(sys.argv[3]).netloc
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()

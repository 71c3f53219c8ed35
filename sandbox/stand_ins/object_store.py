"""S3 by moto, in this process, behind our signature check and in front of a journal that outlives it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch
from urllib.parse import unquote_to_bytes
from xml.sax.saxutils import escape

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from moto.moto_api._internal import mock_random
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import s3_backends
from werkzeug.test import run_wsgi_app

from sandbox import effects
from sandbox.accounts import accounts
from sandbox.stand_ins.object_store_rights import require
from sandbox.stand_ins.object_store_signature import S3Error, Sent, check

MUTATING = frozenset({"PUT", "POST", "DELETE"})
LEFT_OUT = ("authorization", "host", "connection", "content-length", "accept-encoding", "user-agent", "expect")
Answer = tuple[int, dict[str, str], bytes]


def create_app(environment: Mapping[str, str], folder: Path, *, clock: Callable[[], float] = time.time) -> FastAPI:
    """Make the server."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = Engine(folder / "journal.jsonl", environment["OBJECT_STORE_ACCESS_KEY"], clock)
    limited = {account.access_key: account for account in accounts(environment)}
    secrets = {key: account.secret_key for key, account in limited.items()}
    secrets[environment["OBJECT_STORE_ACCESS_KEY"]] = environment["OBJECT_STORE_SECRET_KEY"]
    app = FastAPI(title="S3 stand-in", openapi_url=None, redirect_slashes=False)

    @app.exception_handler(S3Error)
    def s3_error(request: Request, error: S3Error) -> Response:
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{error.code}</Code><Message>{escape(str(error))}'
            f"</Message><Resource>{escape(request.url.path)}</Resource><RequestId>0</RequestId></Error>"
        )
        return Response("" if request.method == "HEAD" else body, error.status, media_type="application/xml")

    @app.get("/_sandbox/state")
    def sandbox_state() -> dict[str, Any]:
        return effects.state(engine.effects)

    @app.api_route("/{path:path}", methods=["GET", "HEAD", "PUT", "POST", "DELETE"])
    def s3(request: Request, body: Annotated[bytes, Depends(_raw_body)]) -> Response:
        sent = Sent(
            method=request.method,
            path=request.scope["raw_path"].decode("ascii"),
            query=request.scope["query_string"].decode("ascii"),
            headers={name: ",".join(request.headers.getlist(name)) for name in request.headers},
            body=body,
        )
        account = limited.get(check(sent, secrets, clock()))
        if account:
            require(account, sent)
        status, headers, content = engine.answer(sent)
        return Response(content, status, headers)

    return app


async def _raw_body(request: Request) -> bytes:
    return await request.body()


class Engine:
    """moto's S3, one call at a time, so that of two conditional writes exactly one finds the key missing."""

    def __init__(self, journal: Path, access_key: str, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._clock = clock
        # moto tells strangers from owners by the presence of this header; our own check has judged the real one.
        self._authorization = f"AWS4-HMAC-SHA256 Credential={access_key}/20000101/us-east-1/s3/aws4_request"
        self._lock = threading.Lock()
        self._moto = create_backend_app("s3")
        self._count = 0
        self.effects: Counter[str] = Counter()
        # moto draws the ids of multipart uploads from the operating system: the one a client knows to moto's.
        self._uploads: dict[str, str] = {}
        s3_backends.reset()  # moto's state belongs to the process, not to the app
        self._replay()

    def answer(self, sent: Sent) -> Answer:
        # The engine judges by its own credential; parts of a presigned address would confuse it.
        query = "&".join(part for part in sent.query.split("&") if not part.startswith("X-Amz-"))
        headers = {name: value for name, value in sent.headers.items() if name not in LEFT_OUT}
        with self._lock:
            if sent.method not in MUTATING:
                return self._call(sent.method, sent.path, query, headers, sent.body)
            now = self._clock()
            answer = self._mutate(sent.method, sent.path, query, headers, sent.body, now)
            if answer[0] < 300:
                self._note(sent.method, sent.path, query, headers, sent.body, now, answer[2])
            return answer

    def _mutate(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, now: float) -> Answer:
        """Do it so that doing it again in the same order gives the same version ids and times."""
        mock_random.seed(self._count)
        at = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
        with patch("moto.s3.models.utcnow", lambda: at):
            return self._call(method, path, query, headers, body)

    def _call(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> Answer:
        query = re.sub(r"(?<=uploadId=)[^&]+", lambda found: self._uploads.get(found[0], found[0]), query)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "RAW_URI": f"{path}?{query}" if query else path,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_AUTHORIZATION": self._authorization,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environ[key if name == "content-type" else f"HTTP_{key}"] = value
        try:
            chunks, status, found = run_wsgi_app(self._moto, environ)
        except KeyError:
            # moto has no answer for a part of an upload that nobody began.
            if "uploadId=" not in query:
                raise
            raise S3Error(404, "NoSuchUpload", "The specified multipart upload does not exist.") from None
        kept = {name: value for name, value in found.items() if not name.lower().startswith("access-control-")}
        return int(status.split(" ")[0]), kept, b"".join(chunks)

    # The journal: one JSON line per change, in the kernel's hands before the answer leaves

    def _note(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes, now: float, answered: bytes
    ) -> None:
        upload = re.search(rb"<InitiateMultipartUploadResult.*<UploadId>(.+)</UploadId>", answered, re.DOTALL)
        line = {
            "method": method,
            "path": path,
            "query": query,
            "headers": headers,
            "body": base64.b64encode(body).decode(),
            "at": now,
            "upload": upload[1].decode() if upload else None,
        }
        with self._journal.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        self._happened(method, path, query)

    def _happened(self, method: str, path: str, query: str) -> None:
        self._count += 1
        if kind := effects.stored(method, path, query):
            self.effects[kind] += 1

    def _replay(self) -> None:
        """Do every change again; a half line at the end belongs to a change that was never answered."""
        if not self._journal.exists():
            return
        whole = self._journal.read_bytes()
        lines, _, half = whole.rpartition(b"\n")
        if half:
            os.truncate(self._journal, len(whole) - len(half))
        for line in lines.splitlines():
            entry = json.loads(line)
            _, _, answered = self._mutate(
                entry["method"],
                entry["path"],
                entry["query"],
                entry["headers"],
                base64.b64decode(entry["body"]),
                entry["at"],
            )
            if entry["upload"]:
                self._uploads[entry["upload"]] = re.findall(rb"<UploadId>(.+)</UploadId>", answered)[0].decode()
            self._happened(entry["method"], entry["path"], entry["query"])

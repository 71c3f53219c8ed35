"""Harbor's registry: the OCI distribution API under /v2 and the token service in front of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from sandbox.stand_ins.harbor_auth import Raw, basic_robot, error_response
from sandbox.stand_ins.harbor_store import DIGEST, TAG, HarborError, Store, stamp

TOKEN_SECONDS = 1800
VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
MANIFEST_TYPES = frozenset(
    {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)
ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
Access = dict[str, set[str]]
"""Repository name to the actions a token allows."""


def add_registry(app: FastAPI, store: Store, environment: Mapping[str, str]) -> None:
    registry = Registry(store, environment)

    @app.get("/service/token")
    def token(request: Request) -> Response:
        return registry.token(request)

    @app.api_route("/v2/{rest:path}", methods=["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE"])
    def distribution(request: Request, rest: str, body: Raw) -> Response:
        try:
            return registry.answer(request, rest, body)
        except HarborError as error:
            error.headers |= VERSION
            return error_response(error)


class Registry:
    def __init__(self, store: Store, environment: Mapping[str, str]) -> None:
        self.store = store
        self.environment = environment
        # Tokens are signed, not stored, so they outlive a restart.
        self._key = hashlib.sha256(b"token " + environment["HARBOR_PASSWORD"].encode()).digest()
        self._routes: list[tuple[str, re.Pattern[str], Callable[[Request, str, str, bytes], Response]]] = [
            ("GET", re.compile(r"(.+)/tags/(list)"), self._list_tags),
            ("HEAD", re.compile(r"(.+)/manifests/([^/]+)"), self._get_manifest),
            ("GET", re.compile(r"(.+)/manifests/([^/]+)"), self._get_manifest),
            ("PUT", re.compile(r"(.+)/manifests/([^/]+)"), self._put_manifest),
            ("POST", re.compile(r"(.+)/blobs/uploads(/?)"), self._start_upload),
            ("GET", re.compile(r"(.+)/blobs/uploads/([^/]+)"), self._upload_status),
            ("PATCH", re.compile(r"(.+)/blobs/uploads/([^/]+)"), self._continue_upload),
            ("PUT", re.compile(r"(.+)/blobs/uploads/([^/]+)"), self._finish_upload),
            ("HEAD", re.compile(r"(.+)/blobs/([^/]+)"), self._get_blob),
            ("GET", re.compile(r"(.+)/blobs/([^/]+)"), self._get_blob),
        ]

    # Who may do what

    def token(self, request: Request) -> Response:
        """Like Harbor's: wrong credentials count as nobody, who gets a token for nothing, or 401 without a scope."""
        if request.query_params.get("service") != "harbor-registry":
            return Response(f"Unable to handle service: {request.query_params.get('service', '')}", 400)
        known = basic_robot(request, self.environment)
        scopes = [scope for value in request.query_params.getlist("scope") for scope in value.split()]
        if not known and not scopes:
            return Response(status_code=401)
        access = {}
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            if kind == "repository" and known:
                access[name] = [one for one in actions.split(",") if f"repository:{one}" in known.permissions]
        payload = {"until": self.store.clock() + TOKEN_SECONDS, "access": access}
        body = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode()
        return JSONResponse(
            {
                "token": f"{body}.{self._sign(body)}",
                "access_token": "",
                "expires_in": TOKEN_SECONDS,
                "issued_at": stamp(self.store.clock()),
            }
        )

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()

    def _bearer(self, request: Request) -> Access | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        body, _, signature = token.rpartition(".")
        if scheme.lower() != "bearer" or not hmac.compare_digest(self._sign(body).encode(), signature.encode()):
            return None
        payload = json.loads(base64.urlsafe_b64decode(body))
        if payload["until"] < self.store.clock():
            return None
        return {name: set(actions) for name, actions in payload["access"].items()}

    def _check(self, request: Request, name: str) -> None:
        """Refuse as src/server/middleware/v2auth does, which says everything twice, also that a project is missing."""
        action = ACTIONS.get(request.method, "push")
        granted = self._bearer(request)
        basic = basic_robot(request, self.environment)
        if not name:
            if not basic and granted is None:
                raise self._challenge(request, "", "unauthorized")
            return
        project = name.partition("/")[0]
        if not any(row["name"] == project for row in self.store.projects()):
            raise _unauthorized(f"project {project} not found", "")
        allowed = f"repository:{action}" in basic.permissions if basic else action in (granted or {}).get(name, set())
        if not allowed:
            message = f"unauthorized to access repository: {name}, action: {action}"
            raise self._challenge(request, f',scope="repository:{name}:{action}"', message)

    def _challenge(self, request: Request, scope: str, message: str) -> HarborError:
        if request.headers.get("Authorization"):
            return _unauthorized(message, 'Basic realm="harbor"')
        realm = f"{request.url.scheme}://{request.headers.get('host', '')}/service/token"
        return _unauthorized(message, f'Bearer realm="{realm}",service="harbor-registry"{scope}')

    # What they get

    def answer(self, request: Request, rest: str, body: bytes) -> Response:
        for method, pattern, handle in self._routes:
            match = pattern.fullmatch(rest)
            if match and method == request.method:
                self._check(request, match[1])
                if "/" not in match[1]:
                    raise HarborError(400, "BAD_REQUEST", f"bad request: invalid repository name: {match[1]}")
                response = handle(request, match[1], match[2], body)
                response.headers.update(VERSION)
                return response
        self._check(request, "")
        if rest:
            raise HarborError(404, "NOT_FOUND", f"path /v2/{rest} was not found")
        return JSONResponse({}, headers=VERSION)

    def _list_tags(self, request: Request, name: str, rest: str, body: bytes) -> Response:
        return JSONResponse({"name": name, "tags": self.store.tag_names(name) or None})

    def _get_manifest(self, request: Request, name: str, reference: str, body: bytes) -> Response:
        artifact = self.store.artifact(name, reference)
        content = self.store.blob_path(artifact["digest"]).read_bytes()
        if request.method == "GET":
            self.store.pulled(artifact)
        headers = {"Docker-Content-Digest": artifact["digest"], "Etag": f'"{artifact["digest"]}"'}
        return Response(content, headers=headers, media_type=artifact["manifest_media_type"])

    def _put_manifest(self, request: Request, name: str, reference: str, body: bytes) -> Response:
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        tag = None if DIGEST.fullmatch(reference) else reference
        if tag is not None and not TAG.fullmatch(tag):
            raise HarborError(404, "NOT_FOUND", "invalid reference format")
        if tag is None and reference != digest:
            raise HarborError(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        media_type = request.headers.get("Content-Type", "")
        self._check_manifest(name, body, media_type)
        self.store.push(name, tag, body, media_type)
        location = f"/v2/{name}/manifests/{digest}"
        return Response(status_code=201, headers={"Location": location, "Docker-Content-Digest": digest})

    def _check_manifest(self, name: str, body: bytes, media_type: str) -> None:
        try:
            manifest: dict[str, Any] = json.loads(body)
            images = manifest.get("manifests")
            parts = [manifest["config"], *manifest["layers"]] if images is None else images
            digests = [str(part["digest"]) for part in parts]
            fits = media_type in MANIFEST_TYPES and manifest.get("mediaType", media_type) == media_type
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HarborError(400, "MANIFEST_INVALID", "manifest invalid") from error
        if not fits:
            raise HarborError(400, "MANIFEST_INVALID", "manifest invalid")
        if any(not self.store.has_blob(name, digest) for digest in digests):
            raise HarborError(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")

    def _get_blob(self, request: Request, name: str, digest: str, body: bytes) -> Response:
        if not self.store.has_blob(name, digest):
            raise HarborError(404, "BLOB_UNKNOWN", "blob unknown to registry")
        content = self.store.blob_path(digest).read_bytes()
        return Response(content, headers={"Docker-Content-Digest": digest}, media_type="application/octet-stream")

    def _start_upload(self, request: Request, name: str, rest: str, body: bytes) -> Response:
        mount, source = request.query_params.get("mount", ""), request.query_params.get("from", "")
        if self.store.has_blob(source, mount):
            self.store.link_blob(name, mount)
            return self._created(name, mount)
        session = str(uuid.uuid4())
        if "digest" in request.query_params:
            return self._commit(request, name, body)
        self._session_path(session).touch()
        return self._session_response(202, name, session)

    def _upload_status(self, request: Request, name: str, session: str, body: bytes) -> Response:
        self._open_session(session)
        return self._session_response(204, name, session)

    def _continue_upload(self, request: Request, name: str, session: str, body: bytes) -> Response:
        path = self._open_session(session)
        begin = request.headers.get("Content-Range", "").partition("-")[0]
        if begin.isdigit() and int(begin) != path.stat().st_size:
            raise HarborError(416, "BLOB_UPLOAD_INVALID", "blob upload invalid")
        with path.open("ab") as stream:
            stream.write(body)
        return self._session_response(202, name, session)

    def _finish_upload(self, request: Request, name: str, session: str, body: bytes) -> Response:
        path = self._open_session(session)
        response = self._commit(request, name, path.read_bytes() + body)
        path.unlink()
        return response

    def _commit(self, request: Request, name: str, content: bytes) -> Response:
        wanted = request.query_params.get("digest", "")
        if wanted != "sha256:" + hashlib.sha256(content).hexdigest():
            raise HarborError(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        return self._created(name, self.store.put_blob(name, content))

    def _created(self, name: str, digest: str) -> Response:
        headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
        return Response(status_code=201, headers=headers)

    def _session_path(self, session: str) -> Path:
        return self.store.folder / "uploads" / session

    def _open_session(self, session: str) -> Path:
        path = self._session_path(session)
        if not re.fullmatch(r"[0-9a-f-]{36}", session) or not path.exists():
            raise HarborError(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        return path

    def _session_response(self, status: int, name: str, session: str) -> Response:
        """Answer one step of an upload; the next call's address has a query, as the real registry's has."""
        size = self._session_path(session).stat().st_size
        headers = {
            "Location": f"/v2/{name}/blobs/uploads/{session}?_state={session[:8]}",
            "Range": f"0-{max(size - 1, 0)}",
            "Docker-Upload-UUID": session,
        }
        return Response(status_code=status, headers=headers)


def _unauthorized(message: str, challenge: str) -> HarborError:
    return HarborError(401, "UNAUTHORIZED", f"{message}: {message}", {"WWW-Authenticate": challenge})

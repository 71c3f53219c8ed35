"""Build an image of a source tree and push it over the OCI distribution API.

The same tree and labels give the same digest: sorted entries, no times, no owners.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md and .../image-spec/blob/main/config.md
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import httpx

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
BEGINNING_OF_TIME = "1970-01-01T00:00:00Z"


class RegistryAuth(httpx.Auth):
    """Answers a registry's challenge: Basic at once, Bearer with a token fetched from the realm it names.

    https://distribution.github.io/distribution/spec/auth/token/
    """

    requires_response_body = True

    def __init__(self, user: str, password: str) -> None:
        self._basic = httpx.BasicAuth(user, password)
        self._header = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._header:
            request.headers["Authorization"] = self._header
        response = yield request
        if response.status_code != 401:
            return
        scheme, _, rest = response.headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() == "bearer":
            challenge = dict(re.findall(r'(\w+)="([^"]*)"', rest))
            wanted = {name: challenge[name] for name in ("service", "scope") if name in challenge}
            ask = httpx.Request("GET", httpx.URL(challenge["realm"], params=wanted))
            answer = yield next(self._basic.auth_flow(ask))
            answer.raise_for_status()
            body = answer.json()
            self._header = f"Bearer {body.get('token') or body['access_token']}"
            request.headers["Authorization"] = self._header
        else:
            request = next(self._basic.auth_flow(request))
            self._header = request.headers["Authorization"]
        yield request


def push_image(
    registry_url: str,
    repository: str,
    tag: str,
    source: Path,
    labels: Mapping[str, str],
    auth: tuple[str, str],
) -> str:
    """Push an image whose one layer is the source tree; return the manifest's digest.

    :param registry_url: base URL, without ``/v2``.
    :param auth: user name and password.
    :raises httpx.HTTPError: the registry refused or did not answer.
    """
    plain = _tar(source)
    layer = _gzip(plain)
    config = _json(
        {
            "architecture": "amd64",
            "config": {"Labels": dict(labels), "WorkingDir": "/"},
            "created": BEGINNING_OF_TIME,
            "history": [{"created": BEGINNING_OF_TIME, "created_by": "platform-ops sandbox"}],
            "os": "linux",
            "rootfs": {"diff_ids": [_digest(plain)], "type": "layers"},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [_descriptor(LAYER_TYPE, layer)],
        }
    )
    with httpx.Client(base_url=registry_url, auth=RegistryAuth(*auth), timeout=30) as client:
        for blob in (layer, config):
            _push_blob(client, repository, blob)
        client.put(
            f"/v2/{repository}/manifests/{tag}", content=manifest, headers={"Content-Type": MANIFEST_TYPE}
        ).raise_for_status()
    return _digest(manifest)


def _push_blob(client: httpx.Client, repository: str, blob: bytes) -> None:
    digest = _digest(blob)
    present = client.head(f"/v2/{repository}/blobs/{digest}")
    if present.status_code == 200:
        return
    if present.status_code != 404:
        present.raise_for_status()
    opened = client.post(f"/v2/{repository}/blobs/uploads/")
    opened.raise_for_status()
    # The upload's address may be relative and may carry a query of its own, which must be kept.
    address = opened.request.url.join(opened.headers["Location"]).copy_merge_params({"digest": digest})
    client.put(address, content=blob, headers={"Content-Type": "application/octet-stream"}).raise_for_status()


def _tar(source: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(source.rglob("*")):
            archive.add(path, arcname=path.relative_to(source).as_posix(), recursive=False, filter=_anonymous)
    return buffer.getvalue()


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    # Only the executable bit comes from git; the rest is the checkout's umask.
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def _gzip(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as stream:
        stream.write(data)
    return buffer.getvalue()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(media_type: str, data: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}

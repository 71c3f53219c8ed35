"""A Harbor stand-in without sockets, and an image small enough to write by hand."""

import gzip
import hashlib
import io
import json
import tarfile
import warnings
from urllib.parse import unquote

with warnings.catch_warnings():  # Starlette would like httpx2; the project has httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from sandbox.stand_ins.harbor import create_app

URL = "http://harbor.test"
USER, PASSWORD = "robot$platform-ops", "a-good-password"
RELEASE_USER, RELEASE_PASSWORD = "robot$releases", "another-good-password"
ENVIRONMENT = {
    "HARBOR_URL": URL,
    "HARBOR_USER": USER,
    "HARBOR_PASSWORD": PASSWORD,
    "HARBOR_RELEASE_USER": RELEASE_USER,
    "HARBOR_RELEASE_PASSWORD": RELEASE_PASSWORD,
    "REGISTRY": "harbor.test",
}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
WEB = "/api/v2.0/projects/shop/repositories/web/artifacts"
COMMIT = "c0ffee" + "0" * 34
GONE = "sha256:" + "0" * 64


def rule(pattern):
    return {
        "action": "immutable",
        "template": "immutable_template",
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": pattern}],
    }


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def decoded_once(app):
    """Decode the path as uvicorn does; Starlette's client decodes it twice."""

    async def wrapped(scope, receive, send):
        if scope["type"] == "http":
            scope = {**scope, "path": unquote(scope["raw_path"].decode())}
        await app(scope, receive, send)

    return wrapped


class Harbor:
    def __init__(self, folder):
        self.folder = folder
        self.now = 1_800_000_000.0
        self.start()

    def start(self):
        app = decoded_once(create_app(ENVIRONMENT, self.folder, clock=lambda: self.now))
        self.stranger = TestClient(app, base_url=URL)
        self.client = TestClient(app, base_url=URL)
        self.client.auth = (USER, PASSWORD)

    def push(self, tag, requirements="", repository="shop/web", labels=None):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            entry = tarfile.TarInfo("app/requirements.txt")
            entry.size = len(requirements)
            archive.addfile(entry, io.BytesIO(requirements.encode()))
        layer = gzip.compress(content.getvalue(), mtime=0)
        config = json.dumps({"config": {"Labels": labels or {"a": "b"}}, "os": "linux"}).encode()
        parts = []
        for blob in (config, layer):
            opened = self.client.post(f"/v2/{repository}/blobs/uploads/")
            address = f"{opened.headers['Location']}&digest={digest_of(blob)}"
            assert self.client.put(address, content=blob).status_code == 201
            parts.append({"mediaType": "x", "digest": digest_of(blob), "size": len(blob)})
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": parts[0], "layers": parts[1:]}
        ).encode()
        answer = self.put_manifest(tag, manifest, repository)
        assert answer.status_code == 201, answer.text
        return answer.headers["Docker-Content-Digest"]

    def put_manifest(self, tag, manifest, repository="shop/web"):
        return self.client.put(
            f"/v2/{repository}/manifests/{tag}", content=manifest, headers={"Content-Type": MANIFEST}
        )

    def error(self, method, path, **options):
        answer = self.client.request(method, path, **options)
        (only,) = answer.json()["errors"]
        return answer.status_code, only["code"], only["message"]


def with_project(folder):
    """Return a Harbor whose project `shop` scans by itself and keeps claim and commit tags."""
    harbor = Harbor(folder)
    body = {"project_name": "shop", "metadata": {"auto_scan": "true"}}
    assert harbor.client.post("/api/v2.0/projects", json=body).status_code == 201
    for pattern in ("tree-*", "[0-9a-f]" * 40):
        assert harbor.client.post("/api/v2.0/projects/shop/immutabletagrules", json=rule(pattern)).status_code == 201
    return harbor

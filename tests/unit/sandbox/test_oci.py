import gzip
import hashlib
import io
import json
import os
import tarfile

import httpx
import pytest

from sandbox import oci

LABELS = {"org.opencontainers.image.revision": "1" * 40}
AUTH = ("robot$bot", "secret-of-the-robot")


class Registry:
    """The few endpoints a push needs, behind a token service or Basic."""

    def __init__(self, scheme="Bearer"):
        self.scheme = scheme
        self.blobs = {}
        self.manifests = {}
        self.calls = []
        self.realm_requests = []

    def __call__(self, request):
        path = request.url.path
        if path == "/service/token":
            self.realm_requests.append(request)
            good = request.headers["Authorization"] == httpx.BasicAuth(*AUTH)._auth_header
            return httpx.Response(200, json={"token": "t0ken"}) if good else httpx.Response(401)
        wanted = "Bearer t0ken" if self.scheme == "Bearer" else httpx.BasicAuth(*AUTH)._auth_header
        if request.headers.get("Authorization") != wanted:
            challenge = (
                'Bearer realm="http://registry.test/service/token",service="harbor-registry",'
                'scope="repository:shop/web:pull,push"'
                if self.scheme == "Bearer"
                else 'Basic realm="harbor"'
            )
            return httpx.Response(401, headers={"WWW-Authenticate": challenge})
        self.calls.append((request.method, path))
        return self.answer(request, path)

    def answer(self, request, path):
        name = path.rpartition("/")[2]
        if request.method == "HEAD":
            return httpx.Response(200 if name in self.blobs else 404)
        if request.method == "POST":
            return httpx.Response(202, headers={"Location": "/v2/shop/web/blobs/uploads/u1?_state=x%3D"})
        if request.method == "PUT" and "/uploads/" in path:
            assert request.url.params["_state"] == "x="
            self.blobs[request.url.params["digest"]] = request.content
            return httpx.Response(201)
        self.manifests[name] = (request.headers["Content-Type"], request.content)
        return httpx.Response(201)


@pytest.fixture
def connect(monkeypatch):
    client = httpx.Client

    def to(registry):
        transport = httpx.MockTransport(registry)
        monkeypatch.setattr(oci.httpx, "Client", lambda **options: client(transport=transport, **options))
        return registry

    return to


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "main.py").write_text("print('hello')\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return folder


def push(source, tag="build-web-7"):
    return oci.push_image("http://registry.test", "shop/web", tag, source, LABELS, AUTH)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_the_image_arrives_whole(connect, source, scheme):
    registry = connect(Registry(scheme))
    pushed = push(source)
    content_type, manifest = registry.manifests["build-web-7"]
    assert pushed == digest(manifest)
    document = json.loads(manifest)
    assert content_type == document["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    layer = registry.blobs[document["layers"][0]["digest"]]
    config = json.loads(registry.blobs[document["config"]["digest"]])
    assert document["layers"][0]["size"] == len(layer)
    assert config["config"]["Labels"] == LABELS
    assert config["rootfs"]["diff_ids"] == [digest(gzip.decompress(layer))]


def test_the_layer_is_the_source_without_times_and_owners(connect, source):
    registry = connect(Registry())
    push(source)
    document = json.loads(registry.manifests["build-web-7"][1])
    with tarfile.open(fileobj=io.BytesIO(registry.blobs[document["layers"][0]["digest"]])) as archive:
        entries = archive.getmembers()
        assert archive.extractfile("app/main.py").read() == b"print('hello')\n"
    assert [(entry.name, entry.mode) for entry in entries] == [
        ("Dockerfile", 0o644),
        ("app", 0o755),
        ("app/main.py", 0o644),
        ("run.sh", 0o755),
    ]
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, 0, "", "")}


def test_the_same_tree_gives_the_same_digest(connect, source):
    connect(Registry())
    first = push(source)
    os.utime(source / "Dockerfile", (1, 1))
    assert push(source, "build-web-8") == first
    (source / "Dockerfile").write_text("FROM other\n")
    assert push(source) != first


def test_what_is_there_is_not_sent_again(connect, source):
    registry = connect(Registry())
    push(source)
    registry.calls.clear()
    push(source, "build-web-8")
    assert [method for method, _ in registry.calls] == ["HEAD", "HEAD", "PUT"]


def test_the_token_is_asked_for_as_the_challenge_says_and_kept(connect, source):
    registry = connect(Registry())
    push(source)
    (request,) = registry.realm_requests
    assert dict(request.url.params) == {"service": "harbor-registry", "scope": "repository:shop/web:pull,push"}


def test_a_wrong_password_ends_the_push(connect, source):
    connect(Registry())
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        oci.push_image("http://registry.test", "shop/web", "t", source, LABELS, ("robot$bot", "wrong"))


def test_a_refused_manifest_ends_the_push(connect, source):
    registry = connect(Registry())
    answer = registry.answer
    registry.answer = lambda request, path: httpx.Response(412) if "/manifests/" in path else answer(request, path)
    with pytest.raises(httpx.HTTPStatusError, match="412"):
        push(source)

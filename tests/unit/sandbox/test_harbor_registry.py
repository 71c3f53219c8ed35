"""The registry half of the Harbor stand-in, pushed to by the sandbox's own image builder."""

import warnings
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

with warnings.catch_warnings():  # Starlette would like httpx2; the project has httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from sandbox import oci
from sandbox.stand_ins.harbor_registry import add_registry
from sandbox.stand_ins.harbor_store import Store

URL = "http://harbor.test"
AUTH = ("robot$platform-ops", "a-good-password")
ENVIRONMENT = {"HARBOR_URL": URL, "HARBOR_USER": AUTH[0], "HARBOR_PASSWORD": AUTH[1]}
LABELS = {"org.opencontainers.image.revision": "c" * 40}


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store(tmp_path / "harbor", clock)
    store.create_project("shop", {"auto_scan": "true"})
    app = FastAPI()
    add_registry(app, store, ENVIRONMENT)

    def client(*, base_url: str, auth: httpx.Auth | None = None, timeout: float = 5) -> TestClient:
        made = TestClient(app, base_url=base_url)
        made.auth = auth
        return made

    monkeypatch.setattr("sandbox.oci.httpx.Client", client)
    return store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "app.py").write_text("print('hello')\n")
    return folder


def push(source: Path, tag: str = "build-web-1", auth: tuple[str, str] = AUTH) -> str:
    return oci.push_image(URL, "shop/web", tag, source, LABELS, auth)


def test_a_pushed_image_is_found_by_tag_and_carries_its_labels(store: Store, source: Path) -> None:
    digest = push(source)
    artifact = store.artifact("shop/web", "build-web-1")
    assert artifact["digest"] == digest
    assert store.artifact("shop/web", digest) == artifact
    assert LABELS.items() <= artifact["extra_attrs"]["config"]["Labels"].items()


def test_the_same_source_gives_the_same_digest_and_another_another(store: Store, source: Path) -> None:
    first = push(source)
    assert push(source, "build-web-2") == first
    (source / "app.py").write_text("print('bye')\n")
    assert push(source, "build-web-3") != first


def test_a_wrong_password_pushes_nothing(store: Store, source: Path) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        push(source, auth=(AUTH[0], "wrong"))
    assert not store.repositories(store.project("shop"))


def test_an_immutable_tag_never_moves(store: Store, source: Path) -> None:
    store.add_rule(
        store.project("shop"),
        {
            "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]},
            "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": "tree-*"}],
        },
    )
    first = push(source, "tree-1")
    (source / "app.py").write_text("print('bye')\n")
    with pytest.raises(httpx.HTTPStatusError, match="412"):
        push(source, "tree-1")
    assert store.artifact("shop/web", "tree-1")["digest"] == first


def test_the_scan_begins_with_the_push_and_finds_what_the_image_holds(store: Store, source: Path, clock: Clock) -> None:
    (source / "requirements.txt").write_text("leftpad==0.0.1\nrequests==2.32.0\n")
    artifact = store.artifact("shop/web", push(source))
    seen = [store.scan_status(artifact)]
    for _ in range(2):
        clock.now += 0.4
        seen.append(store.scan_status(artifact))
    assert seen == ["Pending", "Running", "Success"]
    summary = store.scan_summary(artifact)
    assert summary
    assert summary["severity"] == "Critical"
    assert summary["summary"]["total"] == 1


def test_everything_survives_a_restart(store: Store, source: Path, clock: Clock) -> None:
    digest = push(source)
    assert Store(store.folder, clock).artifact("shop/web", "build-web-1")["digest"] == digest

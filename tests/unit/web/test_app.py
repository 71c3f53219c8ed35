from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from airflow.api_fastapi.core_api import security
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from jinja2 import UndefinedError
from starlette.routing import BaseRoute

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.pages import write
from platform_ops.web import app as web

RUN = "release__storefront__prod__4f1d2c9a7be3"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


def airflow(request: httpx.Request) -> httpx.Response:
    """Answer as Airflow's REST does for one run with one task."""
    path = request.url.path
    if request.headers["Authorization"] != "Bearer the-persons-token":
        return httpx.Response(401, json={"detail": "Invalid JWT token"})
    run = {
        "dag_id": "release_service",
        "dag_run_id": RUN,
        "state": "running",
        "triggering_user_name": "oscar",
        "start_date": "2026-11-25T09:14:02Z",
        "conf": {"service": "storefront", "environment": "prod", "commit": "4f1d2c9a7be3508fd6a1c0e2b94837f5a6d0c1e8"},
    }
    if path == f"/api/v2/dags/release_service/dagRuns/{RUN}":
        return httpx.Response(200, json=run)
    if path == f"/api/v2/dags/release_service/dagRuns/{RUN}/taskInstances":
        task = {"task_id": "resolve_commit", "state": "running", "start_date": "2026-11-25T09:14:03Z", "try_number": 1}
        return httpx.Response(200, json={"task_instances": [task]})
    if path == "/api/v2/dags/release_service/dagRuns":
        assert dict(request.url.params) == {"order_by": "-run_after", "limit": "100"}
        other = {**run, "dag_run_id": "manual__1", "state": "success", "conf": {"service": "payments"}}
        return httpx.Response(200, json={"dag_runs": [run, other]})
    if path.endswith("/xcomEntries/report"):
        return httpx.Response(404, json={"detail": "no"})
    if "/broken/" in path:
        return httpx.Response(500, json={"detail": "database"})
    if "/secret/" in path:
        return httpx.Response(403, json={"detail": "Forbidden"})
    return httpx.Response(404, json={"detail": f"{path} was not found"})


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example.com")
    yield TestClient(web.app, root_path="/platform-ops", follow_redirects=False)
    web.app.dependency_overrides.clear()


@pytest.fixture
def person(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """Somebody who may read runs; Airflow's REST is a stub that checks the token it is given."""
    web.app.dependency_overrides[web.may_read_run] = lambda: None
    web.app.dependency_overrides[web.may_read_releases] = lambda: None
    monkeypatch.setattr(
        web,
        "AirflowApi",
        lambda address, token: AirflowApi(address=address, token=token, inner=httpx.MockTransport(airflow)),
    )
    client.cookies.set("_token", "the-persons-token")
    return client


def test_a_run(person):
    response = person.get(f"/runs/release_service/{RUN}")
    assert response.status_code == 200
    assert "storefront · prod · running" in response.text
    assert "running: resolve_commit" in response.text
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'self'" in policy


def test_the_status_of_a_run_is_plain_text(person):
    response = person.get(f"/runs/release_service/{RUN}/status")
    assert response.status_code == 200
    assert response.text == (
        "state: running\n"
        f"page: http://airflow.example.com/platform-ops/runs/release_service/{RUN}\n"
        "summary: running: resolve_commit. 0 of 10 steps are behind it.\n"
    )
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_status_of_an_unknown_run(person):
    for name in ("manual__9", "..", "~"):
        response = person.get(f"/runs/release_service/{name}/status")
        assert response.status_code == 404
        assert response.json()["code"] == "not_found"


@pytest.mark.parametrize("element", ["style", "script"])
def test_what_is_in_the_page_is_what_the_policy_allows(person, element):
    import base64
    import hashlib

    response = person.get(f"/runs/release_service/{RUN}")
    text = response.text.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"{element}-src 'sha256-{digest}';" in response.headers["content-security-policy"]


def test_the_page_inside_airflow_shows_its_own_address(person):
    text = person.get(f"/runs/release_service/{RUN}?embedded=1").text
    assert f'<code class="address">http://airflow.example.com/platform-ops/runs/release_service/{RUN}</code>' in text


def test_a_bearer_header_wins_over_the_cookie(person):
    person.cookies.set("_token", "somebody-elses")
    header = {"Authorization": "Bearer the-persons-token"}
    assert person.get(f"/runs/release_service/{RUN}", headers=header).status_code == 200
    assert person.get(f"/runs/release_service/{RUN}").status_code == 401


@pytest.mark.parametrize("run_id", ["manual__9", "..", ".", "%2E%2E", "a%00b", "a b", "ä", "x" * 251, "~"])
def test_an_unknown_run(person, run_id):
    response = person.get(f"/runs/release_service/{run_id}", headers=BROWSER)
    assert response.status_code == 404
    assert "<h1>No such" in response.text


def test_all_dags_is_no_dag(person):
    assert person.get(f"/runs/~/{RUN}").status_code == 404


def test_airflow_trouble_is_told(person, monkeypatch):
    monkeypatch.setattr("platform_ops.common.http.SAFE_TRIES", 1)
    response = person.get("/runs/broken/x", headers=BROWSER)
    assert response.status_code == 503
    assert "Airflow did not answer" in response.text
    assert person.get("/runs/secret/x").json()["code"] == "forbidden"


def test_releases(person):
    text = person.get("/releases").text
    assert f'href="runs/release_service/{RUN}"' in text
    assert "manual__1" in text
    text = person.get("/releases", params={"service": "storefront", "environment": "prod", "commit": "4F1D2C9"}).text
    assert RUN in text
    assert "manual__1" not in text
    hostile = person.get("/releases", params={"service": '"><script>'})
    assert hostile.status_code == 200
    assert "No release matches" in hostile.text
    assert "<script" not in hostile.text


def test_home_leads_to_the_releases(person):
    response = person.get("/")
    assert (response.status_code, response.headers["location"]) == (303, "/platform-ops/releases")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/releases?service=storefront",
        "/backups?embedded=1",
        f"/runs/release_service/{RUN}?embedded=1",
        f"/runs/release_service/{RUN}/status",
    ],
)
def test_anonymous_sees_nothing(client, path):
    assert client.get(path).status_code == 401
    assert client.get(path).json() == {"code": "unauthorized", "reason": "log in to Airflow"}
    response = client.get(path, headers=BROWSER)
    assert response.status_code == 303
    target = urlsplit(response.headers["location"])
    assert target.path == "/api/v2/auth/login"
    assert parse_qs(target.query)["next"] == [f"/platform-ops{path}"]
    assert "storefront" not in response.text


def test_nobody_looks_with_the_connections_account(client):
    web.app.dependency_overrides[web.may_read_run] = lambda: None
    assert client.get(f"/runs/release_service/{RUN}").status_code == 401


def test_the_guard_asks_for_exactly_this_dag(client, monkeypatch):
    asked = []

    class AuthManager:
        def is_authorized_dag(self, *, method, access_entity, details, user):
            asked.append((method, access_entity, details.id, user))
            return False

    web.app.dependency_overrides[security.get_user] = lambda: "victor"
    monkeypatch.setattr(security, "get_auth_manager", AuthManager)
    monkeypatch.setattr(security.DagModel, "get_team_name", lambda dag_id: None)
    client.cookies.set("_token", "x")
    response = client.get("/runs/nightly_backup/r?dag_id=other", headers=BROWSER)
    assert response.status_code == 403
    assert "may not read" in response.text
    assert client.get("/runs/nightly_backup/r/status?dag_id=other").json()["code"] == "forbidden"
    assert client.get("/releases?dag_id=other").status_code == 403
    assert client.get("/backups?dag_id=other").status_code == 403
    entity = web.DagAccessEntity.RUN
    backup, release = ("GET", entity, "nightly_backup", "victor"), ("GET", entity, "release_service", "victor")
    assert asked == [backup, backup, release, ("GET", entity, "report_backups", "victor")]


def _guards(route: APIRoute) -> set[Any]:
    return {dependency.call for dependency in route.dependant.dependencies}


def _flat(routes: Any) -> list[BaseRoute]:
    found = []
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        found += _flat(inner) if inner else [route]
    return found


def test_only_the_hook_and_the_health_check_are_open():
    routes = _flat(web.app.routes)
    assert all(isinstance(route, APIRoute) for route in routes)
    assert len(routes) == 7
    unguarded = {
        (method, route.path)
        for route in routes
        for method in route.methods
        if not _guards(route) & {web.may_read_run, web.may_read_releases, web.may_read_backups}
    }
    assert unguarded == {("POST", "/hooks/gitlab"), ("GET", "/health")}


def test_health_needs_nobody(client):
    assert client.get("/health").json() == {"status": "ok"}


def test_a_missing_value_is_an_error_not_an_empty_place():
    with pytest.raises(UndefinedError):
        write("message.html.j2", title="x")


def test_the_plugin_imports_nothing_heavy():
    import subprocess
    import sys
    from pathlib import Path

    plugins = Path(web.__file__).parents[2]
    code = (
        "import sys; before = set(sys.modules); import airflow.plugins_manager, airflow; base = set(sys.modules);"
        "import plugin; new = {name.partition('.')[0] for name in set(sys.modules) - base};"
        "assert new == {'plugin', 'platform_ops'}, new; print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=plugins, capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr


def test_below_airflow_as_the_plugin_mounts_it(client):
    from fastapi import FastAPI

    import plugin

    (mounted,) = plugin.PlatformOps.fastapi_apps
    airflow_app = FastAPI()
    airflow_app.mount(mounted["url_prefix"], mounted["app"])
    outside = TestClient(airflow_app, follow_redirects=False)
    assert outside.get("/platform-ops/health").json() == {"status": "ok"}
    response = outside.get(f"/platform-ops/runs/release_service/{RUN}?embedded=1", headers=BROWSER)
    target = urlsplit(response.headers["location"])
    assert parse_qs(target.query)["next"] == [f"/platform-ops/runs/release_service/{RUN}?embedded=1"]

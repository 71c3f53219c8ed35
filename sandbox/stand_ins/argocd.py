"""A small Argo CD: the calls of its API that releases and the seed need, answering as 3.2.11 was measured to answer."""

from __future__ import annotations

import copy
import html
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from sandbox import effects
from sandbox.stand_ins.argocd_api import Api, ApiError, parse
from sandbox.stand_ins.argocd_compare import Object
from sandbox.stand_ins.argocd_controller import Controller
from sandbox.stand_ins.argocd_outside import ClusterError, GitError

PROJECT: Object = {
    "metadata": {"name": "default", "namespace": "argocd"},
    "spec": {
        "sourceRepos": ["*"],
        "destinations": [{"namespace": "*", "server": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    },
    "status": {},
}
RELEASES = frozenset({("applications", "get"), ("applications", "sync")})
"""Policy of the account `releases`, over all projects."""
RESOURCES = frozenset({"clusters", "projects", "applications", "repositories", "accounts", "logs", "exec"})
ACTIONS = frozenset({"get", "create", "update", "delete", "sync", "override", "action", "invoke"})
"""What may be asked for (util/rbac/rbac.go)."""
METHODS = {"GET": "get", "POST": "create", "DELETE": "delete"}
STATUS_OF_CODE = {2: 500, 3: 400, 5: 404, 7: 403, 9: 400, 16: 401}
"""HTTP status of the gRPC codes Argo CD answers with."""


async def raw_body(request: Request) -> bytes:
    return await request.body()


Raw = Annotated[bytes, Depends(raw_body)]


def create_app(
    environment: Mapping[str, str],
    folder: Path,
    *,
    cluster_transport: Callable[[str], httpx.BaseTransport | None] = lambda _: None,
    clock: Callable[[], float] = time.time,
    pause: Callable[[float], None] = time.sleep,
    background: bool = True,
) -> FastAPI:
    """Make the server; the last four arguments are for tests (see ``Controller``)."""
    folder.mkdir(parents=True, exist_ok=True)
    controller = Controller(
        folder, cluster_transport=cluster_transport, clock=clock, pause=pause, background=background
    )
    api = Api(controller, environment["ARGOCD_TOKEN"])
    app = FastAPI(title="Argo CD stand-in", openapi_url=None)
    app.state.controller = controller
    # The token of `releases` is not there in tests of other things.
    app.state.accounts = {environment["ARGOCD_TOKEN"]: "admin", environment.get("ARGOCD_RELEASE_TOKEN"): "releases"}
    _answer_errors(app, api)
    _add_open_routes(app, api)
    _add_application_routes(app, api)
    _add_settings_routes(app, api)
    return app


def _account(request: Request) -> str | None:
    accounts: Mapping[str | None, str] = request.app.state.accounts
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return accounts.get(token) if scheme == "Bearer" else None


def _may(account: str, resource: str, action: str) -> bool:
    # Every account may read itself and ask what it may do.
    return account == "admin" or resource == "account" or (resource, action) in RELEASES


def _failure(code: int, message: str) -> Response:
    return JSONResponse({"error": message, "code": code, "message": message}, STATUS_OF_CODE[code])


def _answer_errors(app: FastAPI, api: Api) -> None:

    @app.exception_handler(ApiError)
    def api_error(request: Request, error: ApiError) -> Response:
        return _failure(error.code, str(error))

    @app.exception_handler(ClusterError)
    def cluster_error(request: Request, error: ClusterError) -> Response:
        return _failure(2, str(error))

    @app.exception_handler(404)
    def unknown_path(request: Request, error: Exception) -> Response:
        return _failure(5, "Not Found")

    @app.middleware("http")
    async def guard(request: Request, proceed: Any) -> Any:
        path = request.url.path
        if not path.startswith("/api/v1/"):
            return await proceed(request)
        kind = request.headers.get("content-type", "").partition(";")[0]
        if request.method not in ("GET", "HEAD") and kind != "application/json":
            return PlainTextResponse("Invalid content type", 415)
        if path == "/api/v1/session":
            return await proceed(request)
        account = _account(request)
        if account is None:
            return _failure(16, "no session information")
        resource, _, rest = path.removeprefix("/api/v1/").partition("/")
        action = "sync" if rest.endswith(("/sync", "/operation")) else METHODS[request.method]
        if resource in RESOURCES and not _may(account, resource, action):
            return _failure(7, "permission denied")
        return await proceed(request)


def _add_open_routes(app: FastAPI, api: Api) -> None:
    @app.get("/api/version")
    def version() -> Object:
        return {"Version": "v3.2.11"}

    @app.get("/_sandbox/state")
    def state() -> Object:
        with api.state.lock:
            return effects.state(api.state.effects)

    @app.post("/api/webhook")
    def webhook(request: Request, body: Raw) -> Response:
        event = request.headers.get("x-gitlab-event")
        if event is None:
            return PlainTextResponse("Unknown webhook event", 400)
        if event not in ("Push Hook", "Tag Push Hook", "System Hook"):
            return PlainTextResponse("Webhook processing failed: event not defined to be parsed", 400)
        api.webhook(parse(body))
        return Response(status_code=200)

    @app.get("/applications/argocd/{name}")
    def page(name: str) -> Response:
        application = api.state.applications.get(name)
        if application is None:
            return HTMLResponse("<h1>No such application</h1>", 404)
        text = html.escape(json.dumps(application["status"], indent=2))
        return HTMLResponse(f"<title>{html.escape(name)}</title><h1>{html.escape(name)}</h1><pre>{text}</pre>")


def _add_application_routes(app: FastAPI, api: Api) -> None:
    root = "/api/v1/applications"

    def snapshot(application: Object) -> Object:
        with api.state.lock:
            return copy.deepcopy(application)

    @app.get(root)
    def listed() -> Object:
        with api.state.lock:
            return {"metadata": {}, "items": copy.deepcopy(list(api.state.applications.values()))}

    @app.post(root)
    def create(request: Request, body: Raw) -> Object:
        return api.create(parse(body), request.query_params)

    @app.get(root + "/{name}")
    def get(request: Request, name: str) -> Object:
        api.found(name, request.query_params)
        if request.query_params.get("refresh") in ("normal", "hard"):
            api.controller.refresh(name, wait=True)
        return snapshot(api.found(name, request.query_params))

    @app.delete(root + "/{name}")
    def delete(request: Request, name: str) -> Object:
        return api.delete(name, request.query_params)

    @app.post(root + "/{name}/sync")
    def sync(request: Request, name: str, body: Raw) -> Object:
        return api.sync(name, parse(body), request.query_params)

    @app.delete(root + "/{name}/operation")
    def terminate(request: Request, name: str) -> Object:
        with api.state.lock:
            if not api.controller.terminate(api.found(name, request.query_params)):
                raise ApiError(3, "Unable to terminate operation. No operation is in progress")
        return {}

    @app.get(root + "/{name}/resource-tree")
    def tree(request: Request, name: str) -> Object:
        return api.tree(name, request.query_params)

    @app.get(root + "/{name}/revisions/{sha}/metadata")
    def metadata(request: Request, name: str, sha: str) -> Object:
        url = api.found(name, request.query_params)["spec"]["source"]["repoURL"]
        try:
            api.controller.git.fetch(url, api.controller.credentials(url), sha)
            return dict(api.controller.git.metadata(url, sha))
        except GitError as error:
            raise ApiError(2, str(error)) from error


def _add_settings_routes(app: FastAPI, api: Api) -> None:
    @app.post("/api/v1/session")
    def session(body: Raw) -> Object:
        return api.session(parse(body))

    @app.get("/api/v1/session/userinfo")
    def user_info(request: Request) -> Object:
        return {"loggedIn": True, "username": _account(request), "iss": "argocd"}

    @app.get("/api/v1/account/can-i/{resource}/{action}/{subresource:path}")
    def can_i(request: Request, resource: str, action: str, subresource: str) -> Object:
        for known, word in ((ACTIONS, action), (RESOURCES, resource)):
            if word not in known:
                raise ApiError(3, f"{sorted(known)} does not contain {word}")
        return {"value": "yes" if _may(_account(request) or "", resource, action) else "no"}

    @app.get("/api/v1/repositories")
    def repositories() -> Object:
        return {"metadata": {}, "items": [api.repository(url) for url in api.state.repositories]}

    @app.post("/api/v1/repositories")
    def add_repository(request: Request, body: Raw) -> Object:
        return api.add_repository(parse(body), request.query_params)

    @app.get("/api/v1/clusters")
    def clusters() -> Object:
        return {"metadata": {}, "items": [api.cluster(server) for server in api.state.clusters]}

    @app.post("/api/v1/clusters")
    def add_cluster(body: Raw) -> Object:
        return api.add_cluster(parse(body))

    @app.get("/api/v1/projects/default")
    def project() -> Object:
        return PROJECT

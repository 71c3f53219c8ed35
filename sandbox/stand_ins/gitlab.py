"""A small GitLab: people, projects, commits, statuses, merge requests, real git over HTTP and push webhooks.

Words and codes follow lib/api/*.rb and doc/api/*.md of gitlabhq (19.x).
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from fastapi import APIRouter, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import effects
from sandbox.contract import GITLAB_PEOPLE
from sandbox.stand_ins import gitlab_access, gitlab_changes, gitlab_deployments, gitlab_pages, gitlab_store
from sandbox.stand_ins.gitlab_access import SCOPES, find_group
from sandbox.stand_ins.gitlab_api import (
    ApiError,
    Given,
    ThePerson,
    TheProject,
    TheWorld,
    World,
    not_found,
    paged,
    required,
    resolve,
    truthy,
)
from sandbox.stand_ins.gitlab_git import advertise, answer
from sandbox.stand_ins.gitlab_store import VERSION, Person, PushEvents, Row, Store, Token, now

GIT_SCOPES = {
    "git-upload-pack": frozenset({"api", "read_repository", "write_repository"}),
    "git-receive-pack": frozenset({"api", "write_repository"}),
}
OWNER = 50
PATH_RULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?<!\.git)(?<!\.atom)")
BAD_PATH = "can contain only letters, digits, '_', '-' and '.'. Cannot start with '-', end in '.git' or end in '.atom'"
HOOK_TOKENS = ("token", "signing_token")
SIGNING_TOKEN = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")

api = APIRouter(prefix="/api/v4")
site = APIRouter()


class RawApiPaths:
    """Route the API on the path as it was sent: a project is named by its path with %2F in it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["raw_path"].startswith(b"/api/"):
            scope = {**scope, "path": scope["raw_path"].decode("ascii")}
        await self._app(scope, receive, send)


def create_app(environment: Mapping[str, str], folder: Path, *, send: gitlab_store.Send = gitlab_store.send) -> FastAPI:
    """Build the stand-in.

    :param send: posts webhooks; tests keep them instead.
    """
    tokens = {
        environment[variable]: Token(
            number, Person(number, username, username == "platform-bot"), "sandbox", SCOPES, None
        )
        for number, (variable, username) in enumerate(GITLAB_PEOPLE.items(), start=1)
        if variable in environment
    }
    address = environment["GITLAB_URL"].rstrip("/")
    store = Store(folder)
    events = PushEvents(store, address, send)
    app = FastAPI(openapi_url=None)
    app.state.world = World(store, events, address, tokens)
    app.add_middleware(RawApiPaths)
    app.add_exception_handler(ApiError, _refusal)
    app.add_exception_handler(HTTPException, _odd_path)
    for router in (
        api,
        gitlab_access.router,
        gitlab_changes.router,
        gitlab_deployments.router,
        site,
        gitlab_pages.router,
    ):
        app.include_router(router)
    events.resume(next(iter(tokens.values())).person)
    return app


def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status)


def _odd_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if request.scope["path"].startswith("/api/"):
        return JSONResponse({"error": f"{error.status_code} {error.detail}"}, error.status_code)
    return HTMLResponse("<h1>404: Page not found</h1>", error.status_code)


@api.get("/version")
def version(person: ThePerson) -> Row:
    return {"version": VERSION, "revision": "0000000000a"}


@api.post("/groups", status_code=201)
def make_group(given: Given, person: ThePerson, world: TheWorld) -> Row:
    required(given, "name", "path")
    if not PATH_RULE.fullmatch(given["path"]):
        raise ApiError(400, f'Failed to save group {{:path=>["{BAD_PATH}"]}}')
    with world.store.change("groups"):
        parent = find_group(world, str(given["parent_id"])) if given.get("parent_id") else None
        full_path = f"{parent['full_path']}/{given['path']}" if parent else given["path"]
        if any(one["full_path"].lower() == full_path.lower() for one in world.store.groups):
            raise ApiError(400, 'Failed to save group {:path=>["has already been taken"]}')
        made = {
            "id": world.store.next_id("group"),
            "name": given["name"],
            "path": given["path"],
            "full_name": given["name"],
            "full_path": full_path,
            "parent_id": parent["id"] if parent else None,
            "visibility": "private",
            "web_url": f"{world.address}/groups/{full_path}",
        }
        world.store.groups.append(made | {"members": {str(person.id): OWNER}})
    return made


@api.get("/groups/{group}")
def show_group(group: str, person: ThePerson, world: TheWorld) -> Row:
    return {name: value for name, value in find_group(world, unquote(group)).items() if name != "members"}


def project_row(world: World, project: Row) -> Row:
    path, repository = project["path_with_namespace"], world.store.repository(project)
    namespace, _, last = path.rpartition("/")
    return {
        "id": project["id"],
        "name": project["name"],
        "path": last,
        "path_with_namespace": path,
        "name_with_namespace": f"{namespace} / {project['name']}",
        "namespace": {"full_path": namespace, "path": namespace.rpartition("/")[2], "kind": "group"},
        "description": None,
        "visibility": "private",
        "archived": False,
        "empty_repo": not repository.heads(),
        "default_branch": repository.default_branch(),
        "created_at": project["created_at"],
        "http_url_to_repo": f"{world.address}/{path}.git",
        "ssh_url_to_repo": f"git@gitlab.example.com:{path}.git",
        "web_url": world.web_url(project),
        "merge_method": "merge",
    }


@api.post("/projects", status_code=201)
def make_project(given: Given, person: ThePerson, world: TheWorld) -> Row:
    name = given.get("name") or given.get("path")
    if not name:
        raise ApiError(400, "name, path are missing, at least one parameter must be provided", key="error")
    path = given.get("path") or re.sub(r"[^A-Za-z0-9_.-]+", "-", name.lower())
    if not PATH_RULE.fullmatch(path):
        raise ApiError(400, {"path": [BAD_PATH]})
    with world.store.change("projects"):
        wanted = given.get("namespace_id")
        namespace = find_group(world, str(wanted))["full_path"] if wanted else person.username
        full_path = f"{namespace}/{path}"
        if world.store.project(full_path):
            taken = ["has already been taken"]
            raise ApiError(400, {"project_namespace.name": taken, "name": taken, "path": taken})
        made: Row = {
            "id": world.store.next_id("project"),
            "name": name,
            "path_with_namespace": full_path,
            "created_at": now(),
        }
        world.store.repository(made).create(given.get("default_branch") or "main")
        world.store.projects.append(made)
    return project_row(world, made)


@api.get("/projects")
def list_projects(request: Request, given: Given, person: ThePerson, world: TheWorld) -> JSONResponse:
    search = given.get("search", "").lower()
    rows = [one for one in reversed(world.store.projects) if search in one["path_with_namespace"].lower()]
    hidden = ("merge_method", "archived", "empty_repo") if truthy(given.get("simple")) else ()

    def show(row: Row) -> Row:
        return {name: value for name, value in project_row(world, row).items() if name not in hidden}

    return paged(request, given, world, rows, show)


@api.get("/projects/{project}")
def show_project(project: TheProject, world: TheWorld) -> Row:
    return project_row(world, project)


def hook_row(hook: Row) -> Row:
    """Show a hook; its tokens never leave the server."""
    shown = {name: value for name, value in hook.items() if name not in HOOK_TOKENS}
    return shown | {f"{name}_present": bool(hook.get(name)) for name in HOOK_TOKENS} | {"alert_status": "executable"}


@api.post("/projects/{project}/hooks", status_code=201)
def make_hook(project: TheProject, given: Given, world: TheWorld) -> Row:
    required(given, "url")
    if not re.match(r"https?://[^/]", given["url"]):
        raise ApiError(422, "Invalid url given")
    signing_token = given.get("signing_token") or ""
    if signing_token and not SIGNING_TOKEN.fullmatch(signing_token):
        raise ApiError(422, {"signing_token": ["is invalid"]})
    with world.store.change("hooks"):
        made = {
            "id": world.store.next_id("hook"),
            "project_id": project["id"],
            "url": given["url"],
            "token": given.get("token") or "",
            "signing_token": signing_token,
            "push_events": truthy(given.get("push_events", True)),
            "enable_ssl_verification": truthy(given.get("enable_ssl_verification", True)),
            "created_at": now(),
        }
        world.store.hooks.append(made)
    return hook_row(made)


@api.get("/projects/{project}/hooks")
def list_hooks(request: Request, project: TheProject, given: Given, world: TheWorld) -> JSONResponse:
    rows = [one for one in world.store.hooks if one["project_id"] == project["id"]]
    return paged(request, given, world, rows, hook_row)


@api.get("/projects/{project}/repository/branches/{branch}")
def show_branch(project: TheProject, branch: str, world: TheWorld) -> Row:
    name, repository = unquote(branch), world.store.repository(project)
    head = repository.head(name)
    if head is None:
        raise not_found("Branch")
    return {
        "name": name,
        "commit": world.commit_row(project, repository.commit(head)),
        "merged": False,
        "protected": False,
        "developers_can_push": True,
        "developers_can_merge": True,
        "can_push": True,
        "default": name == repository.default_branch(),
        "web_url": world.web_url(project, "tree", name),
    }


@api.get("/projects/{project}/repository/commits/{revision}")
def show_commit(project: TheProject, revision: str, world: TheWorld) -> Row:
    repository = world.store.repository(project)
    return world.commit_row(project, repository.commit(resolve(repository, revision)))


@site.get("/_sandbox/state")
def sandbox_state(world: TheWorld) -> Row:
    return effects.state(world.store.effects)


def _git_token(request: Request, world: World) -> Token | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    token = world.token(password)
    return None if token is None or token.expired else token


@site.api_route("/{path:path}.git/{service:path}", methods=["GET", "POST"])
async def git_over_http(request: Request, path: str, service: str, world: TheWorld) -> Response:
    token = _git_token(request, world)
    if token is None:
        said = "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was "
        said += "incorrect or you're required to use a token instead of a password.\n"
        return PlainTextResponse(said, 401, {"WWW-Authenticate": 'Basic realm="GitLab"'})
    asked = request.query_params.get("service") if service == "info/refs" else service
    project = world.store.project(path)
    if project is None or asked not in GIT_SCOPES:
        said = "The project you were looking for could not be found or you don't have permission to view it.\n"
        return PlainTextResponse(said, 404)
    if not GIT_SCOPES[asked] & set(token.scopes):
        # lib/gitlab/git_access.rb, auth_upload and auth_download
        said = "upload" if asked == "git-receive-pack" else "download"
        return PlainTextResponse(f"You are not allowed to {said} code.", 403)
    protocol = request.headers.get("git-protocol", "")
    if service == "info/refs":
        refs = await run_in_threadpool(advertise, world.store.repository(project).path, asked, protocol)
        return _git_answer(asked, "advertisement", refs)
    body = await request.body()
    if request.headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    result = await run_in_threadpool(_serve, world, project, token.person, service, protocol, body)
    return _git_answer(service, "result", result)


def _git_answer(service: str, kind: str, said: bytes) -> Response:
    # Proxies must not keep it (gitprotocol-http(5)).
    return Response(said, headers={"Cache-Control": "no-cache"}, media_type=f"application/x-{service}-{kind}")


def _serve(world: World, project: Row, person: Person, service: str, protocol: str, body: bytes) -> bytes:
    repository = world.store.repository(project).path
    if service != "git-receive-pack":
        return answer(repository, service, protocol, body)
    # One push at a time, so that each move of a branch is told once and as its pusher's.
    with world.store.hold(project):
        said = answer(repository, service, protocol, body)
        world.events.tell(project, person)
    return said

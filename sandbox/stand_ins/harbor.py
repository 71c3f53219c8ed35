"""A small Harbor: the calls of API v2.0 that releases and the seed need, with Harbor's codes and messages.

Facts are from goharbor/harbor: api/v2.0/swagger.yaml and src/server/v2.0/handler.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from sandbox import effects
from sandbox.stand_ins.harbor_auth import Raw, Robot, basic_robot, error_response, robots
from sandbox.stand_ins.harbor_registry import add_registry
from sandbox.stand_ins.harbor_store import NEVER, HarborError, Row, Store, not_found

API = "/api/v2.0"
PROJECT = API + "/projects/{project}"
REPOSITORIES = PROJECT + "/repositories"
ARTIFACTS = REPOSITORIES + "/{repository}/artifacts"
ARTIFACT = ARTIFACTS + "/{reference}"
GENERIC_REPORT = "application/vnd.security.vulnerability.report; version=1.1"
NATIVE_REPORT = "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0"
LARGEST_PAGE = 100


def create_app(environment: Mapping[str, str], folder: Path, *, clock: Callable[[], float] = time.time) -> FastAPI:
    """Make the server."""
    store = Store(folder, clock)
    app = FastAPI(title="Harbor stand-in", openapi_url=None, redirect_slashes=False)

    @app.exception_handler(HarborError)
    def harbor_error(request: Request, error: HarborError) -> Response:
        return error_response(error)

    @app.exception_handler(404)
    def unknown_path(request: Request, error: Exception) -> Response:
        return error_response(not_found(f"path {request.url.path} was not found"))

    @app.exception_handler(405)
    def unknown_method(request: Request, error: Exception) -> Response:
        message = f"method {request.method} is not allowed"
        return error_response(HarborError(405, "METHOD_NOT_ALLOWED", message))

    def allow(request: Request, permission: str) -> Robot:
        robot = basic_robot(request, environment)
        if robot is None:
            raise HarborError(401, "UNAUTHORIZED", "unauthorized")
        if permission and permission not in robot.permissions:
            raise HarborError(403, "FORBIDDEN", "forbidden")
        return robot

    _add_system_routes(app, store, environment)
    _add_account_routes(app, environment, allow)
    _add_project_routes(app, store, environment, allow)
    _add_artifact_routes(app, store, allow)
    _add_tag_routes(app, store, allow)
    _add_scan_routes(app, store, allow)
    _add_page(app, store)
    add_registry(app, store, environment)
    return app


Allow = Callable[[Request, str], Robot]
"""Refuses who lacks a permission (none: who is nobody) and returns who asks."""


def _parsed(body: bytes) -> Row:
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise HarborError(400, "BAD_REQUEST", f"bad request: {error}") from error
    if not isinstance(parsed, dict):
        raise HarborError(422, "UNPROCESSABLE_ENTITY", "the body must be an object")
    return parsed


def _page(request: Request, rows: list[Row]) -> Response:
    """Answer one page, with the total and the links Harbor gives."""
    numbers = {}
    for name, otherwise in (("page", 1), ("page_size", 10)):
        value = request.query_params.get(name, str(otherwise))
        if not value.isdigit() or (name == "page_size" and int(value) > LARGEST_PAGE):
            raise HarborError(422, "UNPROCESSABLE_ENTITY", f"{name} in query should be in range, got {value}")
        numbers[name] = int(value)
    page, size = max(numbers["page"], 1), numbers["page_size"] or len(rows) or 1
    headers = {"X-Total-Count": str(len(rows))}
    links = []
    for relation, number, exists in (("prev", page - 1, page > 1), ("next", page + 1, page * size < len(rows))):
        if exists:
            url = request.url.include_query_params(page=number, page_size=size)
            links.append(f'<{url.path}?{url.query}> ; rel="{relation}"')
    if links:
        headers["Link"] = " , ".join(links)
    return JSONResponse(rows[(page - 1) * size : page * size], headers=headers)


def _add_system_routes(app: FastAPI, store: Store, environment: Mapping[str, str]) -> None:
    @app.get("/_sandbox/state")
    def sandbox_state() -> Row:
        with store.lock:
            return effects.state(store.effects)

    @app.get(API + "/health")
    def health() -> Any:
        components = [{"name": name, "status": "healthy"} for name in ("core", "database", "registry", "trivy")]
        return {"status": "healthy", "components": components}

    @app.get(API + "/systeminfo")
    def system_info(request: Request) -> Any:
        public = {"auth_mode": "db_auth", "self_registration": False}
        if not basic_robot(request, environment):
            return public
        return public | {"harbor_version": "v2.14.0-sandbox", "registry_url": environment["REGISTRY"]}


def _add_account_routes(app: FastAPI, environment: Mapping[str, str], allow: Allow) -> None:
    @app.get(API + "/users/current/permissions")
    def permissions(request: Request, scope: str = "") -> Any:
        robot = allow(request, "")
        held = [permission.split(":") for permission in sorted(robot.permissions)]
        # Without a scope, Harbor says null (GetCurrentUserPermissions in user.go).
        return [{"resource": resource, "action": action} for resource, action in held] if scope else None

    @app.get(API + "/robots")
    def list_robots(request: Request) -> Response:
        allow(request, "robot:list")
        rows = [{"name": robot.login, "level": "system", "expires_at": -1} for robot in robots(environment).values()]
        return _page(request, rows)


def _add_project_routes(app: FastAPI, store: Store, environment: Mapping[str, str], allow: Allow) -> None:
    def shown(project: Row) -> Row:
        return {
            "project_id": project["id"],
            "name": project["name"],
            "metadata": project["metadata"],
            "creation_time": project["created"],
            "repo_count": len(store.repositories(project)),
        }

    @app.get(API + "/projects")
    def list_projects(request: Request) -> Response:
        # Nobody, and somebody with a wrong password, sees the public projects (ListProjects in project.go).
        known = basic_robot(request, environment)
        wanted = request.query_params.get("name", "")
        rows = [row for row in store.projects() if known or row["metadata"]["public"] == "true"]
        return _page(request, [shown(row) for row in rows if wanted in row["name"]])

    @app.head(API + "/projects")
    def has_project(request: Request, project_name: str = "") -> Response:
        allow(request, "")
        if not any(row["name"] == project_name for row in store.projects()):
            raise not_found(f"project {project_name} not found")
        return Response()

    @app.post(API + "/projects")
    def create_project(request: Request, body: Raw) -> Response:
        allow(request, "project:create")
        wanted = _parsed(body)
        metadata = {name: str(value) for name, value in (wanted.get("metadata") or {}).items()}
        project = store.create_project(str(wanted.get("project_name", "")), metadata)
        return Response(status_code=201, headers={"Location": f"{API}/projects/{project['id']}"})

    @app.get(PROJECT)
    def get_project(request: Request, project: str) -> Any:
        allow(request, "")
        return shown(store.project(project))

    @app.post(PROJECT + "/immutabletagrules")
    def create_rule(request: Request, project: str, body: Raw) -> Response:
        allow(request, "immutable-tag:create")
        rule = _parsed(body)
        selectors = [*rule.get("tag_selectors", []), *rule.get("scope_selectors", {}).get("repository", [])]
        if any(selector.get("kind") != "doublestar" or not selector.get("pattern") for selector in selectors):
            raise HarborError(400, "BAD_REQUEST", "bad request: a selector needs kind doublestar and a pattern")
        added = store.add_rule(store.project(project), rule)
        return Response(status_code=201, headers={"Location": f"{request.url.path}/{added['id']}"})

    @app.get(PROJECT + "/immutabletagrules")
    def list_rules(request: Request, project: str) -> Response:
        allow(request, "immutable-tag:list")
        return _page(request, store.rules(store.project(project)))

    @app.get(REPOSITORIES)
    def list_repositories(request: Request, project: str) -> Response:
        allow(request, "repository:list")
        rows = store.repositories(store.project(project))
        keys = ("id", "project_id", "name", "artifact_count")
        return _page(request, [{key: row[key] for key in keys} | {"creation_time": row["created"]} for row in rows])


def _name(project: str, repository: str) -> str:
    """Harbor decodes the repository once more than the path, so a nested name must be encoded twice."""
    return f"{project}/{unquote(repository)}"


def _flag(request: Request, name: str, *, otherwise: bool = False) -> bool:
    return request.query_params.get(name, str(otherwise)).lower() == "true"


def _reports(request: Request) -> list[str]:
    """Harbor answers in the old report type unless the header asks for the new one (handler/util.go)."""
    asked = [part.strip() for part in request.headers.get("X-Accept-Vulnerabilities", "").split(",")]
    return [part for part in asked if part in (GENERIC_REPORT, NATIVE_REPORT)] or [NATIVE_REPORT]


def _tags(store: Store, artifact: Row, *, immutable: bool) -> list[Row]:
    return [
        {
            "id": tag["id"],
            "repository_id": tag["repository_id"],
            "artifact_id": tag["artifact_id"],
            "name": tag["name"],
            "push_time": tag["pushed"],
            "pull_time": NEVER,
            "immutable": immutable and store.is_immutable(artifact, tag["name"]),
        }
        for tag in store.tags(artifact)
    ]


def _shown(store: Store, request: Request, artifact: Row) -> Row:
    project, _, repository = artifact["name"].partition("/")
    encoded = quote(quote(repository, safe=""), safe="")
    link = f"{API}/projects/{project}/repositories/{encoded}/artifacts/{artifact['digest']}/additions/vulnerabilities"
    plain = ("id", "project_id", "repository_id", "digest", "size", "media_type", "manifest_media_type", "extra_attrs")
    shown = {key: artifact[key] for key in plain} | {
        "type": "IMAGE",
        "repository_name": artifact["name"],
        "push_time": artifact["pushed"],
        "pull_time": artifact["pulled"],
        "annotations": artifact["annotations"],
        "references": None,
        "addition_links": {"vulnerabilities": {"absolute": False, "href": link}},
    }
    if _flag(request, "with_tag", otherwise=True):
        shown["tags"] = _tags(store, artifact, immutable=_flag(request, "with_immutable_status")) or None
    if _flag(request, "with_label"):
        shown["labels"] = None
    summary = store.scan_summary(artifact)
    if summary and _flag(request, "with_scan_overview"):
        shown["scan_overview"] = {_reports(request)[0]: summary}
    return shown


def _matches(store: Store, artifact: Row, query: str) -> bool:
    """Apply `q=`: comma-separated `field=value`; `*` any tag, `nil` none, `~x` contains."""
    for condition in filter(None, query.split(",")):
        field, _, value = condition.partition("=")
        names = [tag["name"] for tag in store.tags(artifact)]
        if field == "digest":
            fits = artifact["digest"] == value
        elif field == "tags":
            found = {"*": bool(names), "nil": not names}.get(value)
            fuzzy = any(value[1:] in name for name in names) if value.startswith("~") else value in names
            fits = fuzzy if found is None else found
        else:
            raise HarborError(400, "BAD_REQUEST", f"bad request: unsupported query {field}")
        if not fits:
            return False
    return True


def _add_artifact_routes(app: FastAPI, store: Store, allow: Allow) -> None:
    @app.get(ARTIFACTS)
    def list_artifacts(request: Request, project: str, repository: str) -> Response:
        allow(request, "artifact:list")
        query = request.query_params.get("q", "")
        rows = [row for row in store.artifacts(_name(project, repository)) if _matches(store, row, query)]
        return _page(request, [_shown(store, request, row) for row in rows])

    @app.get(ARTIFACT)
    def get_artifact(request: Request, project: str, repository: str, reference: str) -> Any:
        allow(request, "artifact:read")
        return _shown(store, request, store.artifact(_name(project, repository), reference))


def _add_tag_routes(app: FastAPI, store: Store, allow: Allow) -> None:
    @app.get(ARTIFACT + "/tags")
    def list_tags(request: Request, project: str, repository: str, reference: str) -> Response:
        allow(request, "tag:list")
        artifact = store.artifact(_name(project, repository), reference)
        return _page(request, _tags(store, artifact, immutable=_flag(request, "with_immutable_status")))

    @app.post(ARTIFACT + "/tags")
    def create_tag(request: Request, project: str, repository: str, reference: str, body: Raw) -> Response:
        allow(request, "tag:create")
        tag = str(_parsed(body).get("name", ""))
        store.create_tag(store.artifact(_name(project, repository), reference), tag)
        return Response(status_code=201)

    @app.delete(ARTIFACT + "/tags/{tag}")
    def delete_tag(request: Request, project: str, repository: str, reference: str, tag: str) -> Response:
        allow(request, "tag:delete")
        store.delete_tag(store.artifact(_name(project, repository), reference), tag)
        return Response()


def _add_scan_routes(app: FastAPI, store: Store, allow: Allow) -> None:
    @app.post(ARTIFACT + "/scan")
    def scan(request: Request, project: str, repository: str, reference: str) -> Response:
        allow(request, "scan:create")
        store.start_scan(store.artifact(_name(project, repository), reference))
        return Response(status_code=202)

    @app.get(ARTIFACT + "/additions/vulnerabilities")
    def vulnerabilities(request: Request, project: str, repository: str, reference: str) -> Any:
        allow(request, "artifact:read")
        report = store.scan_report(store.artifact(_name(project, repository), reference))
        return {_reports(request)[0]: report} if report else {}


def _add_page(app: FastAPI, store: Store) -> None:
    @app.get("/harbor/projects/{project}/repositories/{rest:path}")
    def artifact_page(project: str, rest: str) -> Response:
        match = re.fullmatch(r"(.+)/artifacts-tab/artifacts/(sha256:[0-9a-f]{64})", rest)
        if match is None:
            raise not_found(f"path /harbor/projects/{project}/repositories/{rest} was not found")
        artifact = store.artifact(f"{store.project(project)['name']}/{match[1]}", match[2])
        summary = store.scan_summary(artifact) or {"scan_status": "Not scanned"}
        found = (store.scan_report(artifact) or {"vulnerabilities": []})["vulnerabilities"]
        title = html.escape(f"{artifact['name']}@{artifact['digest']}")
        tags = html.escape(", ".join(tag["name"] for tag in store.tags(artifact)) or "none")
        scan = html.escape(f"{summary['scan_status']} {summary.get('severity', '')}".strip())
        items = "".join(
            f"<li>{html.escape(item['severity'])}: {html.escape(item['package'])} {html.escape(item['version'])}"
            f" ({html.escape(item['id'])})</li>"
            for item in found
        )
        page = f"<title>{title}</title><h1>{title}</h1><p>Tags: {tags}</p><p>Scan: {scan}</p><ul>{items}</ul>"
        return HTMLResponse("<!doctype html><meta charset=utf-8>" + page)

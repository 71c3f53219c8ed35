"""Environments and deployments of the GitLab stand-in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from sandbox.stand_ins.gitlab_api import (
    ApiError,
    Given,
    ThePerson,
    TheProject,
    TheWorld,
    World,
    paged,
    required,
    truthy,
)
from sandbox.stand_ins.gitlab_store import Row, now

router = APIRouter(prefix="/api/v4/projects/{project}")

EVENTS = {"running": "run", "success": "succeed", "failed": "drop", "canceled": "cancel"}
"""Event that leads to each state a deployment can be given (app/models/deployment.rb)."""
LISTED = (*EVENTS, "created", "skipped", "blocked")


def environment_row(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "project_id"}


def deployment_row(world: World, row: Row) -> Row:
    environment = next(one for one in world.store.environments if one["id"] == row["environment_id"])
    hidden = ("project_id", "environment_id", "user_id", "tag", "finished_at")
    return {name: value for name, value in row.items() if name not in hidden} | {
        "user": world.user_row(row["user_id"]),
        "environment": environment_row(environment),
        "deployable": None,
    }


def deployments_to(world: World, environment: Row) -> list[Row]:
    return [row for row in world.store.deployments if row["environment_id"] == environment["id"]]


def last_deployment(world: World, environment: Row) -> Row | None:
    """Return what GitLab takes for deployed: the success that ended last, in whatever order they began."""
    done = [row for row in deployments_to(world, environment) if row["status"] == "success"]
    return max(done, key=lambda row: (row["finished_at"], row["id"]), default=None)


def _environments(world: World, project: Row) -> list[Row]:
    return [row for row in world.store.environments if row["project_id"] == project["id"]]


@router.get("/environments")
def list_environments(request: Request, project: TheProject, given: Given, world: TheWorld) -> JSONResponse:
    rows = [row for row in _environments(world, project) if row["name"] == given.get("name", row["name"])]
    return paged(request, given, world, rows, environment_row)


@router.get("/environments/{number}")
def show_environment(project: TheProject, number: str, world: TheWorld) -> Row:
    environment = next((row for row in _environments(world, project) if str(row["id"]) == number), None)
    if environment is None:
        raise ApiError(404, "404 Not found")
    last = last_deployment(world, environment)
    return environment_row(environment) | {"last_deployment": deployment_row(world, last) if last else None}


def _environment(world: World, project: Row, name: str) -> Row:
    """Find an environment, or make it on the fly."""
    found = next((row for row in _environments(world, project) if row["name"] == name), None)
    if found is None:
        found = {
            "id": world.store.next_id("environment"),
            "project_id": project["id"],
            "name": name,
            "slug": name,
            "external_url": None,
            "state": "available",
            "created_at": now(),
            "updated_at": now(),
        }
        world.store.environments.append(found)
    return found


def _advance(row: Row, status: str) -> None:
    # Only a new deployment starts to run; an end is left for any other end.
    if row["status"] != "created" if status == "running" else row["status"] == status:
        raise ApiError(400, {"status": [f'cannot transition via "{EVENTS[status]}"']})
    row |= {"status": status, "updated_at": now()}
    if status != "running":
        row["finished_at"] = row["updated_at"]


def _check_state(given: Row) -> None:
    if given["status"] not in EVENTS:
        raise ApiError(400, "status does not have a valid value", key="error")


@router.post("/deployments", status_code=201)
def make_deployment(project: TheProject, given: Given, person: ThePerson, world: TheWorld) -> Row:
    required(given, "environment", "sha", "ref", "tag", "status")
    _check_state(given)
    repository = world.store.repository(project)
    with world.store.change():
        environment = _environment(world, project, given["environment"])
        wanted: dict[str, Any] = {"ref": given["ref"], "tag": truthy(given["tag"]), "sha": given["sha"]}
        last = last_deployment(world, environment)
        if last and wanted | {"status": given["status"]} == {name: last[name] for name in (*wanted, "status")}:
            return deployment_row(world, last)
        for name, what in (("sha", "commit"), ("ref", "branch or tag")):
            if repository.resolve(given[name]) is None:
                raise ApiError(400, {name: [f"The {what} does not exist"]})
        made: Row = wanted | {
            "id": world.store.next_id("deployment"),
            "iid": 1 + sum(row["project_id"] == project["id"] for row in world.store.deployments),
            "project_id": project["id"],
            "environment_id": environment["id"],
            "user_id": person.id,
            "status": "created",
            "created_at": now(),
            "updated_at": now(),
            "finished_at": None,
        }
        _advance(made, given["status"])
        world.store.deployments.append(made)
        _count(world, "deployments")
    return deployment_row(world, made)


@router.get("/deployments")
def list_deployments(request: Request, project: TheProject, given: Given, world: TheWorld) -> JSONResponse:
    if given.get("status", "running") not in LISTED:
        raise ApiError(400, "status does not have a valid value", key="error")
    names = {row["id"]: row["name"] for row in _environments(world, project)}
    rows = [
        row
        for row in world.store.deployments
        if row["project_id"] == project["id"]
        and names[row["environment_id"]] == given.get("environment", names[row["environment_id"]])
        and row["status"] == given.get("status", row["status"])
    ]
    if given.get("sort") == "desc":
        rows.reverse()
    return paged(request, given, world, rows, lambda row: deployment_row(world, row))


def _deployment(world: World, project: Row, number: str) -> Row:
    for row in world.store.deployments:
        if (row["project_id"], str(row["id"])) == (project["id"], number):
            return row
    raise ApiError(404, "404 Not found")


@router.get("/deployments/{number}")
def show_deployment(project: TheProject, number: str, world: TheWorld) -> Row:
    return deployment_row(world, _deployment(world, project, number))


@router.put("/deployments/{number}")
def set_deployment(project: TheProject, number: str, given: Given, person: ThePerson, world: TheWorld) -> Row:
    row = _deployment(world, project, number)
    required(given, "status")
    _check_state(given)
    with world.store.change():
        _advance(row, given["status"])
        _count(world, "deployments ended")
    return deployment_row(world, row)


def _count(world: World, effect: str) -> None:
    world.store.effects[effect] = world.store.effects.get(effect, 0) + 1

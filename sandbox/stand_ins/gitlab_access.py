"""Who is who in the GitLab stand-in, and what for: users, their tokens, members of groups."""

from __future__ import annotations

import secrets
from urllib.parse import unquote

from fastapi import APIRouter

from sandbox.stand_ins.gitlab_api import (
    ApiError,
    Given,
    ThePerson,
    TheProject,
    TheToken,
    TheWorld,
    World,
    not_found,
    required,
)
from sandbox.stand_ins.gitlab_store import Row, now

SCOPES = ("api", "read_repository", "write_repository")
ALL_SCOPES = frozenset({*SCOPES, "read_api", "read_user", "sudo", "admin_mode", "create_runner", "k8s_proxy"})

router = APIRouter(prefix="/api/v4")


@router.get("/user")
def user(person: ThePerson, world: TheWorld) -> Row:
    # Only administrators are told what they are (lib/api/entities/user_details_with_admin.rb).
    rank = {"is_admin": True} if person.admin else {}
    return {**(world.user_row(person) or {}), "email": person.email, "bot": False} | rank


@router.get("/personal_access_tokens/self")
def own_token(token: TheToken) -> Row:
    return {
        "id": token.id,
        "name": token.name,
        "description": None,
        "revoked": False,
        "active": True,
        "created_at": "2025-01-01T00:00:00.000Z",
        "last_used_at": now(),
        "expires_at": token.expires_at,
        "scopes": list(token.scopes),
        "user_id": token.person.id,
    }


@router.post("/users/{user_id}/personal_access_tokens", status_code=201)
def make_token(user_id: int, given: Given, person: ThePerson, world: TheWorld) -> Row:
    if not person.admin:
        raise ApiError(403, "403 Forbidden")
    required(given, "name", "scopes")
    if not set(given["scopes"]) <= ALL_SCOPES:
        raise ApiError(400, "scopes does not have a valid value", key="error")
    if user_id not in world.people:
        raise not_found("User")
    with world.store.change("tokens"):
        made = {
            "id": 100 + world.store.next_id("token"),
            "name": given["name"],
            "scopes": given["scopes"],
            "expires_at": given.get("expires_at"),
            "user_id": user_id,
            "token": f"glpat-{secrets.token_hex(10)}",
        }
        world.store.tokens.append(made)
    return made | {"active": True, "revoked": False}


def find_group(world: World, reference: str) -> Row:
    for one in world.store.groups:
        if reference in (str(one["id"]), one["full_path"]):
            return one
    raise not_found("Group")


def member_row(world: World, user_id: int, level: int) -> Row:
    return {**(world.user_row(user_id) or {}), "access_level": level, "expires_at": None}


@router.post("/groups/{group}/members", status_code=201)
def add_member(group: str, given: Given, person: ThePerson, world: TheWorld) -> Row:
    required(given, "user_id", "access_level")
    found, user_id = find_group(world, unquote(group)), int(given["user_id"])
    if str(user_id) in found["members"]:
        raise ApiError(409, "Member already exists")
    with world.store.change("members"):
        found["members"][str(user_id)] = int(given["access_level"])
    return member_row(world, user_id, int(given["access_level"]))


@router.get("/projects/{project}/members/all/{user_id}")
def show_member(project: TheProject, user_id: int, world: TheWorld) -> Row:
    level = world.access_level(project, user_id)
    if level is None:
        raise ApiError(404, "404 Not found")
    return member_row(world, user_id, level)

"""What both halves of the Harbor stand-in share: accounts, credentials, bodies and the shape of an error."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response

from sandbox.stand_ins.harbor_store import HarborError

POLICIES = tuple(
    f"{resource}:{action}"
    for resource, actions in {
        "artifact": ("create", "delete", "list", "read"),
        "immutable-tag": ("create", "delete", "list", "update"),
        "project": ("create",),
        "repository": ("delete", "list", "pull", "push", "read"),
        "robot": ("create", "delete", "list", "read"),
        "scan": ("create", "read", "stop"),
        "tag": ("create", "delete", "list"),
    }.items()
    for action in actions
)
"""What may be allowed, of what this stand-in knows (src/common/rbac/const.go)."""
RELEASES = frozenset({"artifact:read", "tag:create", "scan:create", "immutable-tag:list", "robot:list"})


async def raw_body(request: Request) -> bytes:
    return await request.body()


Raw = Annotated[bytes, Depends(raw_body)]


@dataclass(frozen=True, slots=True)
class Robot:
    """An account; its permissions hold in all projects."""

    login: str
    permissions: frozenset[str]


def robots(environment: Mapping[str, str]) -> dict[str, Robot]:
    """Return the robots by login and password: the one that makes the sample world, and that of the releases."""
    found = {
        f"{environment['HARBOR_USER']}:{environment['HARBOR_PASSWORD']}": Robot(
            environment["HARBOR_USER"], frozenset(POLICIES)
        )
    }
    # The second is not there in tests of other things.
    if "HARBOR_RELEASE_USER" in environment:
        login = environment["HARBOR_RELEASE_USER"]
        found[f"{login}:{environment['HARBOR_RELEASE_PASSWORD']}"] = Robot(login, RELEASES)
    return found


def basic_robot(request: Request, environment: Mapping[str, str]) -> Robot | None:
    """Return who asks; None for nobody and for a wrong password."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        given = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    known = robots(environment).items()
    return next((robot for secret, robot in known if hmac.compare_digest(given, secret.encode())), None)


def error_response(error: HarborError) -> Response:
    body = {"errors": [{"code": error.code, "message": str(error)}]}
    return JSONResponse(body, error.status, headers=error.headers)

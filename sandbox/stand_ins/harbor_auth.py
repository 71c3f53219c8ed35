"""What both halves of the Harbor stand-in share: credentials, bodies and the shape of an error."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response

from sandbox.stand_ins.harbor_store import HarborError


async def raw_body(request: Request) -> bytes:
    return await request.body()


Raw = Annotated[bytes, Depends(raw_body)]


def basic_user(request: Request, environment: Mapping[str, str]) -> bool:
    """Say whether the request carries the right user and password."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        given = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    return hmac.compare_digest(given, f"{environment['HARBOR_USER']}:{environment['HARBOR_PASSWORD']}".encode())


def error_response(error: HarborError) -> Response:
    body = {"errors": [{"code": error.code, "message": str(error)}]}
    return JSONResponse(body, error.status, headers=error.headers)

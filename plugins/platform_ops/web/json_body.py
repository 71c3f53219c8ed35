"""Reads the JSON body of a request nobody vouches for: bounded in size and time, strict in form."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NoReturn

from platform_ops.common.errors import Invalid


@dataclass(frozen=True, slots=True)
class Limits:
    """What one body may cost.

    :param largest: bytes.
    :param seconds: until it is complete, however the sender spreads it.
    """

    largest: int = 1024 * 1024
    seconds: float = 10.0


class BadBody(Invalid):
    """A body we do not take.

    :param status: the HTTP status that says so.
    """

    def __init__(self, status: int, code: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.code = code


async def read_body(chunks: AsyncIterator[bytes], limits: Limits) -> bytes:
    """Read a body, counting what really arrives; a declared length proves nothing.

    :raises BadBody: too large, or not complete in time.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in chunks:
                if len(body) + len(chunk) > limits.largest:
                    raise BadBody(413, "too_large", f"the body must not be larger than {limits.largest} bytes")
                body += chunk
    except TimeoutError as error:
        raise BadBody(408, "too_slow", f"the body must arrive within {limits.seconds:g} seconds") from error
    return bytes(body)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Python's reader alone would take NaN, keep the last of two equal keys, and give up on deep nesting
    (RecursionError) and on numbers longer than 4300 digits (ValueError).

    :raises BadBody: anything else than one object in strict JSON.
    """
    try:
        value = json.loads(
            body.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_no_duplicates
        )
    except (ValueError, RecursionError) as error:
        raise BadBody(400, "malformed", "the body must be one JSON object in strict form") from error
    if not isinstance(value, dict):
        raise BadBody(400, "malformed", "the body must be one JSON object in strict form")
    return value


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found

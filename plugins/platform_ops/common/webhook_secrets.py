"""The connection of GitLab's push webhook, and what makes the secrets in it sound."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from platform_ops.common.errors import FailNow

CONNECTION = "gitlab_webhook"
SHORTEST_TOKEN = 12
_SIGNING_TOKEN = re.compile(r"whsec_([A-Za-z0-9+/]{43}=)")


class NotConfigured(FailNow):
    """The connection of the webhook is missing or has no usable secret."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What senders are judged by; at least one of the two is there."""

    token: bytes | None = field(repr=False)
    signing_key: bytes | None = field(repr=False)


def read_secrets(extra: Mapping[str, Any]) -> Secrets:
    """Return the secrets in the extra fields ``token`` and ``signing_token`` of a connection.

    :raises NotConfigured: both are missing, or one is not sound; an empty one would let everybody in.
    """
    token, signing_token = extra.get("token"), extra.get("signing_token")
    if token is None and signing_token is None:
        raise NotConfigured("neither the extra field signing_token nor token is there; enter what GitLab has")
    return Secrets(
        token=None if token is None else _token(token),
        signing_key=None if signing_token is None else _signing_key(signing_token),
    )


def _token(value: Any) -> bytes:
    if not isinstance(value, str) or len(value) < SHORTEST_TOKEN:
        raise NotConfigured(
            f"the extra field token is not a text of {SHORTEST_TOKEN} characters or more; "
            "enter GitLab's secret token, or remove the field where GitLab signs and signing_token is there"
        )
    return value.encode()


def _signing_key(value: Any) -> bytes:
    found = _SIGNING_TOKEN.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise NotConfigured(
            "the extra field signing_token is not whsec_ and 32 bytes in base64; "
            "enter the signing token as GitLab has shown it, or remove the field where GitLab sends only token"
        )
    return base64.b64decode(found[1])

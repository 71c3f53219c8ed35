"""What `GET /_sandbox/state` answers: how often each thing really happened at a server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs


def state(effects: Mapping[str, int]) -> dict[str, Any]:
    """Return the answer.

    :param effects: in the system's own terms (builds, tags, commits), never requests.
    """
    shown = dict(sorted(effects.items()))
    return {"hash": hashlib.sha256(json.dumps(shown).encode()).hexdigest(), "effects": shown}


def stored(method: str, path: str, query: str) -> str | None:
    """Return what happened at an object store when it did what it was asked; None for what is no thing of its own."""
    asked = parse_qs(query, keep_blank_values=True)
    if method not in ("PUT", "POST", "DELETE") or path.startswith("/minio/admin/"):
        return None
    # A multipart upload makes an object when it is completed, and unmakes none when it is aborted.
    if "uploads" in asked or "partNumber" in asked or (method == "DELETE" and "uploadId" in asked):
        return None
    kind = "objects" if "/" in path.strip("/") else "buckets"
    if kind == "buckets" and asked:
        return None  # a setting of a bucket
    return f"{kind} deleted" if method == "DELETE" else kind

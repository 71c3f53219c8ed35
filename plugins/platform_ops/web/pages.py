"""What every page is sent with."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from platform_ops.common.pages import inside


def _source(name: str) -> str:
    """Return the source of ours by which a policy knows it: its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(inside(name).encode()).digest()).decode()}'"


def headers() -> Mapping[str, str]:
    """Return the headers every page carries: nothing runs or is fetched but by our own script, nobody keeps a copy."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src {_source('style')}; script-src {_source('script')}; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }

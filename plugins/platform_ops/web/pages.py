"""Writes stories and messages as HTML: no script, everything escaped, one style sheet inside the page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from platform_ops.common.settings import include


@cache
def _environment(folder: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Ours, not data; a style element's text is not parsed as HTML.
    environment.globals["style"] = Markup((include() / "templates" / "page.css").read_text())  # noqa: S704
    return environment


def write(template: str, **values: Any) -> str:
    """Write a page."""
    return _environment(str(include() / "templates")).get_template(template).render(**values)


@cache
def _style_hash(folder: str) -> str:
    style = str(_environment(folder).globals["style"])
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def headers() -> Mapping[str, str]:
    """Return the headers every page carries: nothing runs, nothing is fetched, nobody keeps a copy."""
    style = _style_hash(str(include() / "templates"))
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'self'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }

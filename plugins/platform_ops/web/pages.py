"""Writes stories and messages as HTML: everything escaped, one style sheet and one script, both inside the page."""

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
    # Ours, not data; the text of a style or script element is not parsed as HTML.
    for name, file in (("style", "page.css"), ("script", "live.js")):
        environment.globals[name] = Markup((include() / "templates" / file).read_text())  # noqa: S704
    return environment


def write(template: str, **values: Any) -> str:
    """Write a page."""
    return _environment(str(include() / "templates")).get_template(template).render(**values)


@cache
def _source(folder: str, name: str) -> str:
    """Return the source of ours by which a policy knows it: its hash."""
    text = str(_environment(folder).globals[name])
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def headers() -> Mapping[str, str]:
    """Return the headers every page carries: nothing runs or is fetched but by our own script, nobody keeps a copy."""
    folder = str(include() / "templates")
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src {_source(folder, 'style')}; script-src {_source(folder, 'script')}; "
            "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }

"""Writes pages as HTML: everything escaped, one style sheet and one script, both inside the page."""

from __future__ import annotations

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


def inside(name: str) -> str:
    """Return the text of ``style`` or ``script`` as it stands inside a page."""
    return str(_environment(str(include() / "templates")).globals[name])

"""Careful reading of reports: any key may be missing or of another type."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from platform_ops.common.report import Link
from platform_ops.common.words import Moment, moment

LONGEST_TEXT = 1000
MOST_ENTRIES = 50


def visible(value: str) -> str:
    """Write control, bidirectional and zero-width characters out, so that no text looks like another."""
    return "".join(
        f"\\u{ord(mark):04x}" if unicodedata.category(mark) in ("Cc", "Cf", "Cs", "Zl", "Zp") else mark
        for mark in value
    )


def words(value: Any) -> str:
    """Return a scalar as one line of text; nothing for anything else."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (str, int, float)):
        return ""
    line = " ".join(str(value).split())
    return visible(line if len(line) <= LONGEST_TEXT else line[:LONGEST_TEXT] + "…")


def text(facts: Mapping[str, Any], key: str) -> str:
    """Return a fact as one line of text; empty when it is not there."""
    return words(facts.get(key))


def number(facts: Mapping[str, Any], key: str) -> int | float | None:
    """Return a fact that is a number."""
    value = facts.get(key)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def inner(facts: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a fact that is an object; empty when it is not there."""
    value = facts.get(key)
    return value if isinstance(value, dict) else {}


def entries(facts: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects of a fact that is a list."""
    value = facts.get(key)
    return [entry for entry in value[:MOST_ENTRIES] if isinstance(entry, dict)] if isinstance(value, list) else []


def texts(facts: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the texts of a fact that is a list of scalars."""
    value = facts.get(key)
    return tuple(filter(None, (words(entry) for entry in value[:MOST_ENTRIES]))) if isinstance(value, list) else ()


def listing(names: tuple[str, ...], last: str = "and") -> str:
    """Return names as people list them: ``a, b and c``."""
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def moment_from(facts: Mapping[str, Any], key: str) -> Moment | None:
    """Return a fact that is a time in ISO form; one without a zone counts as UTC."""
    return moment(time_from(facts, key))


def time_from(facts: Mapping[str, Any], key: str) -> datetime | None:
    """Return a fact that is a time in ISO form; one without a zone counts as UTC."""
    value = facts.get(key)
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def links(report: Mapping[str, Any]) -> tuple[Link, ...]:
    """Return the links of a report that lead to http or https; everything else is not a link for us."""
    found = []
    for entry in entries(report, "links"):
        url = entry.get("url")
        if isinstance(url, str) and is_web(url):
            found.append(Link(text(entry, "title") or url, url))
    return tuple(found)


def is_web(url: str) -> bool:
    """Say whether an address is a plain web address."""
    if url != visible(url) or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)

"""What our robot needs at Harbor, in the words of its API: resource:action."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from platform_ops.common.permissions import VALID, Permission

WANTED = (
    Permission("artifact:read", "releases read images, their labels and scans"),
    Permission("tag:create", "build_image claims the tags of tree and commit"),
    Permission("scan:create", "verify_image starts a missing scan"),
    Permission("immutable-tag:list", "check_connections reads whether these tags can move"),
)
IMMUTABLE = Permission("immutable tags", "somebody could move a tag between the scan and the release")
UNWANTED = (
    Permission("repository:push", "only Jenkins pushes images", wanted=False),
    Permission("repository:delete", "images that run could be removed", wanted=False),
    Permission("artifact:delete", "images that run could be removed", wanted=False),
    Permission("tag:delete", "a tag could be moved by deleting it", wanted=False),
    Permission("immutable-tag:delete", "tags could be made movable", wanted=False),
    Permission("robot:create", "it could make itself a stronger account", wanted=False),
)
PERMISSIONS = (*WANTED, IMMUTABLE, VALID, *UNWANTED)

MUST_BE_IMMUTABLE = {
    "tree-*": ("tree-" + "0" * 40, "tree-" + "f" * 40),
    "40 hex digits": ("0" * 40, "f" * 40),
}
"""What the claim tag and the commit tag look like, each with examples that a rule must cover."""


def unprotected(rules: list[Mapping[str, Any]]) -> list[str]:
    """Return which of our tags a project's immutability rules leave movable."""
    covering = [rule for rule in rules if not rule.get("disabled") and _for_every_repository(rule)]
    return [
        name
        for name, examples in MUST_BE_IMMUTABLE.items()
        if not all(any(_covers(rule, tag) for rule in covering) for tag in examples)
    ]


def _for_every_repository(rule: Mapping[str, Any]) -> bool:
    selectors = (rule.get("scope_selectors") or {}).get("repository") or [{}]
    return (selectors[0].get("decoration"), selectors[0].get("pattern")) == ("repoMatches", "**")


def _covers(rule: Mapping[str, Any], tag: str) -> bool:
    """Say whether a rule protects a tag; only its first tag selector counts (src/pkg/immutable/match/rule)."""
    selector = (rule.get("tag_selectors") or [{}])[0]
    matched = any(fnmatchcase(tag, pattern) for pattern in _alternatives(selector.get("pattern", "")))
    return not matched if selector.get("decoration") == "excludes" else matched


def _alternatives(pattern: str) -> list[str]:
    """Write out ``{a,b}``, which fnmatch lacks; tags have no slash, so ``**`` is ``*``."""
    parts = [part.split(",") if number % 2 else [part] for number, part in enumerate(re.split(r"[{}]", pattern))]
    return ["".join(choice).replace("[^", "[!") for choice in product(*parts)]

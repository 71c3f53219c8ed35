"""Stapler's `tree` parameter, by which a client of Jenkins picks fields (stapler's NamedPathPruner.java)."""

from __future__ import annotations

import re
from typing import Any

from starlette.exceptions import HTTPException

Tree = dict[str, tuple["Tree", slice]]


def parse_tree(tree: str) -> Tree:
    """Read e.g. ``name,builds[number,url]{0,50}``."""
    tokens = re.findall(r"[\w*]+|[\[\],]|\{[^}]*\}", tree)

    def nodes() -> Tree:
        found: Tree = {}
        while tokens and tokens[0] != "]":
            name = tokens.pop(0)
            children: Tree = {}
            if tokens and tokens[0] == "[":
                tokens.pop(0)
                children = nodes()
                if not tokens:
                    raise HTTPException(400, f"tree={tree} has an unclosed bracket")
                tokens.pop(0)
            cut = slice(None)
            if tokens and tokens[0].startswith("{"):
                first, _, last = tokens.pop(0)[1:-1].partition(",")
                cut = slice(int(first or 0), int(last) if last else None)
            found[name] = children, cut
            if tokens and tokens[0] == ",":
                tokens.pop(0)
        return found

    return nodes()


def select(value: Any, tree: Tree) -> Any:
    """Return only what the tree names; classes always stay."""
    if isinstance(value, list):
        return [select(each, tree) for each in value]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {"_class": value["_class"]} if "_class" in value else {}
    for name, (children, cut) in tree.items():
        if name in value:
            each = value[name]
            kept[name] = select(each[cut] if isinstance(each, list) else each, children)
    return kept

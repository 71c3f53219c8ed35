"""Writes docs/catalogue-backups.md from the schema of the catalogue and from samples: `make docs`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from platform_ops.common.documents import TYPES

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "catalogue-backups.md"
SCHEMAS = DOCS.parent / "include" / "schemas"
SCHEMA = "backup.schema.json"
SAMPLES = DOCS / "samples"
HEAD = """\
# The catalogue of backups

Written by `make docs` from `include/schemas/backup.schema.json` and `docs/samples`; a test compares. Change those, not
this page.

Each source has a file of its own, `include/backups/<source>.yaml`. Copy the sample of its [kind](#kinds) there, under
the name that `source` says, and change it. The first step of a run names file, line and field of what is wrong; nothing
is copied then. All times are UTC: those on the pages, those in the names of points, and the midnight at which the day
of a nightly source begins, as do the hours, days, weeks, months and years of the retention.

A text that begins with `*`, holds `: ` or ` #`, or looks like a number has to stand in quotes.

## Fields of all kinds
"""
KINDS = """\
## Kinds

What stands under `what`, and a sample of each.
"""
ROWS = ("| field | what it is | value | if left out |", "|---|---|---|---|")

Schema = Mapping[str, Any]


def page() -> str:
    """Return the whole page."""
    schema = _load(SCHEMA)
    kinds = {case["if"]["properties"]["kind"]["const"]: case["then"]["properties"]["what"] for case in schema["allOf"]}
    parts = [HEAD, *_table(schema, schema), KINDS]
    for kind, what in kinds.items():
        parts += [f"### {kind}\n", *_table(_type(what, schema)[0], schema, "what.")]
        parts += [f"```yaml\n{text}```\n" for text in samples().values() if f"\nkind: {kind}\n" in text]
    return "\n".join(parts)


def samples() -> dict[str, str]:
    """Return the samples by their names."""
    return {path.stem: path.read_text() for path in sorted(SAMPLES.glob("*.yaml"))}


def _load(name: str) -> Schema:
    schema: Schema = json.loads((SCHEMAS / name).read_text())
    return schema


def _table(block: Schema, root: Schema, above: str = "") -> list[str]:
    rows = list(_rows(block, root, above))
    return [*ROWS, *rows, ""] if rows else ["Nothing: write `what: {}`.\n"]


def _rows(block: Schema, root: Schema, above: str) -> Iterator[str]:
    for name, field in block["properties"].items():
        told, its_root = _type(field, root)
        needed = name in block.get("required", ())
        cells = (f"`{above}{name}`", field["description"], _value(told), "it is needed" if needed else _default(field))
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        if "properties" in told:
            yield from _rows(told, its_root, f"{above}{name}.")


def _type(field: Schema, root: Schema) -> tuple[Schema, Schema]:
    """Return what a field refers to, and the schema in which that stands."""
    file, _, path = field["$ref"].partition("#/$defs/")
    found = _load(file) if file else root
    return (found["$defs"][path] if path else found), found


def _value(told: Schema) -> str:
    if "enum" in told:
        return " or ".join(f"`{value}`" for value in told["enum"])
    return str(told.get("description", TYPES[told["type"]])).replace("<", "&lt;")


def _default(field: Schema) -> str:
    value = field.get("default")
    return f"`{value if isinstance(value, str) else json.dumps(value)}`" if value or value in (0, False) else "none"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print(f"docs/{PAGE.name} is written.")


if __name__ == "__main__":
    main()

"""Writes docs/dags.md from the DAGs themselves: `make docs`."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "dags.md"
RUNBOOKS = "runbooks"
FROM_THE_CATALOGUE = {
    "service": "a file in `include/services`",
    "source": "a file in `include/backups`",
    "sources": "files in `include/backups`",
}
HEAD = """\
# DAGs

Written by `make docs` from the DAG files; a test compares. Change the DAG, not this page.
"""


def load() -> list[Any]:
    """Return every DAG, by name.

    :raises SystemExit: a DAG file can't be parsed.
    """
    # Airflow reads its settings at its first import; who calls this has set them.
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(ROOT / "dags"))
    if bag.import_errors:
        sys.exit("\n".join(f"{path}: {error}" for path, error in sorted(bag.import_errors.items())))
    return [bag.dags[name] for name in sorted(bag.dags)]


def page(dags: Iterable[Any]) -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *(_dag(dag) for dag in dags)])


def _dag(dag: Any) -> str:
    tasks = list(dag.topological_sort())
    retries = " or ".join(str(number) for number in sorted({task.retries for task in tasks}))
    rows = [
        f"## {dag.dag_id}",
        "",
        f"- Owner: {dag.owner}",
        f"- Tags: {', '.join(f'`{tag}`' for tag in sorted(map(str, dag.tags)))}",
        *([f"- Schedule: `{dag.schedule}`"] if dag.schedule else []),
        f"- Retries of each task: {retries}",
        f"- Runbook: [{RUNBOOKS}/{dag.dag_id}.md]({RUNBOOKS}/{dag.dag_id}.md)",
        "",
        (dag.doc_md or "").strip(),
        "",
        "### Parameters",
        "",
        *_parameters(dag),
        "",
        "### Tasks, in order",
        "",
        *(_wrapped(f"{number}. ", _task(task)) for number, task in enumerate(tasks, start=1)),
        "",
    ]
    return "\n".join(rows)


def _parameters(dag: Any) -> list[str]:
    if not dag.params:
        return ["None."]
    head = ["| name | type | allowed | default | what it is |", "|---|---|---|---|---|"]
    return head + [_parameter(name, dag.params.get_param(name)) for name in dag.params]


def _parameter(name: str, param: Any) -> str:
    schema = param.schema
    types = schema.get("type", "any")
    types = [types] if isinstance(types, str) else types
    value = param.resolve(suppress_exception=True)
    default = f"`{_plain(value)}`" if value is not None else "empty" if "null" in types else "needed"
    kind = " or ".join(name for name in types if name != "null")
    cells = (f"`{name}`", kind, _allowed(name, schema), default, param.description or "")
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _allowed(name: str, schema: dict[str, Any]) -> str:
    # The catalogue grows without a change to the DAG, so its names are not part of the page.
    if name in FROM_THE_CATALOGUE:
        return FROM_THE_CATALOGUE[name]
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "pattern" in schema:
        return f"`{schema['pattern']}`"
    if schema["type"] == "boolean":
        return "`true`, `false`"
    if "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}"
    if "items" in schema:
        return f"each {_allowed('', schema['items'])}"
    return f"at most {schema['maxLength']} characters" if "maxLength" in schema else "anything"


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _task(task: Any) -> str:
    told = (getattr(task, "operator_class", type(task)).__doc__ or "").partition("\n")[0]
    pool = "" if task.pool == "default_pool" else f" Pool `{task.pool}`."
    queue = "" if task.queue == "default" else f" Queue `{task.queue}`."
    teardown = " Runs however the run ends." if task.is_teardown else ""
    mapped = " Once for each of what the task before found." if task.is_mapped else ""
    return f"`{task.task_id}`: {told}{pool}{queue}{teardown}{mapped}"


def _wrapped(mark: str, text: str) -> str:
    return textwrap.fill(text, 118, initial_indent=mark, subsequent_indent=" " * len(mark), break_on_hyphens=False)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the page, with an Airflow home of its own for as long as that takes."""
    with tempfile.TemporaryDirectory(prefix="platform-ops-docs-") as folder:
        os.environ |= {"AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        PAGE.write_text(page(load()))
    print(f"{PAGE.relative_to(ROOT)} is written.")


if __name__ == "__main__":
    main()

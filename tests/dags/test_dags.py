"""Every DAG file: what all have in common, and the committed picture of each.

A picture that shall change is written anew with ``UPDATE_SNAPSHOTS=1 pytest tests/dags``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.sdk import TriggerRule

from platform_ops.backups.sources import source_names
from platform_ops.common.dag_defaults import RETRY_POLICY, Area, Impact
from platform_ops.delivery.services import service_names
from platform_ops.upkeep.close_steps import WAYS

ROOT = Path(__file__).resolve().parents[2]
HEADINGS = ["What it does", "When it runs", "What it changes", "When it fails"]
TEARDOWNS = {
    "back_up_sources": ["record_evidence"],
    "check_connections": ["record_evidence", "report_connections"],
    # What a sweep does is told in the documents of the runs it closes.
    "close_open_records": [],
    "drill_restores": ["remove_leftovers", "record_evidence"],
    "release_service": ["record_evidence", "report_release"],
    "report_backups": ["record_evidence"],
    "restore_backup": ["record_evidence"],
}
FROM_THE_CATALOGUE = {"service": service_names, "source": source_names, "sources": source_names}
"""Params that offer what lies in ``include/``, which grows, so what they offer is no part of the picture."""
HEAVY = ("kubernetes", "minio", "gitlab", "requests", "pandas", "hvac", "fastapi")


def picture(dag: Any) -> dict[str, Any]:
    """Return what a change must not change unseen."""
    params = {}
    for name, param in sorted(dag.params.items()):
        schema = steady(param.schema) if name in FROM_THE_CATALOGUE else param.schema
        params[name] = schema | {"description": param.description}
        if param.has_value:
            params[name]["default"] = param.value
    return {
        "schedule": dag.schedule,
        "max_active_runs": dag.max_active_runs,
        "params": params,
        "tasks": {task.task_id: about(task) for task in dag.topological_sort()},
        "edges": sorted([task.task_id, below] for task in dag.tasks for below in task.downstream_task_ids),
    }


def steady(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the names it offers."""
    kept = {key: value for key, value in schema.items() if key not in ("enum", "examples")}
    return kept | ({"items": steady(schema["items"])} if "items" in schema else {})


def about(task: Any) -> dict[str, Any]:
    deadline = getattr(task, "deadline", None)
    return {
        "class": getattr(task, "operator_class", type(task)).__name__,
        "trigger_rule": task.trigger_rule.value,
        "teardown": task.is_teardown,
        "pool": task.pool,
        "retries": task.retries,
        "deadline": deadline.total_seconds() if deadline else None,
        "execution_timeout": task.execution_timeout.total_seconds() if task.execution_timeout else None,
        "returns_dag_result": task.returns_dag_result,
        "queue": task.queue,
    } | ({"mapped": True} if task.is_mapped else {})


def test_every_file_is_parsed_without_an_error_into_the_dag_of_its_name(bag: Any) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == {file.stem for file in (ROOT / "dags").rglob("*.py")}


def test_the_dag_lies_in_the_folder_of_its_area(dag: Any, file: Path) -> None:
    assert Path(dag.fileloc) == file
    areas = [tag for tag in dag.tags if isinstance(tag, Area)]
    assert areas == [file.parent.name]


def test_it_explains_itself_under_the_four_headings(dag: Any) -> None:
    assert re.findall(r"^### (.+)$", dag.doc_md, flags=re.MULTILINE) == HEADINGS
    chapters = re.split(r"^### .+$", dag.doc_md, flags=re.MULTILINE)[1:]
    assert all(chapter.strip() for chapter in chapters)
    assert f"docs/runbooks/{dag.dag_id}.md" in chapters[-1]


def test_every_parameter_explains_itself(dag: Any) -> None:
    for name, param in dag.params.items():
        assert param.description, name
        assert param.description.endswith("."), name
        assert param.schema["type"], name


def test_it_states_owner_impact_and_what_happens_to_missed_runs(dag: Any) -> None:
    assert {task.owner for task in dag.tasks} == {dag.default_args["owner"]}
    assert dag.default_args["owner"] != "airflow"
    assert sum(isinstance(tag, Impact) for tag in dag.tags) == 1
    assert all(isinstance(tag, Area | Impact) for tag in dag.tags)
    assert dag.catchup is False


def test_a_dag_with_a_schedule_runs_from_the_first_day(dag: Any) -> None:
    # Airflow pauses what does not say so (`[core] dags_are_paused_at_creation`), and nobody misses a sweep.
    if dag.schedule is not None:
        assert dag.is_paused_upon_creation is False


def test_it_states_its_retries_with_the_reason(dag: Any, file: Path) -> None:
    assert isinstance(dag.default_args["retries"], int)
    assert all(task.retry_policy is RETRY_POLICY for task in dag.tasks)
    lines = file.read_text().splitlines()
    number = next(number for number, line in enumerate(lines) if "default_args=" in line)
    assert lines[number - 1].lstrip().startswith("# ")


def test_every_task_but_the_teardowns_waits_for_the_success_of_those_before(dag: Any) -> None:
    wrong = [
        task.task_id for task in dag.tasks if not task.is_teardown and task.trigger_rule != TriggerRule.ALL_SUCCESS
    ]
    assert wrong == []


def test_what_a_sweep_looks_for_in_an_ended_run_is_there(dag: Any) -> None:
    if dag.dag_id in WAYS:
        teardowns = {task.task_id for task in dag.tasks if task.is_teardown}
        assert set(WAYS[dag.dag_id].last_steps) <= teardowns


def test_the_teardowns_come_last_without_setups_and_without_a_say_in_the_runs_colour(dag: Any) -> None:
    tasks = list(dag.topological_sort())
    expected = TEARDOWNS[dag.dag_id]
    teardowns = [task for task in tasks if task.is_teardown]
    assert [task.task_id for task in teardowns] == expected
    assert [task.task_id for task in tasks[len(tasks) - len(expected) :]] == expected
    assert not any(task.is_setup for task in dag.tasks)
    assert not any(task.on_failure_fail_dagrun for task in teardowns)


def test_it_is_as_its_committed_picture_shows(dag: Any, file: Path) -> None:
    path = Path(__file__).with_name(f"{dag.dag_id}.json")
    found = picture(dag)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    assert found == json.loads(path.read_text())


def test_every_picture_is_of_a_dag(bag: Any) -> None:
    assert {path.stem for path in Path(__file__).parent.glob("*.json")} == set(bag.dags)


def test_a_parameter_from_the_catalogue_offers_what_is_there(dag: Any) -> None:
    for name, known in FROM_THE_CATALOGUE.items():
        if name in dag.params:
            schema = dag.params.get_param(name).schema
            # Of several the form makes a list to choose from when there are examples.
            assert schema.get("examples" if "items" in schema else "enum") == known()
            assert schema.get("items", schema)["enum"] == known()


def test_a_second_parse_gives_the_same(bag: Any, parse: Callable[[], Any]) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    again = parse()
    assert set(again.dags) == set(bag.dags)
    for dag_id, dag in bag.dags.items():
        assert DagSerialization.to_dict(again.dags[dag_id]) == DagSerialization.to_dict(dag)


def test_parsing_imports_nothing_heavy(file: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"module = runpy.run_path({str(file)!r})\n"
        f"assert {file.stem!r} in module\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "plugins")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr

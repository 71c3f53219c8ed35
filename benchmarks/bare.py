"""The floor of a release: the same steps in a row, in one process, without Airflow.

`python -m benchmarks.bare <state> <service> <commit>` runs it and prints the seconds of each step as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sandbox import connections, contract
from sandbox.airflow_runs import DAG_ID
from sandbox.processes import ROOT

LOOK_SECONDS = 0.05


class Store(dict[str, Any]):
    """What Airflow keeps for a task over its tries."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""
        self[key] = value


class Instance(SimpleNamespace):
    """What a step knows of its task, with the reports of those before it."""

    reports: dict[str, Any]

    def xcom_push(self, key: str, value: Any) -> None:  # noqa: ARG002
        """Keep a report."""
        self.reports[self.task_id] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:  # noqa: ARG002
        """Return a report."""
        return self.reports.get(task_ids)


def environment_of(state: Path) -> dict[str, str]:
    """Return the variables under which Airflow finds the sandbox's connections without its database."""
    known = contract.read(state)
    variables = {"PLATFORM_OPS_HOME": known["PLATFORM_OPS_HOME"], "AIRFLOW_HOME": str(state / "bare"),
                 "AIRFLOW__API__BASE_URL": known["AIRFLOW_URL"], "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}  # fmt: skip
    for one in connections.overlay(connections.load().connections, known):
        fields = {name: value for name, value in one.items() if name != "connection_id"}
        variables[f"AIRFLOW_CONN_{one['connection_id'].upper()}"] = json.dumps(fields)
    return variables


def steps() -> list[Any]:
    """Return the tasks of the DAG, in order."""
    spec = importlib.util.spec_from_file_location(DAG_ID, ROOT / "dags" / "delivery" / f"{DAG_ID}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(DAG_ID)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.release_service().topological_sort())


def release(service: str, commit: str) -> dict[str, float]:
    """Release a commit to dev and return the seconds of each step."""
    from platform_ops.common.report import StepReport

    run_id = f"bare__{service}__{commit[:12]}"
    conf = {"service": service, "environment": "dev", "commit": commit, "reason": "the floor of the benchmark"}
    ti = Instance(dag_id=DAG_ID, run_id=run_id, max_tries=0, try_number=1, task_id="", reports={})
    run = SimpleNamespace(conf=conf, triggering_user_name="bench")
    context: Any = {"ti": ti, "params": conf, "dag_run": run, "task_state_store": Store()}
    took = {}
    for step in steps():
        ti.task_id, began = step.task_id, time.perf_counter()
        if step.is_teardown:
            report = _end(step.task_id, context)
        elif hasattr(step, "plan"):
            report = _followed(step, context)
        elif hasattr(step, "ask"):
            report = step.ask(context)
        else:
            report = step.run_step(context)
        if not isinstance(report, StepReport):
            raise TypeError(f"{step.task_id} asks for approval; dev is automatic.")
        ti.reports[step.task_id] = report.as_dict()
        took[step.task_id] = time.perf_counter() - began
    return took


def _followed(step: Any, context: Any) -> Any:
    """Find or start remote work and look at it until it ends."""
    planned = step.plan(context)
    if not hasattr(planned, "load"):
        return planned
    work = planned.load()
    handle = work.find() or work.start()
    while (probe := work.probe(handle)).state != "ended":
        handle = probe.handle
        time.sleep(LOOK_SECONDS)
    return step.conclude(context, work.judge(probe.handle))


def _end(task_id: str, context: Any) -> Any:
    """Do what the teardowns do, with the reports at hand instead of Airflow's record of the run."""
    from platform_ops.common.records import RunRecord, TaskRecord
    from platform_ops.delivery import closing

    ti, now = context["ti"], datetime.now(UTC)
    tasks = tuple(TaskRecord(name, "success", now, now, 1, report) for name, report in ti.reports.items())
    run = RunRecord(DAG_ID, ti.run_id, "running", "bench", now, now, None, dict(context["params"]), tasks)
    if task_id == "record_evidence":
        return closing.record(run)
    return closing.report(run, run.facts("record_evidence"))


def main() -> None:
    """Run one release."""
    state, service, commit = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.environ |= environment_of(state)
    sys.path[:0] = [str(ROOT / "plugins"), str(ROOT / "config")]
    for name in importlib.import_module("airflow_local_settings").PREWARMED:
        importlib.import_module(name)
    print(json.dumps(release(service, commit)))


if __name__ == "__main__":
    main()

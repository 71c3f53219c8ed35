"""The sandbox of the benchmarks: services of its own, and beside our DAG one of as many empty tasks."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sandbox import contract, lifecycle, processes
from sandbox.airflow_runs import DAG_ID, ENDED, Runs
from sandbox.checkout import Checkout
from sandbox.processes import ROOT, SandboxError

EMPTY = "empty_tasks"
EMPTY_DAG = '''"""As many tasks as a release has, which do nothing: what Airflow itself takes."""

from airflow.sdk import BaseOperator, dag


class Nothing(BaseOperator):
    def execute(self, context):
        pass


@dag(schedule=None, max_active_runs=256)
def empty_tasks():
    before = None
    for number in range({count}):
        task = Nothing(task_id=f"task_{{number}}")
        if before:
            before >> task
        before = task


empty_tasks()
'''
LONGEST = 1800.0


class World:
    """A running sandbox.

    :param state: its folder.
    """

    def __init__(self, state: Path, services: Sequence[str]) -> None:
        self.state = state
        self.services = services
        self.environment = contract.read(state)
        self.home = Path(self.environment["PLATFORM_OPS_HOME"])
        self.runs = Runs(self.environment)

    def push(self, service: str) -> tuple[str, float]:
        """Push an empty commit to dev, whose image is therefore known; return it and when the push had ended."""
        url = f"{self.environment['GITLAB_URL']}/shop/{service}.git"
        with Checkout(url, "dana", self.environment["GITLAB_DEVELOPER_TOKEN"]) as work:
            work.switch("dev")
            work.git("commit", "--quiet", "--allow-empty", "--message", "Measured")
            commit = work.head()
            work.push("dev")
            return commit, time.time()

    def pause(self, dag_id: str, *, paused: bool) -> None:
        """Pause a DAG: its runs are made and wait."""
        self.runs.api.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": paused}).raise_for_status()

    def delete(self, dag_id: str, run_id: str) -> None:
        """Delete a run."""
        self.runs.api.delete(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}").raise_for_status()

    def start(self, dag_id: str, run_id: str, **conf: str) -> None:
        """Start a run."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        self.runs.api.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body).raise_for_status()

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run; empty while there is none."""
        answer = self.runs.api.get(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def made(self, dag_id: str, run_id: str) -> None:
        """Wait until a run is there.

        :raises SandboxError: it does not come.
        """
        deadline = time.monotonic() + LONGEST
        while not self.run(dag_id, run_id):
            if time.monotonic() > deadline:
                raise SandboxError(f"Nobody made run {run_id} of {dag_id}.")
            time.sleep(0.1)

    def ended(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Wait for a run and return it.

        :raises SandboxError: it failed, or does not end.
        """
        deadline = time.monotonic() + LONGEST
        while (found := self.run(dag_id, run_id)).get("state") not in ENDED:
            if time.monotonic() > deadline:
                raise SandboxError(f"Run {run_id} of {dag_id} is {found.get('state')} after {LONGEST:.0f} s.")
            # Airflow keeps when it ended; to look more often would only keep its API server busy.
            time.sleep(0.5)
        if found["state"] != "success":
            reports = {name: self.runs.report(run_id, name).get("summary") for name in self.runs.tasks(run_id)}
            raise SandboxError(f"Run {run_id} of {dag_id} failed: {reports}")
        return found

    def release(self, service: str) -> tuple[dict[str, Any], float]:
        """Push, wait for the release; return its run and when the push had ended."""
        commit, pushed = self.push(service)
        return self.ended(DAG_ID, f"release__{service}__dev__{commit[:12]}"), pushed


def seconds(moment: str) -> float:
    """Return what Airflow's server wrote as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


@contextmanager
def world(count: int, tasks: int) -> Iterator[World]:
    """Bring a sandbox up, with services whose images are at Harbor, and take it down.

    :param count: how many services.
    :param tasks: how many tasks the empty DAG has.
    """
    services = [f"bench-{number:02}" for number in range(1, count + 1)]
    with tempfile.TemporaryDirectory(prefix="platform-ops-bench-") as folder:
        home, state = Path(folder) / "home", Path(folder) / "state"
        shutil.copytree(ROOT / "include", home / "include")
        template = (ROOT / "include" / "services" / "storefront.yaml").read_text()
        for path in (home / "include" / "services").iterdir():
            path.unlink()
        for name in services:
            (home / "include" / "services" / f"{name}.yaml").write_text(template.replace("storefront", name))
        shutil.copytree(ROOT / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__", "backups", "upkeep"))
        (home / "dags" / "empty_tasks.py").write_text(EMPTY_DAG.format(count=tasks))
        try:
            lifecycle.up(state, _free_base_port(), home)
            yield World(state, services)
        finally:
            lifecycle.down(state, purge=True)


def _free_base_port() -> int:
    span = max(contract.PORTS.values()) + 1
    for base in range(20000, 30000, 50):
        if all(processes.is_free(base + offset) for offset in range(span)):
            return base
    raise SandboxError("No free ports in a row from 20000 to 30000.")


def memory(state: Path) -> dict[str, float]:
    """Return the memory of each of the sandbox's servers with all it started, in MiB.

    Proportional set sizes: what forks share is counted once, in parts.
    """
    found = {}
    for name in lifecycle.SYSTEMS:
        record = processes.recorded(state, name)
        if record:
            found[name] = sum(_proportional(pid) for pid in processes.left_over(record)) / 1024
    return found


def processor(state: Path) -> dict[str, float]:
    """Return the processor seconds each of the sandbox's servers, with all it started, has used so far."""
    found = {}
    for name in lifecycle.SYSTEMS:
        record = processes.recorded(state, name)
        if record:
            found[name] = sum(_ticks(pid) for pid in processes.left_over(record)) / os.sysconf("SC_CLK_TCK")
    return found


def _ticks(pid: int) -> int:
    """Return the clock ticks of a process and of its children that have ended (proc_pid_stat(5), fields 14 to 17)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(field) for field in text.rpartition(")")[2].split()[11:15])


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)

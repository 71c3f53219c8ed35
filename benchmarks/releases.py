"""Push to start, and a warm release against the same steps without Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from itertools import cycle
from statistics import median
from typing import Any

from benchmarks.figures import Figure, Result, middle, percentile_95
from benchmarks.world import World, seconds
from sandbox.airflow_runs import DAG_ID
from sandbox.processes import ROOT, SandboxError, clean_environment, python_path

PUSHES = 20
BARE = 10
WARM_UP = 2
START_SECONDS = 1.0
ADDED_SECONDS = 4.0


def measure(world: World) -> Result:
    """Release by push and bare in turns, so that both meet the same weather."""
    services = cycle(world.services[:5])
    for _ in range(WARM_UP):
        world.release(next(services))
    started, took, floors = [], [], []
    inside: dict[str, list[float]] = defaultdict(list)
    before: dict[str, list[float]] = defaultdict(list)
    bare: dict[str, list[float]] = defaultdict(list)
    for number in range(PUSHES):
        run, pushed = world.release(next(services))
        started.append(seconds(run["start_date"]) - pushed)
        took.append(seconds(run["end_date"]) - seconds(run["start_date"]))
        _take_apart(world, run, inside, before)
        if number % (PUSHES // BARE) == 0:
            floor = _bare(world, next(services))
            floors.append(sum(floor.values()))
            for name, value in floor.items():
                bare[name].append(value)
    figures = (
        Figure(f"push to started run, median of {PUSHES}", median(started), "s", START_SECONDS),
        Figure(f"push to started run, 95th percentile of {PUSHES}", percentile_95(started), "s"),
        Figure(f"warm release to dev, median of {PUSHES}", median(took), "s"),
        Figure(f"the same steps without Airflow, median of {BARE}", median(floors), "s"),
        Figure("added by Airflow", median(took) - median(floors), "s", ADDED_SECONDS),
        Figure("ratio", median(took) / median(floors), "x"),
    )
    rows = [
        (name, f"{median(bare[name]):.2f}" if name in bare else "", middle(inside[name]), middle(before[name]))
        for name in inside
    ]
    sums = ("sum of medians", *(f"{sum(median(one) for one in part.values()):.2f}" for part in (bare, inside, before)))
    head = ("step", "without Airflow, s", "task in Airflow, s (span)", "before it began, s (span)")
    return Result("One release", figures, (("Where each second goes:", head, [*rows, sums]),))


def _take_apart(
    world: World, run: dict[str, Any], inside: dict[str, list[float]], before: dict[str, list[float]]
) -> None:
    tasks = sorted(world.runs.tasks(run["dag_run_id"]).values(), key=lambda task: task["start_date"])
    ended = seconds(run["start_date"])
    for task in tasks:
        began = seconds(task["start_date"])
        before[task["task_id"]].append(began - ended)
        ended = seconds(task["end_date"])
        inside[task["task_id"]].append(ended - began)
    before["(end of the run)"].append(seconds(run["end_date"]) - ended)
    inside["(end of the run)"].append(0.0)


def _bare(world: World, service: str) -> dict[str, float]:
    """Release a new commit without Airflow; the run that its push starts is made and deleted unstarted."""
    world.pause(DAG_ID, paused=True)
    try:
        commit, _ = world.push(service)
        run_id = f"release__{service}__dev__{commit[:12]}"
        world.made(DAG_ID, run_id)
        world.delete(DAG_ID, run_id)
    finally:
        world.pause(DAG_ID, paused=False)
    variables = clean_environment({"PYTHONPATH": python_path()})
    command = [sys.executable, "-m", "benchmarks.bare", str(world.state), service, commit]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        raise SandboxError(f"The bare release failed:\n{done.stderr[-3000:]}")
    floor: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return floor

"""How long a push event is answered while Airflow's scheduler is down."""

from __future__ import annotations

import time
from statistics import median

import httpx

from benchmarks.figures import Figure, Result
from benchmarks.world import World
from sandbox import lifecycle
from sandbox.airflow_runs import DAG_ID

EVENTS = 20
SECONDS = 1.0


def measure(world: World) -> Result:
    """Post events of commits that were never released, each of which makes a run, and delete the runs."""
    lifecycle.stop(world.state, "airflow-scheduler")
    try:
        took, runs = zip(*(_post(world, number) for number in range(EVENTS)), strict=True)
        for run_id in runs:
            world.delete(DAG_ID, run_id)
    finally:
        lifecycle.start(world.state, "airflow-scheduler")
    figures = (
        Figure(f"a push event is answered, median of {EVENTS}", median(took), "s", SECONDS),
        Figure(f"a push event is answered, slowest of {EVENTS}", max(took), "s", SECONDS),
    )
    return Result("The webhook while the scheduler is down", figures)


def _post(world: World, number: int) -> tuple[float, str]:
    """Post one event; return the seconds to its answer, and the run it made."""
    project = {"path_with_namespace": f"shop/{world.services[0]}"}
    event = {
        "object_kind": "push",
        "ref": "refs/heads/rc",
        "after": f"{number + 1:012x}".ljust(40, "a"),
        "project": project,
    }
    headers = {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": world.environment["GITLAB_WEBHOOK_SECRET"]}
    began = time.perf_counter()
    url = f"{world.environment['AIRFLOW_URL']}/platform-ops/hooks/gitlab"
    answer = httpx.post(url, json=event, headers=headers, timeout=60, trust_env=False)
    took = time.perf_counter() - began
    answer.raise_for_status()
    return took, str(answer.json()["run_id"])

"""Fifty services at once against fifty runs of as many empty tasks, and the memory that takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.figures import Figure, Result
from benchmarks.world import EMPTY, World, memory, processor, seconds
from sandbox.airflow_runs import DAG_ID

RATIO = 2.0
SAMPLE_SECONDS = 5.0


def measure(world: World) -> Result:
    """Let runs pile up at a paused DAG, open it, and wait for the last; the empty ones before and after ours."""
    idle = memory(world.state)
    floors = [_empty(world, 1)]
    used = processor(world.state)
    with _watched(world) as peak:
        ours, gaps = _releases(world)
    used = {name: value - used[name] for name, value in processor(world.state).items()}
    floors.append(_empty(world, 2))
    floor = min(floors)
    count = len(world.services)
    figures = (
        Figure(f"{count} releases at once, images at Harbor", ours, "s"),
        Figure(f"{count} runs of as many empty tasks, the better of two", floor, "s"),
        Figure("ratio", ours / floor, "x", RATIO),
        Figure("slowest release of them", gaps, "s"),
        Figure("memory at rest, all processes", sum(idle.values()), "MiB"),
        Figure("memory at the peak of the releases", max(sum(one.values()) for one in peak), "MiB"),
    )
    top = max(peak, key=lambda one: sum(one.values()))
    rows: list[tuple[str, ...]] = [
        (name, f"{idle.get(name, 0):.0f}", f"{top[name]:.0f}", f"{used[name]:.0f}") for name in top
    ]
    rows.append(("all", *(f"{sum(part.values()):.0f}" for part in (idle, top, used))))
    head = ("server with all it started", "at rest, MiB", "at the peak, MiB", "processor of the releases, s")
    told = "Memory (proportional set size, so that what forks share counts once), and processor time with the pushes:"
    return Result(f"{count} at once", figures, ((told, head, rows),))


def _releases(world: World) -> tuple[float, float]:
    world.pause(DAG_ID, paused=True)
    runs = []
    for service in world.services:
        commit, _ = world.push(service)
        runs.append(f"release__{service}__dev__{commit[:12]}")
    for run_id in runs:
        world.made(DAG_ID, run_id)
    return _opened(world, DAG_ID, runs)


def _empty(world: World, round_: int) -> float:
    world.pause(EMPTY, paused=True)
    runs = [f"empty-{round_}-{number}" for number in range(len(world.services))]
    for run_id in runs:
        world.start(EMPTY, run_id)
    return _opened(world, EMPTY, runs)[0]


def _opened(world: World, dag_id: str, runs: list[str]) -> tuple[float, float]:
    """Unpause and wait; return the seconds from the first start to the last end, and the longest run's."""
    world.pause(dag_id, paused=False)
    ended = [world.ended(dag_id, run_id) for run_id in runs]
    starts = [seconds(run["start_date"]) for run in ended]
    ends = [seconds(run["end_date"]) for run in ended]
    return max(ends) - min(starts), max(end - start for start, end in zip(starts, ends, strict=True))


@contextmanager
def _watched(world: World) -> Iterator[list[dict[str, float]]]:
    """Note the memory every few seconds."""
    found, over = [memory(world.state)], threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            found.append(memory(world.state))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()

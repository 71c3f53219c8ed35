"""Runs whose page is easily spoiled: long waits, many tries, long words, nothing yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from platform_ops.common.records import Attempt, RunRecord, TaskRecord

LONG = "the-" + "very-" * 20 + "long-name"


def later(run: RunRecord, first: str, by: timedelta) -> RunRecord:
    """Move what happened from a task on; the task before it lasts longer."""
    place = [task.task_id for task in run.tasks].index(first)

    def moved(moment: datetime | None) -> datetime | None:
        return moment + by if moment else None

    tasks = [
        replace(
            task,
            started_at=moved(task.started_at) if at >= place else task.started_at,
            ended_at=moved(task.ended_at) if at >= place - 1 else task.ended_at,
        )
        for at, task in enumerate(run.tasks)
    ]
    return replace(run, tasks=tuple(tasks), ended_at=moved(run.ended_at))


def queued(run: RunRecord, seconds: float = 0.6) -> RunRecord:
    """Let every task wait for a worker before it starts."""
    tasks = [
        replace(task, queued_at=task.started_at - timedelta(seconds=seconds)) if task.started_at else task
        for task in run.tasks
    ]
    return replace(run, tasks=tuple(tasks))


def retried(run: RunRecord, task_id: str, tries: int) -> RunRecord:
    """Let a task have tried before, each time two seconds of the time it took; five seconds apart."""

    def again(task: TaskRecord) -> TaskRecord:
        assert task.started_at
        starts = [task.started_at + timedelta(seconds=7 * number) for number in range(tries)]
        earlier = tuple(Attempt(start, start, start + timedelta(seconds=2)) for start in starts[:-1])
        return replace(task, started_at=starts[-1], try_number=tries, earlier=earlier)

    return replace(run, tasks=tuple(again(task) if task.task_id == task_id else task for task in run.tasks))


def more_samples(runs: dict[str, RunRecord]) -> dict[str, RunRecord]:
    """Return runs made from the samples, with what they are there for."""
    released = runs["released"]
    night = later(released, "confirm_release", timedelta(hours=20, minutes=3))
    words = {"service": LONG, "environment": LONG, "commit": "f" * 40, "reason": "because " * 40}

    def wordy(task: TaskRecord) -> TaskRecord:
        report: dict[str, Any] = {
            "summary": "word " * 60,
            "facts": {LONG: LONG, "digest": LONG, "diff": f"+{LONG}"},
            "links": [],
        }
        return replace(task, report={**report, "links": [{"title": LONG, "url": f"http://example.com/{LONG}"}]})

    return {
        "waited a night": queued(night),
        "tried again": queued(retried(released, "verify_running", 3)),
        "queued": RunRecord("release_service", "r", "queued", None, released.queued_at, None, None, {}, ()),
        "long words": replace(
            released, dag_id=LONG, run_id=LONG, conf=words, tasks=tuple(wordy(task) for task in released.tasks)
        ),
    }

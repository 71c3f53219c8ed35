"""What runs in a process of its own, so that it can be killed: steps of one run for one source, as Airflow runs them."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from time import monotonic
from types import SimpleNamespace
from typing import Any

from platform_ops.backups import steps
from platform_ops.backups.drill_steps import DrillRestore
from platform_ops.backups.steps import COPY, CopySource, PrunePoints, VerifyPoint
from platform_ops.common.errors import PlatformError, TryAgain
from platform_ops.common.operators import StepOperator
from platform_ops.systems.object_store import hook

STEPS: Mapping[str, type[StepOperator]] = {
    "copy": CopySource,
    "verify": VerifyPoint,
    "prune": PrunePoints,
    "drill": DrillRestore,
}
PART_BYTES = 5 * 1024 * 1024
"""The smallest part that S3 takes: so a few MiB make an upload of several."""


@dataclass(frozen=True)
class Order:
    """What to do.

    :param at: the time of the run.
    :param variables: of the process: connections, where the catalogue and the temporary files are.
    :param later: how far the steps' clock is ahead.
    :param skew: how far the clock that signs requests is off.
    """

    source: str
    run: str
    at: datetime
    steps: tuple[str, ...]
    variables: Mapping[str, str]
    later: timedelta = timedelta(0)
    skew: timedelta = timedelta(0)


@dataclass(frozen=True)
class Ended:
    """How a step ended.

    :param error: its class; empty when it did what it shall.
    :param again: whether Airflow would try again.
    """

    step: str
    seconds: float
    report: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    said: str = ""
    again: bool = False


def work(order: Order, pipe: Connection) -> None:
    """Run steps until one fails; say when each begins and how it ended."""
    os.environ.update(order.variables)
    tempfile.tempdir = None
    hook.PART_BYTES = PART_BYTES
    steps.datetime = _clock(order.later)  # type: ignore[misc]
    _skew(order.skew)
    reports: dict[str, Any] = {}
    for name in order.steps:
        pipe.send(name)
        began = monotonic()
        report: dict[str, Any] = {}
        try:
            _execute(STEPS[name], order, reports, report.update)
        except Exception as error:  # noqa: BLE001 - it is told, whatever it is
            kind = type(error).__name__ if isinstance(error, PlatformError) else f"not ours: {type(error).__name__}"
            again = isinstance(error, TryAgain)
            pipe.send(Ended(name, monotonic() - began, report, kind, f"{error} {report.get('facts')}", again))
            return
        pipe.send(Ended(name, monotonic() - began, report))
        if name == "copy":
            reports[COPY] = report


def _skew(skew: timedelta) -> None:
    """Have requests signed by a clock that is off."""
    from minio import time

    right = time.utcnow
    time.utcnow = lambda: right() + skew


def _clock(later: timedelta) -> type[datetime]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) + later

    return Clock


def _execute(step: type[StepOperator], order: Order, reports: dict[str, Any], told: Callable[[Any], None]) -> None:
    ti = SimpleNamespace(
        id="0199a1b2-0000-7000-8000-000000000001",
        dag_id="a_dag",
        run_id=order.run,
        try_number=1,
        max_tries=3,
        map_index=0,
        xcom_push=lambda key, value: told(value),
        xcom_pull=lambda *, task_ids, key, map_indexes=None: reports.get(task_ids),
    )
    run = SimpleNamespace(run_after=order.at, conf={}, triggering_user_name="oscar")
    operator = step(task_id="step", source=order.source)
    operator.execute({"ti": ti, "task_instance": ti, "params": {}, "dag_run": run})  # type: ignore[typeddict-item]

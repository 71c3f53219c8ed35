"""The step of ``close_open_records``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol

from airflow.sdk.exceptions import AirflowException

from platform_ops.common.airflow_api import ENDED, AirflowApi
from platform_ops.common.errors import FailNow, PlatformError
from platform_ops.common.operators import StepOperator
from platform_ops.common.records import RunRecord
from platform_ops.common.report import StepReport
from platform_ops.delivery import closing
from platform_ops.delivery.names import RELEASE
from platform_ops.delivery.verdicts import TEARDOWNS, judge_run
from platform_ops.upkeep.open_records import Closed, RunGoesOn, looks_open, require_same_end, why
from platform_ops.upkeep.recorded import RECORDED, store_late

if TYPE_CHECKING:
    from airflow.sdk import Context


class RecordsLeftOpen(FailNow):
    """Some runs could not be closed; all others were."""


class CloseOpenRecords(StepOperator):
    """Closes what ended runs left open: stores their evidence, ends status and deployment of releases at GitLab."""

    def run_step(self, context: Context) -> StepReport:
        """Close every run that can be closed.

        :raises RecordsLeftOpen: one can't.
        """
        params = context["params"]
        dry_run = bool(params["dry_run"])
        now = datetime.now(UTC)
        api = AirflowApi()
        span = {"after": now - timedelta(days=params["days"]), "before": now - timedelta(minutes=params["minutes"])}
        looked_at = 0
        rows: list[Closed] = []
        left: list[dict[str, str]] = []
        for dag_id, way in WAYS.items():
            with self._going_on(left, dag_id):
                runs = list(api.ended_runs(dag_id, **span))
                looked_at += len(runs)
                suspects = (run for run in api.with_tasks(runs, way.last_steps) if looks_open(run, way.last_steps))
                for run in suspects:
                    with self._going_on(left, dag_id, run.run_id):
                        row = way.close(api, run, dry_run=dry_run)
                        rows += [row] if row else []
        for row in rows:
            self.log.info("%s", row)
        told = _told(looked_at, rows, dry_run=dry_run)
        facts = {"looked_at": looked_at, "closed": [row.as_dict() for row in rows], "left_open": left}
        if left:
            named = "; ".join(f"{' '.join(filter(None, (one['dag'], one['run'])))}: {one['error']}" for one in left)
            message = f"{told} {len(left)} could not be closed; the next sweep tries again: {named}"
            raise RecordsLeftOpen(message, facts=facts)
        return StepReport(told, "done" if rows and not dry_run else "not needed", facts)

    @contextmanager
    def _going_on(self, left: list[dict[str, str]], dag_id: str, run_id: str = "") -> Iterator[None]:
        """Note what stays open: whatever a run's service, systems or connections are like, the others are closed."""
        try:
            yield
        except (PlatformError, AirflowException, ValueError, LookupError) as error:
            left.append({"dag": dag_id, "run": run_id, "error": f"{type(error).__name__}: {error}"})
            self.log.warning("%s %s stays open: %s", dag_id, run_id, error)


def _close(api: AirflowApi, listed: RunRecord, *, dry_run: bool) -> Closed | None:
    """Close one run; None when nothing of it is open, or it goes on since somebody cleared it."""
    if closing.is_closed(api, listed):
        return None
    run = api.run(RELEASE, listed.run_id)
    was_open = closing.open_ends(run) if run.state in ENDED else ()
    if not was_open:
        return None
    evidence = told = None
    if not dry_run:
        late = f"{why(run)}; close_open_records stored this, and asked the systems then."
        check = partial(require_same_end, api, run)
        try:
            evidence = closing.record(run, late, check)
            told = closing.report(run, evidence.facts, why(run), check)
        except RunGoesOn:
            return None
    return Closed(
        dag=run.dag_id,
        run=run.run_id,
        ended_as=run.state,
        was_open=was_open,
        verdict=judge_run(run).verdict,
        evidence=str(evidence.facts["key"]) if evidence else "",
        told=told.summary if told else "",
    )


class _Close(Protocol):
    def __call__(self, api: AirflowApi, listed: RunRecord, *, dry_run: bool) -> Closed | None: ...


@dataclass(frozen=True, slots=True)
class Way:
    """How what a DAG's runs left open is found and closed.

    :param last_steps: those that close a run; one in which all went well is not looked into.
    """

    last_steps: tuple[str, ...]
    close: _Close


WAYS: Mapping[str, Way] = {
    RELEASE: Way(TEARDOWNS, _close),
    **{dag_id: Way(recorded.last_steps, store_late) for dag_id, recorded in RECORDED.items()},
}
"""By DAG: every one that leaves evidence."""


def _told(looked_at: int, rows: list[Closed], *, dry_run: bool) -> str:
    if not rows:
        return f"{looked_at} ended runs were looked at; none is open."
    named = "; ".join(f"{row.dag} {row.run} ({row.verdict}: {', '.join(row.was_open)})" for row in rows)
    return f"{looked_at} ended runs were looked at. {'To be closed' if dry_run else 'Closed'}: {named}."

"""The step of ``close_open_records``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException

from platform_ops.common.airflow_api import ENDED, AirflowApi
from platform_ops.common.errors import FailNow, PlatformError
from platform_ops.common.operators import StepOperator
from platform_ops.common.records import RunRecord
from platform_ops.common.report import StepReport
from platform_ops.delivery import closing
from platform_ops.delivery.names import RELEASE
from platform_ops.delivery.verdicts import TEARDOWNS, judge_run
from platform_ops.upkeep.open_records import Closed, looks_open, why

if TYPE_CHECKING:
    from airflow.sdk import Context


class RecordsLeftOpen(FailNow):
    """Some runs could not be closed; all others were."""


class RunGoesOn(PlatformError):
    """Somebody cleared the run, or gave it another end, while it was being closed."""


class CloseOpenRecords(StepOperator):
    """Closes what ended releases left open: stores their evidence, ends their status and deployment at GitLab."""

    def run_step(self, context: Context) -> StepReport:
        """Close every run that can be closed.

        :raises RecordsLeftOpen: one can't.
        """
        params = context["params"]
        dry_run = bool(params["dry_run"])
        now = datetime.now(UTC)
        api = AirflowApi()
        after, before = now - timedelta(days=params["days"]), now - timedelta(minutes=params["minutes"])
        runs = list(api.ended_runs(RELEASE, after=after, before=before))
        rows: list[Closed] = []
        left: dict[str, str] = {}
        for run in api.with_tasks(runs, TEARDOWNS):
            if not looks_open(run, TEARDOWNS):
                continue
            try:
                row = _close(api, run, dry_run=dry_run)
            except (PlatformError, AirflowException, ValueError, LookupError) as error:
                # Whatever one run's service, systems or connections are like, the other runs are closed.
                left[run.run_id] = f"{type(error).__name__}: {error}"
                self.log.warning("%s stays open: %s", run.run_id, error)
                continue
            if row:
                rows.append(row)
                self.log.info("%s", row)
        told = _told(len(runs), rows, dry_run=dry_run)
        left_open = [{"run": run_id, "error": error} for run_id, error in left.items()]
        facts = {"looked_at": len(runs), "closed": [row.as_dict() for row in rows], "left_open": left_open}
        if left:
            named = "; ".join(f"{run_id}: {error}" for run_id, error in left.items())
            message = f"{told} {len(left)} could not be closed; the next sweep tries again: {named}"
            raise RecordsLeftOpen(message, facts=facts)
        return StepReport(told, "done" if rows and not dry_run else "not needed", facts)


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
        check = partial(_require_same_end, api, run)
        try:
            evidence = closing.record(run, late, check)
            told = closing.report(run, evidence.facts, why(run), check)
        except RunGoesOn:
            return None
    return Closed(
        run=run.run_id,
        ended_as=run.state,
        was_open=was_open,
        verdict=judge_run(run).verdict,
        evidence=str(evidence.facts["key"]) if evidence else "",
        told=told.summary if told else "",
    )


def _require_same_end(api: AirflowApi, run: RunRecord) -> None:
    """Look once more whether a run has the end it is being closed with.

    :raises RunGoesOn: it has not; what it left open is its own to end.
    """
    now = api.bare_run(run.dag_id, run.run_id)
    # Airflow queues a run anew when it is cleared.
    if (now.state, now.queued_at) != (run.state, run.queued_at):
        raise RunGoesOn(f"{run.run_id} is {now.state} since it was looked at. The next sweep looks again.")


def _told(looked_at: int, rows: list[Closed], *, dry_run: bool) -> str:
    if not rows:
        return f"{looked_at} ended releases were looked at; none is open."
    named = "; ".join(f"{row.run} ({row.verdict}: {', '.join(row.was_open)})" for row in rows)
    return f"{looked_at} ended releases were looked at. {'To be closed' if dry_run else 'Closed'}: {named}."

"""The newest report of the backups, as the looking person may read it."""

from __future__ import annotations

from dataclasses import dataclass

from platform_ops.backups.names import REPORT, WRITE_REPORT
from platform_ops.backups.report import FACT, BadReport, Report, read
from platform_ops.common.airflow_api import AirflowApi

LOOKED_AT = 10


@dataclass(frozen=True, slots=True)
class Found:
    """The newest report, where there is one.

    :param run_id: of the run that made it.
    :param note: sentence about newer runs that left none.
    """

    report: Report | None
    run_id: str = ""
    note: str = ""


def newest_report(api: AirflowApi) -> Found:
    """Return the newest report among the newest runs.

    The API server has no account at the backup store: what a person sees here is what a run reported to Airflow.
    """
    passed: list[str] = []
    for listed in api.runs(REPORT, LOOKED_AT):
        run = api.run(REPORT, listed.run_id)
        try:
            return Found(read(run.facts(WRITE_REPORT).get(FACT)), run.run_id, _note(passed))
        except BadReport:
            passed.append(run.state)
    return Found(None, note=_note(passed))


def _note(states: list[str]) -> str:
    if not states:
        return ""
    return f"{len(states)} newer run{'s have' if states[1:] else ' has'} no report ({', '.join(states)})."

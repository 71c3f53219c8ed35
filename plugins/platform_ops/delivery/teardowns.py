"""The last steps of a run, which Airflow starts however the run ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.operators import StepOperator
from platform_ops.common.records import RunRecord
from platform_ops.common.report import StepReport
from platform_ops.delivery.closing import record, report

if TYPE_CHECKING:
    from airflow.sdk import Context


def _run(context: Context) -> RunRecord:
    ti = context["ti"]
    return AirflowApi().run(ti.dag_id, ti.run_id)


class RecordEvidence(StepOperator):
    """Asks the systems once more and stores the run's document."""

    def run_step(self, context: Context) -> StepReport:
        """Store the document, or adopt the one an earlier try stored."""
        return record(_run(context))


class ReportRelease(StepOperator):
    """Ends the status and the deployment at GitLab that the run began."""

    def run_step(self, context: Context) -> StepReport:
        """Tell GitLab the end, as far as it waits for one."""
        run = _run(context)
        return report(run, run.facts("record_evidence"))

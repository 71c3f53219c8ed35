"""The last step but one of every DAG: it stores the document of the run's end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.operators import StepOperator
from platform_ops.common.records import RunRecord
from platform_ops.common.report import Link, StepReport
from platform_ops.common.settings import run_page_url
from platform_ops.evidence.conclusion import Conclusion
from platform_ops.evidence.document import build
from platform_ops.evidence.store import keep
from platform_ops.systems.object_store.hook import ObjectStoreHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class EvidenceOperator(StepOperator):
    """Stores the run's document, or adopts the equal one an earlier try stored."""

    steps_end_with: ClassVar[Collection[str]]
    """Tasks that are no steps of the document: they store it and tell of it."""

    @abstractmethod
    def conclusion(self, context: Context, run: RunRecord) -> Conclusion:
        """Say what the run was about and how it ended."""

    def run_step(self, context: Context) -> StepReport:
        """Store the document."""
        ti = context["ti"]
        run = AirflowApi().run(ti.dag_id, ti.run_id)
        told = self.conclusion(context, run)
        verdict, differences = told.ending.verdict, list(told.differences)

        def document(number: int) -> dict[str, Any]:
            return build(
                run,
                number=number,
                verdict=verdict,
                subject=told.subject,
                observed=told.observed,
                differences=differences,
                without=self.steps_end_with,
            )

        kept = keep(ObjectStoreHook(), run.dag_id, run.run_id, document)
        facts = {
            "verdict": verdict,
            "reason": told.ending.reason,
            "number": kept.number,
            "key": kept.key,
            "sha256": kept.sha256,
            "observed": dict(told.observed),
            "differences": differences,
            "page": run_page_url(run.dag_id, run.run_id),
            "read_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        more = f" {' '.join(differences)}" if differences else ""
        return StepReport(
            f"The run is recorded as {verdict}, sha256 {kept.sha256[:12]}….{more}",
            "reused" if kept.adopted else "done",
            facts,
            (Link("Evidence", kept.url),),
        )

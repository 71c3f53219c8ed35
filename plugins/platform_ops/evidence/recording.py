"""Stores the document of one end of a run, in the same way for every area."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from platform_ops.common.records import RunRecord
from platform_ops.common.report import Link, StepReport
from platform_ops.common.settings import run_page_url
from platform_ops.evidence.conclusion import Conclusion, Ending
from platform_ops.evidence.document import build
from platform_ops.evidence.store import find_end, keep
from platform_ops.systems.object_store.hook import ObjectStoreHook


def record(
    run: RunRecord,
    ending: Ending[StrEnum],
    conclude: Callable[[], Conclusion],
    *,
    without: Collection[str],
    late: str = "",
) -> StepReport:
    """Store the document of this end of the run, unless it lies there.

    :param conclude: says what the run was about, and asks the systems once more; called only for a new document.
    :param without: tasks that are no steps: they store this document and tell of it.
    :param late: why the run did not do this itself.
    """
    store = ObjectStoreHook()
    kept = find_end(store, run, without=without)
    if kept is None:
        told = conclude()

        def document(number: int) -> dict[str, Any]:
            return build(
                run,
                number=number,
                verdict=ending.verdict,
                subject=told.subject,
                observed=told.observed,
                differences=told.differences,
                without=without,
                late=late,
            )

        kept = keep(store, run.dag_id, run.run_id, document)
    differ = list(kept.document["differences"])
    facts = {
        "verdict": ending.verdict,
        "reason": ending.reason,
        "number": kept.number,
        "key": kept.key,
        "sha256": kept.sha256,
        "observed": kept.document["observed"],
        "differences": differ,
        "page": run_page_url(run.dag_id, run.run_id),
    }
    more = f" {' '.join(differ)}" if differ else ""
    return StepReport(
        f"The run is recorded as {ending.verdict}, sha256 {kept.sha256[:12]}….{more}",
        "reused" if kept.adopted else "done",
        facts,
        (Link("Evidence", kept.url),),
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the runs of a DAG leave whose steps have just read what they report, so that nobody is asked again.

    :param judge: says how a run ended.
    :param subject: says what a run was about.
    :param last_steps: tasks that are no steps: they store the document and tell of it.
    """

    judge: Callable[[RunRecord], Ending[StrEnum]]
    subject: Callable[[RunRecord], dict[str, Any]]
    last_steps: tuple[str, ...]

    def record(self, run: RunRecord, late: str = "") -> StepReport:
        """Store the document of this end of the run, unless it lies there.

        :param late: why the run did not do this itself.
        """
        about = Conclusion(self.subject(run))
        return record(run, self.judge(run), lambda: about, without=self.last_steps, late=late)

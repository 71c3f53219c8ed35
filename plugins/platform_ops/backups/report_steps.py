"""The steps of ``report_backups``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowNotFoundException

from platform_ops.backups.keys import READER_CONNECTION
from platform_ops.backups.overview import WINDOW, Observed, Standing, overview
from platform_ops.backups.points import point_id
from platform_ops.backups.report import FACT, Report, as_dict, read, write
from platform_ops.backups.report_page import TEMPLATE, page_values
from platform_ops.backups.sources import Source, load_source, source_names
from platform_ops.backups.store import Points
from platform_ops.common.errors import FailNow, TryAgain
from platform_ops.common.operators import StepOperator
from platform_ops.common.pages import write as write_page
from platform_ops.common.report import Link, StepReport
from platform_ops.common.settings import airflow_url, run_page_url
from platform_ops.evidence.document import BUCKET
from platform_ops.systems.object_store.hook import ObjectStoreHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class SourcesUnread(FailNow):
    """The report is made, and of some sources it knows nothing."""


class WriteReport(StepOperator):
    """Looks at every source's points and drills, and stores the report as JSON and as a page."""

    def run_step(self, context: Context) -> StepReport:
        """Make the report of this run, or adopt the one an earlier try made."""
        ti, store = context["ti"], ObjectStoreHook()
        name = f"reports/backups/{point_id(context['dag_run'].run_after, ti.run_id)}"
        body = store.read(BUCKET, f"{name}.json")
        outcome = "reused" if body else "done"
        if body is None:
            made = write(self._look(patient=ti.try_number <= ti.max_tries))
            # Another copy of this task may have been first; then its report is the run's.
            body = made if store.put_new(BUCKET, f"{name}.json", made) else store.read(BUCKET, f"{name}.json")
        report = read(json.loads(body or b"null"))
        page = write_page(
            TEMPLATE,
            **page_values(
                report,
                now=report.at,
                airflow=airflow_url(),
                address=f"{airflow_url()}/platform-ops/backups",
                run_page=run_page_url(ti.dag_id, ti.run_id),
            ),
        )
        store.put_new(BUCKET, f"{name}.html", page.encode(), "text/html; charset=utf-8")
        facts: dict[str, Any] = {"keys": [f"{name}.json", f"{name}.html"], FACT: as_dict(report)}
        links = (
            Link("Backups", f"{airflow_url()}/platform-ops/backups"),
            Link("The page as stored", store.url(BUCKET, f"{name}.html")),
        )
        unread = [row for row in report.rows if row.standing is Standing.UNREADABLE]
        if unread:
            told = " ".join(f"{row.name}: {row.reasons[0]}" for row in unread)
            raise SourcesUnread(f"{report.sentence} What can't be read is not known to be safe. {told}", facts=facts)
        return StepReport(report.sentence, outcome, facts, links)

    def _look(self, *, patient: bool) -> Report:
        """Look at all sources.

        :param patient: whether a store that gives no answer now is asked again in a later try.
        """
        now = datetime.now(UTC)
        return Report(now, overview(self._observed(now, patient=patient), now))

    @staticmethod
    def _observed(now: datetime, *, patient: bool) -> Iterator[Observed]:
        for name in source_names():
            source: Source | None = None
            try:
                source = load_source(name)
                yield Observed(name, source, Points.of(source, READER_CONNECTION).history(now - WINDOW))
            # The others are reported all the same.
            except (FailNow, AirflowNotFoundException) as error:
                yield Observed(name, source, trouble=str(error))
            except TryAgain as error:
                if patient:
                    raise
                yield Observed(name, source, trouble=str(error))

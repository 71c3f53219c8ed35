"""Pages in a browser under the headers that the API server sends with them, without a server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import BrowserContext, Route

from platform_ops.backups.report import Report
from platform_ops.backups.report_page import TEMPLATE, page_values
from platform_ops.common.pages import write
from platform_ops.common.records import RunRecord
from platform_ops.web.pages import headers
from platform_ops.web.releases import list_releases
from platform_ops.web.story import tell
from tests.unit.backups.made import NOW as BACKUPS_AT
from tests.unit.backups.made import every_kind
from tests.unit.web.more_runs import more_samples

NOW = datetime(2026, 11, 25, 9, 17, 13, tzinfo=UTC)
AIRFLOW = "http://airflow.example.com"
ADDRESS = f"{AIRFLOW}/platform-ops/page"


def run_page(run: RunRecord, *, now: datetime = NOW, embedded: bool = False) -> str:
    story = tell(run, now=now, airflow_url=AIRFLOW)
    releases = f"{AIRFLOW}/platform-ops/releases"
    return write("run.html.j2", story=story, embedded=embedded, address=ADDRESS, releases=releases)


def all_pages(samples: dict[str, RunRecord]) -> dict[str, Callable[[], str]]:
    """Return every kind of page by name."""
    runs = {**samples, **more_samples(samples)}
    wanted = {"service": "", "environment": "", "commit": ""}

    def releases() -> str:
        rows = list_releases([run for run in runs.values() if run.conf], wanted, now=NOW)
        return write("releases.html.j2", rows=rows, wanted=wanted, looked=len(runs), airflow=AIRFLOW)

    def backups(report: Report | None, **more: Any) -> str:
        values = {"now": BACKUPS_AT, "airflow": AIRFLOW, "address": ADDRESS, "run_page": f"{AIRFLOW}/run", **more}
        return write(TEMPLATE, **page_values(report, **values))

    return {
        **{name: lambda run=run: run_page(run) for name, run in runs.items()},
        "embedded": lambda: run_page(samples["waiting"], embedded=True),
        "releases": releases,
        "backups": lambda: backups(every_kind()),
        "backups, out of date": lambda: backups(every_kind(), now=BACKUPS_AT + timedelta(days=3), embedded=True),
        "no backups": lambda: backups(None, note="2 newer runs have no report (running, failed)."),
        "message": lambda: write("message.html.j2", title="No such run", sentence="Airflow has no run of that name."),
    }


class Site:
    """Answers a browser with one page, as told; status 0 is no answer."""

    def __init__(self, context: BrowserContext, body: str) -> None:
        self.body = body
        self.status = 200
        context.route("**/*", self._answer)

    def _answer(self, route: Route) -> None:
        if self.status == 0:
            route.abort()
            return
        content = {"Content-Type": "text/html; charset=utf-8"}
        route.fulfill(status=self.status, headers={**headers(), **content}, body=self.body)

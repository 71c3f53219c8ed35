"""
### What it does

Tells where every source of the catalogue stands: its newest point, the days since a point of it was last proven by
restoring it, the loss and the time that drills measured against their targets, and how its size grows. What is late or
was never proven comes first; of what can't be read it says so. The page *Backups* in Airflow's navigation shows the
newest report.

### When it runs

Every day, after the nightly drills. A person may start it at any time to see how things stand now.

### What it changes

The evidence bucket: the report as JSON and as a page that stands by itself, and the run's document.

### When it fails

A source that can't be read turns the run red; the others are reported all the same. `docs/runbooks/report_backups.md`
has the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag

from platform_ops.backups.report_steps import WriteReport
from platform_ops.backups.steps import RecordEvidence
from platform_ops.common.dag_defaults import Area, Impact, default_args


@dag(
    # After the drills of the night, before people come.
    schedule="0 6 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    # A store that restarts is back by the second retry; what fails then is away.
    default_args=default_args(owner="platform-team", retries=2),
    tags=[Area.BACKUPS, Impact.WARNS],
    doc_md=__doc__,
)
def report_backups() -> None:
    write_report = WriteReport(task_id="write_report")
    # Callers that wait for the run get the report.
    write_report.returns_dag_result = True
    record_evidence = RecordEvidence(task_id="record_evidence").as_teardown()

    write_report >> record_evidence


report_backups()

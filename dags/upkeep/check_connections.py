"""
### What it does

Asks every system we have a connection to for the address, the credential and each single permission we need, and says
in plain words what is missing and what is too much. One task per connection; which there are, and for which projects,
jobs, applications, namespaces, databases and buckets, comes from the catalogue. A credential that ends within 14 days
warns.

### When it runs

Every day, so that a credential is renewed before a release meets its end; and by hand, as the first step after any
failure, for all connections or for some.

### What it changes

Nothing but the buckets of evidence and of backups: the run's document and, at the first check of a bucket, the object
`checks/write.json`.

### When it fails

A connection that lacks something is red, names it and says where to grant it; the others are checked all the same.
What is too much, ends soon, or can't be known does not make the run red: it stands in the report.
`docs/runbooks/check_connections.md` has the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Param, dag

from platform_ops.common.dag_defaults import Area, Impact, default_args
from platform_ops.upkeep.check_steps import CheckConnection, ListConnections, RecordEvidence, ReportConnections


@dag(
    # Early enough to be read before people begin to release.
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    # Two retries, five seconds apart: a system that restarts is back by then; what fails then is away.
    default_args=default_args(owner="platform-team", retries=2),
    tags=[Area.UPKEEP, Impact.WARNS],
    doc_md=__doc__,
    params={
        "connections": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "pattern": "^[a-z][a-z0-9_]{1,60}$"},
            description="The connections to check, by their names in Airflow; empty means all that are used.",
        ),
    },
)
def check_connections() -> None:
    list_connections = ListConnections(task_id="list_connections")
    check_connection = CheckConnection.partial(
        task_id="check_connection", map_index_template="{{ task.connection }}"
    ).expand(connection=list_connections.output)
    record_evidence = RecordEvidence(task_id="record_evidence").as_teardown()
    report_connections = ReportConnections(task_id="report_connections").as_teardown()
    # Callers that wait for the run get the table.
    report_connections.returns_dag_result = True

    check_connection >> record_evidence >> report_connections


check_connections()

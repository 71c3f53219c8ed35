"""
### What it does

Closes what Airflow left open. Every run ends with last steps, which store its evidence; those of a release tell GitLab
too. Airflow can end a run without them: it meets `dagrun_timeout`, a person sets their states, their retries end while
a system is away, tasks are cleared without what follows them. This DAG finds such runs among those that have ended, of
every DAG, and stores their evidence with the reason; of releases it also ends the commit status and the deployment. A
run that goes on is left alone.

### When it runs

Every ten minutes. A person may start it with `dry_run`, which shows what is open and changes nothing.

### What it changes

The evidence bucket: the document of each run that has none of its last end; none of the sweep itself. GitLab: commit
statuses that such a release began and no newer run has taken over, and its deployments.

### When it fails

A run that can't be closed is named, and tried again by the next sweep; all others are closed.
`docs/runbooks/close_open_records.md` has the rest.
"""

from __future__ import annotations

from airflow.sdk import Param, dag

from platform_ops.common.dag_defaults import Area, Impact, default_args
from platform_ops.upkeep.close_steps import CloseOpenRecords


@dag(
    schedule="*/10 * * * *",
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    # None: the next sweep, ten minutes later, tries again what this one could not close.
    default_args=default_args(owner="platform-team", retries=0),
    tags=[Area.UPKEEP, Impact.CAN_WAIT],
    doc_md=__doc__,
    params={
        "dry_run": Param(default=False, type="boolean", description="Show what is open, and change nothing."),
        "days": Param(
            7, type="integer", minimum=1, maximum=90, description="How far back the runs may have ended, in days."
        ),
        "minutes": Param(
            5,
            type="integer",
            minimum=0,
            maximum=1440,
            description="How long ago they must have ended, in minutes: whoever ended one may be about to clear it.",
        ),
    },
)
def close_open_records() -> None:
    CloseOpenRecords(task_id="close_records")


close_open_records()

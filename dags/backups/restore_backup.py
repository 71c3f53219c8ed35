"""
### What it does

Restores a source, or a part of it, as it was at one point, into a folder or a bucket: shows first what would be
restored, how much that is, how long it takes by the drills, and what is in the way. Without `dry_run` it then asks the
approvers where the catalogue calls the target production, restores, keeps what is in the way, and compares what came
back with what was backed up.

### When it runs

A person starts it. It begins as a dry run unless the person says otherwise.

### What it changes

Without `dry_run`: the target. What was in the way is kept: of a folder beside it, as `<target>.before-…`; of a bucket
as older versions. The evidence bucket: the run's document.

### When it fails

The failed task says what was found and what to do; until `restore_point` nothing was changed.
`docs/runbooks/restore_backup.md` has the rest.
"""

from __future__ import annotations

from airflow.sdk import Param, dag

from platform_ops.backups.names import LONGEST_STEP, RESTORE_QUEUE
from platform_ops.backups.restore_steps import ApproveRestore, CompareRestore, PlanRestore, RestorePoint
from platform_ops.backups.sources import source_names
from platform_ops.backups.steps import RecordEvidence
from platform_ops.common.dag_defaults import Area, Impact, default_args


@dag(
    schedule=None,
    catchup=False,
    # Runs that wait for an approval count.
    max_active_runs=64,
    # Two retries carry a restore over the restart of a store; it begins anew beside a folder, and goes on in a bucket.
    default_args=default_args(owner="platform-team", retries=2),
    tags=[Area.BACKUPS, Impact.WARNS],
    doc_md=__doc__,
    params={
        "source": Param(type="string", enum=source_names(), description="The source, as the catalogue calls it."),
        "point": Param(
            "latest",
            type="string",
            pattern=r"^(latest|\d{8}T\d{6}Z-[0-9a-f]{8}|as of \d{4}-\d{2}-\d{2}.{0,30})$",
            description=(
                "A point's name, as the page Backups lists it; `latest` for the newest verified one; "
                "`as of 2026-11-25T03:00:00Z` for the newest verified one that holds nothing newer. A time without a "
                "zone is UTC, a date alone means 00:00 of that day."
            ),
        ),
        "target": Param(
            type="string",
            pattern=r"^(/[^\u0000]{1,4000}|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])$",
            description=(
                "Where to: a folder on the worker, empty or not there yet; for buckets an empty bucket, as `s3://<name>`."
            ),
        ),
        "subset": Param(
            "",
            type="string",
            maxLength=4000,
            description=(
                "When not all of it is wanted: a path below a directory; `<database>` or `<database>/<schema>.<table>` "
                "of PostgreSQL; how the keys of a bucket begin."
            ),
        ),
        "overwrite": Param(
            default=False,
            type="boolean",
            description="Take a target that is not empty: what is there is kept, beside a folder or as older versions.",
        ),
        "dry_run": Param(default=True, type="boolean", description="Show the plan, and change nothing."),
        "reason": Param("", type="string", maxLength=500, description="Why, for the approvers and for later readers."),
    },
)
def restore_backup() -> None:
    plan_restore = PlanRestore(task_id="plan_restore", queue=RESTORE_QUEUE)
    # Opens nothing, but has to see whether the target leads to production by a link.
    approve_restore = ApproveRestore(task_id="approve_restore", queue=RESTORE_QUEUE)
    restore_point = RestorePoint(
        task_id="restore_point", pool="backups", queue=RESTORE_QUEUE, execution_timeout=LONGEST_STEP
    )
    compare_restore = CompareRestore(
        task_id="compare_restore", pool="backups", queue=RESTORE_QUEUE, execution_timeout=LONGEST_STEP
    )
    record_evidence = RecordEvidence(task_id="record_evidence").as_teardown()
    # Callers that wait for the run get these facts.
    record_evidence.returns_dag_result = True

    plan_restore >> approve_restore >> restore_point >> compare_restore >> record_evidence


restore_backup()

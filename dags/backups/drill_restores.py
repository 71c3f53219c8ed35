"""
### What it does

Proves backups by restoring them: takes the sources whose last drill is oldest, restores the newest verified point of
each into a scratch place, compares it with what was backed up, and measures how long that took and how much data would
have been lost. A point that can't be restored, or is not what was backed up, turns the run red; so does a source that
has gone without a proof for longer than its entry allows.

### When it runs

Every night. A person may start it for chosen sources.

### What it changes

The backup bucket: one object for each drill, proven or failed, in the source's folder `proofs/`, where it outlives the
point. The evidence bucket: the run's document. The scratch place is removed; when a drill was killed, by
`remove_leftovers`.

### When it fails

The failed task names the source, the point and what differs. `docs/runbooks/drill_restores.md` has the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Param, dag

from platform_ops.backups.drill_steps import ChooseDrills, DrillRestore, RemoveLeftovers, RequireProofs
from platform_ops.backups.names import LONGEST_STEP, RESTORE_QUEUE
from platform_ops.backups.sources import source_names
from platform_ops.backups.steps import RecordEvidence
from platform_ops.common.dag_defaults import Area, Impact, default_args

SOURCES = source_names()


@dag(
    # After the nightly copies, before people come.
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=1,
    # A store that restarts is back by the second retry; what fails then is a finding.
    default_args=default_args(owner="platform-team", retries=2),
    tags=[Area.BACKUPS, Impact.WARNS],
    doc_md=__doc__,
    params={
        "sources": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "enum": SOURCES},
            # Airflow draws a list to choose from only where there are examples.
            examples=SOURCES,
            description="The sources to prove now; empty means those whose drills are oldest.",
        ),
        "at_most": Param(
            5,
            type="integer",
            minimum=1,
            maximum=1000,
            description="How many sources a night proves when none are named.",
        ),
    },
)
def drill_restores() -> None:
    choose_sources = ChooseDrills(task_id="choose_sources")
    drill_restore = DrillRestore.partial(
        task_id="drill_restore",
        map_index_template="{{ task.source }}",
        pool="backups",
        queue=RESTORE_QUEUE,
        execution_timeout=LONGEST_STEP,
    ).expand(source=choose_sources.output)
    require_proofs = RequireProofs(task_id="require_proofs")
    record_evidence = RecordEvidence(task_id="record_evidence").as_teardown()
    # Callers that wait for the run get these facts.
    record_evidence.returns_dag_result = True
    remove_leftovers = RemoveLeftovers(task_id="remove_leftovers", queue=RESTORE_QUEUE).as_teardown()

    choose_sources >> require_proofs
    [drill_restore, require_proofs] >> remove_leftovers >> record_evidence


drill_restores()

"""
### What it does

Backs up the sources of the catalogue that are due: checks that retention, lock and keys fit together, copies the source
into a new point (compressed, encrypted, with a text that says how to restore it by stock tools), reads the stored bytes
again, and deletes the points that the retention no longer keeps. One source's failure is its own; the others go on.

### When it runs

Every hour; the first run after midnight (UTC) takes the nightly sources too. A person may start it for chosen sources,
which are then backed up at once. What another run is still at work on is left to it.

### What it changes

The backup bucket: a prefix for each new point; points beyond their retention are deleted, never the newest verified
one. The evidence bucket: the run's document.

### When it fails

The failed task names the source, what was found and what to do. `docs/runbooks/back_up_sources.md` has the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Param, dag, task_group

from platform_ops.backups.names import LONGEST_STEP
from platform_ops.backups.sources import source_names
from platform_ops.backups.steps import CheckPolicy, ChooseSources, CopySource, PrunePoints, RecordEvidence, VerifyPoint
from platform_ops.common.dag_defaults import Area, Impact, default_args

SOURCES = source_names()


@task_group
def back_up_source(source: str) -> None:
    label = "{{ task.source }}"
    check_policy = CheckPolicy(task_id="check_policy", source=source, map_index_template=label)
    copy_source = CopySource(
        task_id="copy_source", source=source, map_index_template=label, pool="backups", execution_timeout=LONGEST_STEP
    )
    verify_point = VerifyPoint(
        task_id="verify_point", source=source, map_index_template=label, pool="backups", execution_timeout=LONGEST_STEP
    )
    prune_points = PrunePoints(task_id="prune_points", source=source, map_index_template=label)
    check_policy >> copy_source >> verify_point >> prune_points


@dag(
    schedule="0 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=False,
    # One source that takes all night keeps no other waiting; the pool says how much is copied at once.
    max_active_runs=16,
    # Two retries carry a copy over the restart of a store or a source; it begins anew.
    default_args=default_args(owner="platform-team", retries=2),
    tags=[Area.BACKUPS, Impact.CAN_WAIT],
    doc_md=__doc__,
    params={
        "sources": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "enum": SOURCES},
            # Airflow draws a list to choose from only where there are examples.
            examples=SOURCES,
            description="The sources to back up now; empty means all that are due.",
        ),
    },
)
def back_up_sources() -> None:
    choose_sources = ChooseSources(task_id="choose_sources")
    backed_up = back_up_source.expand(source=choose_sources.output)
    record_evidence = RecordEvidence(task_id="record_evidence").as_teardown()
    # Callers that wait for the run get these facts.
    record_evidence.returns_dag_result = True

    backed_up >> record_evidence


back_up_sources()

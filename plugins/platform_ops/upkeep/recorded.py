"""The documents of runs that only tell what their steps read: of which DAGs, and how one is stored late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platform_ops.backups.recorded import RECORDED as BACKUPS
from platform_ops.common.airflow_api import ENDED, AirflowApi
from platform_ops.common.records import RunRecord
from platform_ops.evidence.recording import Recorded
from platform_ops.evidence.store import as_recorded, find_end
from platform_ops.systems.object_store.hook import ObjectStoreHook
from platform_ops.upkeep.names import CHECK_CONNECTIONS
from platform_ops.upkeep.open_records import Closed, RunGoesOn, require_same_end, why
from platform_ops.upkeep.verdicts import TEARDOWNS, judge_run


def _connections(run: RunRecord) -> dict[str, Any]:
    return {"connections": run.facts("list_connections").get("connections") or []}


CHECKED = Recorded(judge_run, _connections, TEARDOWNS)
RECORDED: Mapping[str, Recorded] = {CHECK_CONNECTIONS: CHECKED, **BACKUPS}
"""By DAG: all but releases, which GitLab awaits the end of too."""


def store_late(api: AirflowApi, listed: RunRecord, *, dry_run: bool) -> Closed | None:
    """Store the document of one run; None when it lies there, or the run goes on since somebody cleared it."""
    store, recorded = ObjectStoreHook(), RECORDED[listed.dag_id]
    if as_recorded(api, store, listed):
        return None
    run = api.run(listed.dag_id, listed.run_id)
    if run.state not in ENDED or find_end(store, run, without=recorded.last_steps):
        return None
    stored = None
    if not dry_run:
        try:
            require_same_end(api, run)
        except RunGoesOn:
            return None
        stored = recorded.record(run, late=f"{why(run)}; close_open_records stored this.")
    return Closed(
        dag=run.dag_id,
        run=run.run_id,
        ended_as=run.state,
        was_open=("evidence",),
        verdict=recorded.judge(run).verdict,
        evidence=str(stored.facts["key"]) if stored else "",
        told="",
    )

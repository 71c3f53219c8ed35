"""What people answered, as Airflow's server keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from platform_ops.approvals.rules import APPROVE
from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.records import Answer


def answers(dag_id: str, run_id: str, gates: Iterable[str]) -> dict[str, Answer | None]:
    """Return the answers at gates; None where nothing was asked."""
    api = AirflowApi()
    return {gate: api.answer(dag_id, run_id, gate) for gate in gates}


def told(given: Mapping[str, Answer | None]) -> list[dict[str, Any]]:
    """Return the answers as facts, in order: who, what, when; an expired request is a no by nobody."""
    return [
        {
            "by": one.by,
            "said": "yes" if one.chosen == (APPROVE,) else "no",
            "at": one.answered_at.isoformat(timespec="seconds"),
        }
        for one in given.values()
        if one and one.answered_at
    ]

"""What every DAG states in the same words: tags, owner, retries."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule


class Area(StrEnum):
    """The area a DAG belongs to; its folder in ``dags/`` has the same name."""

    BACKUPS = "backups"
    DELIVERY = "delivery"
    UPKEEP = "upkeep"


class Impact(StrEnum):
    """What a failure means for others."""

    BLOCKS_DELIVERY = "impact:blocks-delivery"
    CAN_WAIT = "impact:can-wait"
    WARNS = "impact:warns"


RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception="platform_ops.common.errors.FailNow", action=RetryAction.FAIL, reason="trying again cannot help"
        ),
        RetryRule(
            exception="platform_ops.common.errors.TryAgain",
            action=RetryAction.RETRY,
            retry_delay=timedelta(seconds=5),
            reason="a later try may succeed",
        ),
    ]
)
"""Errors are classified once, in the rooms; this maps the two families to Airflow's two answers."""


def default_args(*, owner: str, retries: int) -> dict[str, Any]:
    """Return the default arguments of a DAG's tasks.

    :param retries: the DAG's file says why that many.
    """
    return {"owner": owner, "retries": retries, "retry_delay": timedelta(seconds=5), "retry_policy": RETRY_POLICY}

"""Who must say yes, as a catalogue file says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from platform_ops.common.documents import duration


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """Who may say yes.

    :param approvers: Airflow accounts.
    :param quorum: how many different people must say yes.
    """

    approvers: tuple[str, ...]
    quorum: int
    expires_after: timedelta


def policy_from(block: Mapping[str, Any]) -> ApprovalPolicy:
    """Make a policy of a checked ``approval`` block."""
    return ApprovalPolicy(
        approvers=tuple(block["approvers"]),
        quorum=block.get("quorum", 1),
        expires_after=duration(block.get("expires_after", "24h")),
    )

"""How a request to people is put together, in the same words for every area."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from platform_ops.approvals.gate import Request
from platform_ops.common.report import Link, StepReport


def ask(
    subject: str,
    body: str,
    *,
    bound_to: str,
    may_answer: tuple[str, ...],
    expires_at: datetime,
    page: Link,
    facts: Mapping[str, Any],
    so_far: str = "",
) -> Request:
    """Return what a gate asks, with what the page shows while it waits.

    :param facts: what the area adds to who may answer what, until when.
    :param so_far: sentence about the answers that were given before.
    """
    until = expires_at.isoformat(timespec="seconds")
    return Request(
        subject=f"{so_far}{subject}",
        body=body,
        bound_to=bound_to,
        may_answer=may_answer,
        expires_at=expires_at,
        report=StepReport(
            f"{so_far}{' or '.join(may_answer)} may say yes or no until {until}.",
            facts={"binding": bound_to, "expires_at": until, "may_answer": list(may_answer), **facts},
            links=(page,),
        ),
    )


def plain(text: str) -> str:
    """Return foreign text as Markdown code, on one line, so that it can't look like ours."""
    line = " ".join(text.split()).replace("`", "'")
    return f"`{line[:200]}`" if line else ""

"""What a step hands on: a sentence, facts and links, the same shape for every step of every workflow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

REPORT_KEY = "report"
"""The XCom key under which every step leaves its report, also a failed or superseded one."""


@dataclass(frozen=True, slots=True)
class Link:
    """A place a person can open."""

    title: str
    url: str


def reported(context: Context, task_id: str, map_index: int | None = None) -> dict[str, Any]:
    """Return the facts an earlier step reported: a hint, never a reason to act.

    :param map_index: of a mapped step.
    """
    mapped: dict[str, Any] = {} if map_index is None else {"map_indexes": map_index}
    report = context["ti"].xcom_pull(task_ids=task_id, key=REPORT_KEY, **mapped)
    facts = report.get("facts") if isinstance(report, dict) else None
    return facts if isinstance(facts, dict) else {}


@dataclass(frozen=True, slots=True)
class StepReport:
    """The result of one step, as it travels through XCom to the page and the evidence.

    :param summary: one plain sentence.
    :param outcome: ``done``, ``reused`` (earlier work adopted), ``not needed``, ``superseded``, ``refused`` (by a
        rule) or ``failed``.
    :param facts: JSON-able; never a secret.
    :param error: class name of the error that ended a failed step.
    """

    summary: str
    outcome: str = "done"
    facts: dict[str, Any] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the plain form for XCom."""
        return asdict(self) | {"links": [asdict(link) for link in self.links]}

"""The gate: a task that asks people and waits without a worker."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator

from platform_ops.approvals.answers import answers
from platform_ops.approvals.rules import APPROVE, REJECT, AskedOtherwise, TooFewApprovers, binding_line
from platform_ops.common.operators import ReportingOperator
from platform_ops.common.report import StepReport
from platform_ops.common.settings import run_page_url

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True, slots=True)
class Request:
    """What a gate asks.

    :param body: Markdown; the gate adds the line that carries the binding.
    :param bound_to: hash of everything the answer depends on.
    :param may_answer: Airflow accounts.
    :param report: what the page shows while the gate waits.
    :raises TooFewApprovers: nobody may answer; an empty list would admit everyone.
    """

    subject: str
    body: str
    bound_to: str
    may_answer: tuple[str, ...]
    expires_at: datetime
    report: StepReport

    def __post_init__(self) -> None:
        if not self.may_answer:
            raise TooFewApprovers(f"Nobody is left to answer “{self.subject}”. Add an approver to the catalogue.")

    @property
    def text(self) -> str:
        """Return the whole text, binding included."""
        return f"{self.body.rstrip()}\n\n{binding_line(self.bound_to)}"


class ApprovalGate(HITLOperator, ReportingOperator):
    """Asks the people the rules allow; expiry means no.

    The answer protects nothing here: a person may set this task to success. The step that changes the world reads
    the answer from Airflow's server and judges it again (``approvals/rules.py``).
    """

    # The text is written at run time from other people's data, and must not be rendered as a template.
    template_fields: Sequence[str] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(subject="", options=[APPROVE, REJECT], defaults=REJECT, **kwargs)

    @abstractmethod
    def ask(self, context: Context) -> Request | StepReport:
        """Return what to ask, or the report when nobody needs to be asked."""

    def execute(self, context: Context) -> None:
        """Ask, or say that there is nothing to ask."""
        with self.reporting(context):
            asked = self.ask(context)
            if isinstance(asked, Request):
                _refuse_other_request(context, asked)
        if isinstance(asked, StepReport):
            self.hand_on(context, asked)
            return
        self.hand_on(context, asked.report)
        self.subject = asked.subject
        self.body = asked.text
        self.assigned_users = [{"id": name, "name": name} for name in asked.may_answer]
        # Zero would wait for ever.
        self.response_timeout = max(asked.expires_at - datetime.now(UTC), timedelta(seconds=1))
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """End; what was answered stays on Airflow's server, where the judging step reads it."""
        super().execute_complete(context, event)
        # The process that asked, and knew the link, is gone.
        ti = context["ti"]
        self.link_url = run_page_url(ti.dag_id, ti.run_id)


def _refuse_other_request(context: Context, asked: Request) -> None:
    """Refuse to ask where Airflow would show what an earlier try asked: it takes a gate's request only once.

    :raises AskedOtherwise: that was something else, or went to other people.
    """
    ti = context["ti"]
    shown = answers(ti.dag_id, ti.run_id, (ti.task_id,))[ti.task_id]
    if shown is None:
        return
    changed = [
        name
        for name, before, now in (
            ("another title", shown.subject, asked.subject),
            ("another text", shown.body, asked.text),
            ("other people", shown.assigned, asked.may_answer),
        )
        if before != now
    ]
    if changed:
        raise AskedOtherwise(
            f"{ti.task_id} has asked before in this run, and Airflow would show that request again, which has "
            f"{' and '.join(changed)}. Nobody is asked. Start a new run."
        )

"""What a gate hands to Airflow's server, and what it leaves for the page."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import jinja2
import pytest
from airflow.sdk.exceptions import TaskAwaitingInput
from airflow.sdk.execution_time.hitl import upsert_hitl_detail

from platform_ops.approvals.gate import ApprovalGate, Request
from platform_ops.approvals.rules import APPROVE, REJECT, TooFewApprovers, bound_by
from platform_ops.common.errors import PlatformError, Refused, Unreachable
from platform_ops.common.report import Link, StepReport

BOUND = "b" * 64
TI_ID = "0199a1b2-0000-7000-8000-000000000001"


class Gate(ApprovalGate):
    def __init__(self, *, asks: Request | StepReport | Exception, **options: Any) -> None:
        super().__init__(task_id="approve_release", **options)
        self.asks = asks

    def ask(self, context: Any) -> Request | StepReport:
        if isinstance(self.asks, Exception):
            raise self.asks
        return self.asks


class Context(dict[str, Any]):
    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        ti = SimpleNamespace(
            id=TI_ID,
            dag_id="release_service",
            run_id="run-1",
            task_id="approve_release",
            xcom_push=lambda key, value: self.reports.append(value | {"key": key}),
        )
        super().__init__(ti=ti, task_instance=ti, params={}, secret="not for the body")


def request(body: str = "Look at it.", subject: str = "Release web?", left: timedelta = timedelta(hours=24)) -> Request:
    return Request(
        subject=subject,
        body=body,
        bound_to=BOUND,
        may_answer=("paula", "quentin"),
        expires_at=datetime.now(UTC) + left,
        report=StepReport("paula or quentin may say yes.", facts={"binding": BOUND}, links=(Link("Page", "http://p"),)),
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Mock:
    stub = Mock(spec=upsert_hitl_detail)
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", stub)
    monkeypatch.setattr("platform_ops.approvals.answers.AirflowApi", lambda: SimpleNamespace(answer=lambda *_: None))
    return stub


def wait(gate: Gate, context: Context | None = None) -> TaskAwaitingInput:
    with pytest.raises(TaskAwaitingInput) as waiting:
        gate.execute(context or Context())
    return waiting.value


def test_exactly_the_people_the_rules_allow_are_asked(asked: Mock) -> None:
    wait(Gate(asks=request()))
    sent = asked.call_args.kwargs
    assert sent["ti_id"] == TI_ID
    assert sent["assigned_users"] == [{"id": "paula", "name": "paula"}, {"id": "quentin", "name": "quentin"}]
    assert sent["options"] == [APPROVE, REJECT]
    assert sent["subject"] == "Release web?"
    assert not sent["multiple"]


def test_no_answer_means_no(asked: Mock) -> None:
    waiting = wait(Gate(asks=request()))
    assert asked.call_args.kwargs["defaults"] == [REJECT]
    assert timedelta(hours=23) < waiting.timeout <= timedelta(hours=24)


@pytest.mark.parametrize("left", [timedelta(0), timedelta(hours=-1)])
def test_a_request_that_has_expired_meanwhile_does_not_wait_for_ever(asked: Mock, left: timedelta) -> None:
    assert wait(Gate(asks=request(left=left))).timeout == timedelta(seconds=1)


def test_a_request_to_nobody_cannot_be_made() -> None:
    with pytest.raises(TooFewApprovers, match="Nobody is left to answer “Release web"):
        replace(request(), may_answer=())


def test_the_binding_is_the_last_line_of_the_text(asked: Mock) -> None:
    wait(Gate(asks=request(body="Look.\nBound to " + "c" * 64 + "\n\n")))
    body = asked.call_args.kwargs["body"]
    assert body.splitlines()[-1] == f"Bound to {BOUND}"
    assert bound_by(body) == BOUND


def test_the_page_is_told_before_the_wait(asked: Mock) -> None:
    context = Context()
    gate = Gate(asks=request())
    asked.side_effect = lambda **_: context.reports[0]
    wait(gate, context)
    assert [one["summary"] for one in context.reports] == ["paula or quentin may say yes."]
    assert context.reports[0]["facts"] == {"binding": BOUND}
    assert gate.link_url == "http://p"


def test_nobody_is_asked_when_nothing_needs_a_yes(asked: Mock) -> None:
    context = Context()
    assert Gate(asks=StepReport("Automatic.", "not needed")).execute(context) is None
    assert [one["outcome"] for one in context.reports] == ["not needed"]
    asked.assert_not_called()


@pytest.mark.parametrize(("error", "outcome"), [(Refused("Too few."), "refused"), (Unreachable("Gone."), "failed")])
def test_a_question_that_cannot_be_put_fails_and_says_why(asked: Mock, error: PlatformError, outcome: str) -> None:
    context = Context()
    with pytest.raises(type(error)):
        Gate(asks=error).execute(context)
    report = context.reports[0]
    assert (report["summary"], report["outcome"], report["error"]) == (str(error), outcome, type(error).__name__)
    asked.assert_not_called()


def test_other_peoples_text_is_no_template(asked: Mock) -> None:
    gate = Gate(asks=request(body="`{{ secret }}` {% raw %}", subject="Release {{ secret }}?"))
    assert not gate.template_fields
    context = Context()
    # As Airflow does, before the task runs.
    gate.render_template_fields(context, jinja2.Environment())  # type: ignore[arg-type]
    wait(gate, context)
    sent = asked.call_args.kwargs
    assert sent["subject"] == "Release {{ secret }}?"
    assert sent["body"].startswith("`{{ secret }}` {% raw %}\n")


@pytest.mark.parametrize("chosen", [APPROVE, REJECT])
def test_any_answer_ends_the_gate_which_then_leads_to_the_runs_page(chosen: str) -> None:
    event = {
        "chosen_options": [chosen],
        "params_input": {},
        "responded_at": datetime(2026, 1, 2, tzinfo=UTC),
        "responded_by_user": {"id": "paula", "name": "paula"},
        "timedout": False,
    }
    context = Context()
    gate = Gate(asks=request())
    assert gate.execute_complete(context, event) is None
    assert context.reports == []
    assert gate.link_url.endswith("/platform-ops/runs/release_service/run-1")

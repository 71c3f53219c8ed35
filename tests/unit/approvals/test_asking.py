"""What every area's request says of itself, and what was answered."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from platform_ops.approvals.answers import answers
from platform_ops.approvals.asking import ask
from platform_ops.approvals.rules import TooFewApprovers
from platform_ops.common.report import Link

AT = datetime(2026, 11, 26, 9, 17, tzinfo=UTC)


def request(*may_answer: str, so_far: str = ""):
    return ask(
        "Restore web?",
        "Look at it.",
        bound_to="b" * 64,
        may_answer=may_answer,
        expires_at=AT,
        page=Link("Page", "http://p"),
        facts={"point": "x"},
        so_far=so_far,
    )


def test_the_report_says_who_may_answer_until_when():
    asked = request("paula", "quentin", so_far="rosa said yes. ")
    assert asked.subject == "rosa said yes. Restore web?"
    assert asked.report.summary == "rosa said yes. paula or quentin may say yes or no until 2026-11-26T09:17:00+00:00."
    assert asked.report.facts == {
        "binding": "b" * 64,
        "expires_at": "2026-11-26T09:17:00+00:00",
        "may_answer": ["paula", "quentin"],
        "point": "x",
    }


def test_nobody_is_never_everybody():
    with pytest.raises(TooFewApprovers):
        request()


def test_answers_are_read_gate_by_gate(monkeypatch):
    api = SimpleNamespace(answer=lambda dag, run, gate: f"{dag} {run} {gate}" if gate == "one" else None)
    monkeypatch.setattr("platform_ops.approvals.answers.AirflowApi", lambda: api)
    assert answers("d", "r", ("one", "two")) == {"one": "d r one", "two": None}

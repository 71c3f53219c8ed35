"""A gate that is cleared or tried again: Airflow keeps its request and, until it asks again, the answer to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from airflow.sdk.exceptions import TaskAwaitingInput

from platform_ops.approvals.answers import answers
from platform_ops.approvals.gate import ApprovalGate, Request
from platform_ops.approvals.rules import (
    APPROVE,
    REJECT,
    ApprovalError,
    AskedOtherwise,
    NotApproved,
    Yes,
    judge,
)
from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.report import StepReport

GATE = "approve_release"
BOUND = "b" * 64
PEOPLE = ("paula", "quentin")
DAY = timedelta(days=1)


class Gate(ApprovalGate):
    def __init__(self, *, asks: Request, **options: Any) -> None:
        super().__init__(task_id=GATE, **options)
        self.asks = asks

    def ask(self, context: Any) -> Request | StepReport:
        return self.asks


class Airflow:
    """One gate as Airflow 3.3.2 keeps it: one request, which follows the task from try to try."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, tzinfo=UTC)
        self.kept: dict[str, Any] | None = None
        self.told: list[dict[str, Any]] = []
        self.clear()

    def clear(self) -> None:
        """Give the task the id of its next try; the request's foreign key follows it (``onupdate="CASCADE"``)."""
        self.now += timedelta(minutes=1)
        self.id = UUID(f"{int(self.now.timestamp() * 1000):012x}{'70008000':0<20}")

    def upsert(self, *, subject: str, body: str, assigned_users: list[dict[str, str]], **_: Any) -> None:
        """Enter a request; of one that is there the answer alone is taken away."""
        asked = {"subject": subject, "body": body, "assigned_users": assigned_users}
        self.kept = {**(self.kept or asked), "responded_at": None, "responded_by_user": None, "chosen_options": None}

    def ask(self, bound_to: str = BOUND, people: tuple[str, ...] = PEOPLE, body: str = "Look at it.") -> None:
        """Let the worker run the gate."""
        self.now += timedelta(seconds=2)
        request = Request("Release web?", body, bound_to, people, self.now + DAY, StepReport("Asked."))
        ti = SimpleNamespace(
            id=self.id, dag_id="release_service", run_id="r1", task_id=GATE,
            xcom_push=lambda key, value: self.told.append(value),
        )  # fmt: skip
        with pytest.raises(TaskAwaitingInput):
            Gate(asks=request).execute({"ti": ti, "task_instance": ti, "params": {}})  # type: ignore[typeddict-item]

    def say(self, what: str = APPROVE, by: str = "paula") -> None:
        """Answer; what follows may take its time."""
        self.now += timedelta(minutes=1)
        user = {"id": by, "name": by}
        assert self.kept
        assert user in self.kept["assigned_users"]
        self.kept |= {
            "responded_at": self.now.isoformat(),
            "responded_by_user": user,
            "chosen_options": [what],
        }

    def approved(self, bound_to: str = BOUND) -> tuple[Yes, ...]:
        """Judge, as the step that pushes does; the gate itself may be a success by hand."""
        given = answers("release_service", "r1", (GATE,))
        return judge(given, quorum=1, bound_to=bound_to, allowed=PEOPLE, now=self.now, expires_after=DAY)

    def serve(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path.endswith(f"/taskInstances/{GATE}/-1/hitlDetails")
        if self.kept is None:
            return httpx.Response(404, json={"detail": "Human-in-the-loop detail does not exist"})
        return httpx.Response(200, json=self.kept | {"task_instance": {"id": str(self.id)}})


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    made = Airflow()
    api = AirflowApi(address="http://airflow.test", token="t0ken", inner=httpx.MockTransport(made.serve))
    monkeypatch.setattr("platform_ops.approvals.answers.AirflowApi", lambda: api)
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", made.upsert)
    return made


def test_an_answer_counts_in_the_try_that_it_was_given_in(airflow: Airflow) -> None:
    airflow.ask()
    airflow.say()
    assert airflow.approved() == (Yes("paula", airflow.now),)


@pytest.mark.parametrize("said", [APPROVE, REJECT])
def test_an_answer_to_an_earlier_try_does_not_count(airflow: Airflow, said: str) -> None:
    airflow.ask()
    airflow.say(said)
    airflow.clear()
    with pytest.raises(NotApproved, match=f"No answer to {GATE}"):
        airflow.approved()


def test_a_gate_that_asks_the_same_again_takes_a_new_answer(airflow: Airflow) -> None:
    airflow.ask()
    airflow.say(REJECT)
    airflow.clear()
    airflow.ask()
    with pytest.raises(NotApproved):
        airflow.approved()
    airflow.say(by="quentin")
    assert airflow.approved() == (Yes("quentin", airflow.now),)


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bound_to": "c" * 64}, "another text"),
        ({"body": "Look again."}, "another text"),
        ({"people": ("quentin",)}, "other people"),
        ({"bound_to": "c" * 64, "people": ("quentin",)}, "another text and other people"),
    ],
)
def test_nobody_is_shown_what_was_asked_before_in_place_of_what_is_asked_now(
    airflow: Airflow, changed: dict[str, Any], said: str, answered: bool
) -> None:
    airflow.ask()
    if answered:
        airflow.say()
    kept = dict(airflow.kept or {})
    airflow.clear()
    with pytest.raises(AskedOtherwise, match=rf"{said}\. Nobody is asked\. Start a new run\."):
        airflow.ask(**changed)
    assert airflow.kept == kept
    assert airflow.told[-1]["outcome"] == "refused"
    # Even when somebody sets the gate to success by hand.
    with pytest.raises(ApprovalError):
        airflow.approved(changed.get("bound_to", BOUND))

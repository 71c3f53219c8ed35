"""The trigger: what it serializes to, and every end of a wait."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from platform_ops.common.errors import Refused
from platform_ops.common.remote_work import Handle, Probe, WorkSpec
from platform_ops.common.triggers import RemoteWorkTrigger

LATER = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
PAST = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


class Work:
    def __init__(self, script: list[Any]) -> None:
        self.script = script
        self.cancelled: list[Handle] = []

    def probe(self, handle: Handle) -> Probe:
        look = self.script.pop(0)
        if isinstance(look, Exception):
            raise look
        return Probe(look, "", {"looks": handle["looks"] + 1})

    def cancel(self, handle: Handle) -> None:
        self.cancelled.append(handle)


def trigger(deadline: str = LATER) -> RemoteWorkTrigger:
    return RemoteWorkTrigger(path="a.Work", arguments={"job": "x"}, handle={"looks": 0}, deadline=deadline)


def event_of(monkeypatch: pytest.MonkeyPatch, script: list[Any], deadline: str = LATER) -> dict[str, Any]:
    monkeypatch.setattr(WorkSpec, "load", lambda _self: Work(script))
    monkeypatch.setattr("platform_ops.common.remote_work.Watch.FIRST_PAUSE", 0.0)

    async def first() -> Any:
        return await asyncio.wait_for(anext(aiter(trigger(deadline).run())), 5)

    payload: dict[str, Any] = asyncio.run(first()).payload
    return payload


def test_it_serializes_to_what_makes_it_anew() -> None:
    path, arguments = trigger().serialize()
    assert path == "platform_ops.common.triggers.RemoteWorkTrigger"
    assert arguments == {"path": "a.Work", "arguments": {"job": "x"}, "handle": {"looks": 0}, "deadline": LATER}
    assert RemoteWorkTrigger(**arguments).serialize() == (path, arguments)


@pytest.mark.parametrize(
    ("script", "deadline", "looks"),
    [
        (["running", "queued", "ended"], LATER, 3),
        (["running"], PAST, 1),
        (["running", Refused("no")], LATER, 1),
    ],
)
def test_whatever_ends_the_wait_the_task_is_told_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, script: list[Any], deadline: str, looks: int
) -> None:
    assert event_of(monkeypatch, script, deadline) == {
        "path": "a.Work", "arguments": {"job": "x"}, "handle": {"looks": looks},
        "deadline": deadline,
    }  # fmt: skip


def test_a_person_who_ends_the_wait_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work([])
    monkeypatch.setattr(WorkSpec, "load", lambda _self: work)
    asyncio.run(trigger().on_kill())
    assert work.cancelled == [{"looks": 0}]

"""The one trigger: it looks at remote work, with the work's own synchronous probe, until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from platform_ops.common.errors import PlatformError
from platform_ops.common.remote_work import Handle, Watch, WorkSpec


class RemoteWorkTrigger(BaseTrigger):
    """Fires when the work has ended, when its deadline has passed, or when a look at it fails.

    The event carries all that the task needs to go on; the task looks again itself, so an error is
    raised where its class still means something.

    :param path: dotted path of the work's class.
    :param arguments: its keyword arguments.
    :param deadline: ISO 8601 with offset.
    """

    def __init__(self, *, path: str, arguments: dict[str, Any], handle: Handle, deadline: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path
        self.arguments = arguments
        self.handle = handle
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and what makes it anew."""
        return (
            "platform_ops.common.triggers.RemoteWorkTrigger",
            {"path": self.path, "arguments": self.arguments, "handle": self.handle, "deadline": self.deadline},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to tell."""
        watch = Watch(await asyncio.to_thread(WorkSpec(self.path, self.arguments).load), self.handle)
        deadline = datetime.fromisoformat(self.deadline)
        for pause in watch.pauses():
            try:
                probe = await asyncio.to_thread(watch.look)
            except PlatformError:
                yield self._event(watch.handle)
                return
            self.handle = watch.handle
            if probe.state == "ended":
                yield self._event(watch.handle)
                return
            if datetime.now(UTC) >= deadline:
                yield self._event(watch.handle)
                return
            await asyncio.sleep(pause)

    def _event(self, handle: Handle) -> TriggerEvent:
        return TriggerEvent(  # type: ignore[no-untyped-call]
            {
                "path": self.path,
                "arguments": self.arguments,
                "handle": handle,
                "deadline": self.deadline,
            }
        )

    async def on_kill(self) -> None:
        """Stop the work: a person ended the waiting task."""
        work = await asyncio.to_thread(WorkSpec(self.path, self.arguments).load)
        await asyncio.to_thread(work.cancel, self.handle)

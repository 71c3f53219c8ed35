"""Work that another system does for us: a build, a sync, a scan, a rollout.

A room describes its work as a plain object of this shape; ``common/operators.py`` runs any of them.
The object is made anew, from its dotted path and JSON arguments, in the task and again in the triggerer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, Protocol, cast

from platform_ops.common.errors import TryAgain
from platform_ops.common.report import Link, StepReport

Handle = dict[str, Any]
"""What finds the work again: JSON-able, no secret, e.g. ``{"queue_id": 7}``."""

TROUBLES_IN_A_ROW = 5
"""Looks in a row that may meet a passing trouble before the wait gives up."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one look at the work saw.

    :param detail: a short phrase for the log and the page: ``waiting for an executor``.
    :param handle: the handle as it is known now (a queue item may have become a build).
    """

    state: Literal["queued", "running", "ended"]
    detail: str
    handle: Handle


class RemoteWork(Protocol):
    """Find-or-start, look, judge; the room's docstring names the fence that makes find-or-start safe."""

    def find(self) -> Handle | None:
        """Return the active, the succeeded, or this attempt's ended work; None when there is none to join."""

    def start(self) -> Handle:
        """Start the work, marked so that ``find`` will see it."""

    def probe(self, handle: Handle) -> Probe:
        """Look once; safe to call from several places at once."""

    def judge(self, handle: Handle) -> StepReport:
        """Say how ended work ended; raise one of the room's errors when it ended badly."""

    def cancel(self, handle: Handle) -> None:
        """Ask the system to stop the work; fine when it has ended."""

    def link(self, handle: Handle) -> Link | None:
        """Return where a person sees the work."""


@dataclass(frozen=True, slots=True)
class WorkSpec:
    """How to make a work object anywhere: its class by dotted path and its keyword arguments."""

    path: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def load(self) -> RemoteWork:
        """Import the class and make the object."""
        module, _, name = self.path.rpartition(".")
        return cast("RemoteWork", getattr(import_module(module), name)(**self.arguments))


class Watch:
    """Looks at work again and again; the task and the trigger share it, each with its own way of pausing.

    :param work: what to look at.
    :param handle: where it is; renewed by each look.
    """

    FIRST_PAUSE = 0.1
    LONGEST_PAUSE = 2.0

    def __init__(self, work: RemoteWork, handle: Handle) -> None:
        self.work = work
        self.handle = handle
        self._troubles = 0

    def look(self) -> Probe:
        """Look once; a passing trouble counts as "still running" a few times in a row.

        :raises TryAgain: the trouble lasts.
        """
        try:
            probe = self.work.probe(self.handle)
        except TryAgain as trouble:
            self._troubles += 1
            if self._troubles >= TROUBLES_IN_A_ROW:
                raise
            return Probe("running", str(trouble), self.handle)
        self._troubles = 0
        self.handle = probe.handle
        return probe

    @classmethod
    def pauses(cls) -> Iterator[float]:
        """Yield the seconds to wait between looks, growing to a limit."""
        pause = cls.FIRST_PAUSE
        while True:
            yield pause
            pause = min(pause * 1.3, cls.LONGEST_PAUSE)

"""Fail points: the named places where a process may die around a call that changes the world.

A method that changes something carries ``@changes(name)``. The HTTP transports and the git command reach its point
``before`` the call leaves and when it is ``answered``; the decorator reaches ``returned`` when the method has handed
the result on. In the sandbox a test arms a point, and the process that reaches it is killed there. Elsewhere nothing
is armed, and reaching a point is one look at the environment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

FOLDER: Final = "PLATFORM_OPS_FAIL_POINTS"
"""Environment variable with the folder of armed points; only the sandbox sets it."""

REACHED: Final = "reached"
"""File in that folder with a line for each point that was reached: ``name.stage``."""

STAGES: Final = ("before", "answered", "returned")
_NOTHING: Final = ""

P = ParamSpec("P")
R = TypeVar("R")

_point: ContextVar[str | None] = ContextVar("platform_ops_fail_point", default=None)


class NoFailPoint(AssertionError):
    """A call that changes something has no fail point: its method lacks ``@changes``."""


def changes(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a method that changes something, and name its fail point ``system.verb``.

    ``sandbox/fail_points.py`` lists the marks, and a test finds calls without one. Not for generators: they run later.
    """
    return _marked(name)


def asks(method: Callable[P, R]) -> Callable[P, R]:
    """Mark a method that changes nothing although it sends a POST."""
    return _marked(_NOTHING)(method)


def _marked(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def mark(method: Callable[P, R]) -> Callable[P, R]:
        @wraps(method)
        def marked(*args: P.args, **kwargs: P.kwargs) -> R:
            outer = _point.set(name)
            try:
                result = method(*args, **kwargs)
                _reach("returned")
                return result
            finally:
                _point.reset(outer)

        return marked

    return mark


@contextmanager
def around_change() -> Iterator[None]:
    """Reach the point around one call that leaves this process; a call that fails is not answered.

    :raises NoFailPoint: in the sandbox, where the call has none.
    """
    _reach("before")
    yield
    _reach("answered")


def _reach(stage: str) -> None:
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    name = _point.get()
    if name is None:
        raise NoFailPoint("A call that changes something was made outside a method marked with @changes or @asks.")
    if name == _NOTHING:
        return
    with (Path(folder) / REACHED).open("a") as reached:
        reached.write(f"{name}.{stage}\n")
    try:
        # Of several processes that reach an armed point, one dies.
        (Path(folder) / f"{name}.{stage}").unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)

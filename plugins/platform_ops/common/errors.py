"""The errors every room's own errors derive from.

PlatformError
├── FailNow                    trying again cannot help: the task fails at once
│   ├── AuthenticationFailed   401, 403: a credential is wrong, expired or lacks a permission
│   ├── NotFound               404: the object does not exist or is hidden from this credential
│   ├── Invalid                400, 415, 422: we sent something the system does not take
│   ├── Refused                a rule of ours or of the system says no
│   └── TimedOut               remote work did not end before its deadline
├── TryAgain                   may pass: the task is retried
│   ├── Unreachable            no answer, a time-out, a broken connection
│   ├── WorkerTrouble          the machine this runs on: no space, no permission, no file
│   └── Busy                   409, 412, 423, 429, 5xx
└── Superseded                 no failure: newer work of the same kind stands already; the rest of the run is skipped
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class PlatformError(Exception):
    """Something a person must read: the object, the state found, the next step.

    :param facts: JSON-able details for the run page and the evidence; never a secret.
    """

    def __init__(self, message: str, *, facts: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.facts = facts or {}


class FailNow(PlatformError):
    """Trying again cannot help."""


class AuthenticationFailed(FailNow):
    """A credential is wrong, expired or lacks a permission."""


class NotFound(FailNow):
    """The object does not exist or is hidden from this credential."""


class Invalid(FailNow):
    """The system does not accept what we sent."""


class Refused(FailNow):
    """A rule says no."""


class TimedOut(FailNow):
    """Remote work did not end before its deadline."""


class TryAgain(PlatformError):
    """A later try may succeed."""


class Unreachable(TryAgain):
    """The system gave no usable answer."""


class WorkerTrouble(TryAgain):
    """The machine this runs on can't do it."""


class Busy(TryAgain):
    """The system answered that it cannot do this now."""


class Superseded(PlatformError):
    """Newer work stands already; there is nothing left to do."""


@contextmanager
def with_facts(facts: Mapping[str, Any]) -> Iterator[None]:
    """Give an error that leaves the block what was known before it; its own facts win."""
    try:
        yield
    except PlatformError as error:
        error.facts = {**facts, **error.facts}
        raise


def error_for_status(status: int) -> type[PlatformError]:
    """Return the class of error an HTTP status stands for."""
    if status in (401, 403):
        return AuthenticationFailed
    if status in (404, 410):
        return NotFound
    if status in (409, 412, 423, 429) or status >= 500:
        return Busy
    return Invalid

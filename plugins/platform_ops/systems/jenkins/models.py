"""What Jenkins tells about queue items, builds and tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Result(StrEnum):
    """How a build ended (hudson.model.Result)."""

    SUCCESS = "SUCCESS"
    UNSTABLE = "UNSTABLE"
    FAILURE = "FAILURE"
    NOT_BUILT = "NOT_BUILT"
    ABORTED = "ABORTED"


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One entry of the queue; Jenkins forgets it five minutes after it left.

    :param why: what it waits for, in Jenkins's words; None once it left.
    :param number: the build it became.
    """

    id: int
    why: str | None
    cancelled: bool
    number: int | None
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Build:
    """One build.

    :param result: None while it runs; a pipeline may have one and still be running.
    :param seconds: 0 while it runs.
    """

    number: int
    queue_id: int
    building: bool
    result: Result | None
    started_at: datetime
    seconds: float
    parameters: Mapping[str, str]

    @property
    def active(self) -> bool:
        """Say whether it still runs."""
        return self.building or self.result is None

    @property
    def succeeded(self) -> bool:
        """Say whether it ended well."""
        return not self.building and self.result is Result.SUCCESS


@dataclass(frozen=True, slots=True)
class TestReport:
    """What the tests of a build gave.

    :param failing: ``class.name`` of each failed test.
    """

    __test__ = False  # pytest takes classes of this name for tests

    passed: int
    failed: int
    skipped: int
    failing: tuple[str, ...]

    @property
    def total(self) -> int:
        """Return the number of tests that ran."""
        return self.passed + self.failed

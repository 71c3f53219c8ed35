"""What an area says of the end of its run, for the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

Verdict = TypeVar("Verdict", bound=StrEnum, covariant=True)


@dataclass(frozen=True, slots=True)
class Ending(Generic[Verdict]):
    """How a run ended.

    :param verdict: one of the area's own.
    :param reason: the sentence that gives the reason; empty when all went well.
    """

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an area says of the end of its run.

    :param subject: what the run was about, in the area's words.
    :param observed: what the systems said when asked again.
    :param differences: sentences, where that is not what the steps reported, or nobody answered.
    """

    subject: Mapping[str, Any]
    observed: Mapping[str, Any] = field(default_factory=dict)
    differences: Sequence[str] = ()

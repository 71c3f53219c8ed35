"""What an area says of the end of its run, for the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    :param verdict: of the area's own words.
    :param reason: the sentence that gives the reason; empty when all went well.
    """

    verdict: str
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

"""What the object store's room returns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


class Readable(Protocol):
    """What bytes are read from; an empty answer is the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes."""


@dataclass(frozen=True, slots=True)
class BucketRules:
    """What a bucket says of the life of what lies in it.

    :param versioning: whether overwritten objects are kept; None where the store does not say.
    :param lock: the default retention; None without one.
    :param expires: the shortest life a lifecycle rule gives; None without such a rule.
    """

    versioning: bool | None
    lock: timedelta | None
    expires: timedelta | None

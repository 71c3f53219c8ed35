"""What the object store's room returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol


class Readable(Protocol):
    """What bytes are read from; an empty answer is the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes."""


@dataclass(frozen=True, slots=True)
class BucketRules:
    """What a bucket says of the life of what lies in it.

    :param versioning: whether overwritten objects are kept.
    :param lock: the default retention; None without one.
    :param expires: the shortest life a lifecycle rule gives; None without such a rule.
    """

    versioning: bool
    lock: timedelta | None
    expires: timedelta | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A version of an object, as a listing shows it.

    :param version: its id; empty where the bucket keeps no versions.
    :param etag: empty where the store shows none.
    :param modified: in the store's own words; only ever compared with itself.
    :param marker: whether it says that the object was deleted.
    """

    key: str
    version: str
    size: int
    etag: str
    modified: str
    marker: bool = False


@dataclass(frozen=True, slots=True)
class OpenObject:
    """A version of an object while it is read.

    :param body: its bytes as they are stored, whatever their Content-Encoding.
    :param headers: of the answer, by their names in lower case.
    """

    body: Readable
    headers: Mapping[str, str]

    @property
    def etag(self) -> str:
        """Return what the store calls its present bytes."""
        return self.headers.get("etag", "").strip('"')

    @property
    def has_no_tags(self) -> bool:
        """Say whether the store has told that there are none.

        MinIO always tells (setObjectHeaders in its cmd/api-headers.go). AWS does to a key that may read tags, others
        never: of theirs nothing is known.
        """
        return self.headers.get("server") == "MinIO" and "x-amz-tagging-count" not in self.headers


class Known(StrEnum):
    """What a bucket says of one of its settings."""

    SET = "set"
    NONE = "none"
    NOT_SUPPORTED = "not supported by this store"
    REFUSED = "not shown to this key"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a bucket.

    :param text: JSON or XML as the store has it; empty unless it is set.
    """

    state: Known
    text: str = ""

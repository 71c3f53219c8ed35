"""What the Harbor room returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum


class ScanStatus(Enum):
    """Harbor's words for the state of a scan; an image without a scan has none."""

    NOT_SCANNED = "Not scanned"
    PENDING = "Pending"
    SCHEDULED = "Scheduled"
    RUNNING = "Running"
    SUCCESS = "Success"
    STOPPED = "Stopped"
    ERROR = "Error"

    @property
    def is_going_on(self) -> bool:
        """Say whether the scan will still end by itself."""
        return self in (ScanStatus.PENDING, ScanStatus.SCHEDULED, ScanStatus.RUNNING)


class Severity(IntEnum):
    """Harbor's words for the worst finding, in the order of harm."""

    NONE = 0
    UNKNOWN = 1
    NEGLIGIBLE = 2
    LOW = 3
    MEDIUM = 4
    HIGH = 5
    CRITICAL = 6

    @property
    def word(self) -> str:
        """Return the word as Harbor and the catalogue write it."""
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of an image; nobody can move or delete an immutable one."""

    name: str
    immutable: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """The newest scan of an image.

    :param severity: means something only after success.
    :param counts: findings by severity word.
    :param fixable: findings for which a fixed version exists.
    :param detail: a short phrase for people.
    """

    status: ScanStatus
    severity: Severity
    counts: Mapping[str, int]
    total: int
    fixable: int
    detail: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """An image as Harbor keeps it.

    :param labels: the labels in the image's own config, not Harbor's.
    :param pushed_at: ISO 8601.
    :param url: the page for people.
    """

    digest: str
    tags: tuple[Tag, ...]
    labels: Mapping[str, str]
    scan: Scan
    pushed_at: str
    url: str

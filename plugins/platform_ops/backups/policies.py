"""What a source's entry must not contradict before a byte moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from platform_ops.backups.sources import Retention, Source
from platform_ops.systems.object_store.models import BucketRules

SHARING = frozenset({"bucket", "directory"})
"""Kinds whose points share contents: what a point needs may be of any age."""
_DAYS = {"daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}


@dataclass(frozen=True, slots=True)
class Policy:
    """What was found.

    :param contradictions: stop the backup.
    :param warnings: are told.
    """

    contradictions: tuple[str, ...]
    warnings: tuple[str, ...]


def longest(retention: Retention) -> timedelta:
    """Return how old the oldest kept point may become."""
    return timedelta(days=max(getattr(retention, name) * days for name, days in _DAYS.items()))


def check(source: Source, store: BucketRules, recipients: Sequence[str] | None) -> Policy:
    """Hold retention, lock, lifecycle and encryption against each other.

    :param recipients: None where the source is not encrypted.
    """
    return Policy(tuple(_contradictions(source, store, recipients)), tuple(_warnings(source, store, recipients)))


def _contradictions(source: Source, store: BucketRules, recipients: Sequence[str] | None) -> Iterator[str]:
    kept, bucket = longest(source.retention), f"bucket {source.bucket}"
    if not kept:
        yield "Its retention keeps nothing. Give it at least one daily point."
    if source.lock > kept:
        yield (
            f"Its points are locked for {source.lock.days} days, but kept for {kept.days} at most: "
            "what should go could not. Lengthen the retention or shorten the lock."
        )
    if source.lock and (store.lock is None or store.lock < source.lock):
        found = f"locks for {store.lock.days} days" if store.lock else "has no default retention"
        yield (
            f"Its points must be locked for {source.lock.days} days, but {bucket} {found}. "
            "Set the bucket's retention, or shorten the lock."
        )
    if store.expires is not None and source.kind in SHARING:
        yield (
            f"A lifecycle rule of {bucket} deletes after {store.expires.days} days, but its newest point may need what "
            "its first one stored. Take the rule away."
        )
    elif store.expires is not None and store.expires < kept:
        yield (
            f"A lifecycle rule of {bucket} deletes after {store.expires.days} days what is to be kept "
            f"for {kept.days}. Take the rule away, or shorten the retention."
        )
    if source.drill_every > kept:
        yield (
            f"It is proven every {source.drill_every.days} days, but no point is kept for that long. "
            "Drill more often or keep points longer."
        )
    if recipients is not None and not recipients:
        yield f"Connection {source.encryption_connection} names no recipient. Enter age's public keys there."


def _warnings(source: Source, store: BucketRules, recipients: Sequence[str] | None) -> Iterator[str]:
    if recipients is None:
        yield "Its points are stored unencrypted."
    elif len(recipients) == 1:
        yield "Only one key can read its points: when it is lost, so are they. Add a second holder's key."
    if store.versioning is False:
        yield f"Bucket {source.bucket} keeps no versions: what is overwritten is gone."
    if source.tier.every > source.rpo:
        yield f"It is copied {source.tier}, so its target of {source.rpo} for lost data can't be met."

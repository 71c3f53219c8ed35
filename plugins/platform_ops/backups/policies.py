"""What a source's entry must not contradict before a byte moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from platform_ops.backups.retention import oldest, reached
from platform_ops.backups.sources import Source
from platform_ops.common.words import span
from platform_ops.systems.object_store.models import BucketRules

SHARING = frozenset({"bucket", "directory"})
"""Kinds whose points share contents: what a point needs may be of any age."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What was found.

    :param contradictions: stop the backup.
    :param warnings: are told.
    """

    contradictions: tuple[str, ...]
    warnings: tuple[str, ...]


def check(source: Source, store: BucketRules, recipients: Sequence[str] | None) -> Policy:
    """Hold retention, lock, lifecycle and encryption against each other.

    :param recipients: None where the source is not encrypted.
    """
    return Policy(tuple(_contradictions(source, store, recipients)), tuple(_warnings(source, store, recipients)))


def _contradictions(source: Source, store: BucketRules, recipients: Sequence[str] | None) -> Iterator[str]:
    bucket = f"bucket {source.bucket}"
    reach, kept = reached(source), oldest(source)
    if not kept:
        yield "Its retention keeps nothing. Give it at least one daily point."
    if source.lock > reach:
        yield (
            f"Its points are locked for {span(source.lock)}, but may have to go when they are {span(reach)} old. "
            "Lengthen the retention or shorten the lock."
        )
    if source.lock and (store.lock is None or store.lock < source.lock):
        found = f"locks for {span(store.lock)}" if store.lock else "has no default retention"
        yield (
            f"Its points must be locked for {span(source.lock)}, but {bucket} {found}. "
            "Set the bucket's retention, or shorten the lock."
        )
    if store.expires is not None and source.kind in SHARING:
        yield (
            f"A lifecycle rule of {bucket} deletes after {span(store.expires)}, but its newest point may need what "
            "its first one stored. Take the rule away."
        )
    elif store.expires is not None and store.expires < kept:
        yield (
            f"A lifecycle rule of {bucket} deletes after {span(store.expires)} what may be kept for {span(kept)}. "
            "Take the rule away, or shorten the retention."
        )
    if source.drill_every > kept:
        yield (
            f"It is proven every {span(source.drill_every)}, but no point is kept for that long. "
            "Drill more often or keep points longer."
        )
    if recipients is not None and not recipients:
        yield f"Connection {source.encryption_connection} names no recipient. Enter age's public keys there."


def _warnings(source: Source, store: BucketRules, recipients: Sequence[str] | None) -> Iterator[str]:
    if recipients is None:
        yield "Its points are stored unencrypted."
    elif len(recipients) == 1:
        yield "Only one key can read its points: when it is lost, so are they. Add a second holder's key."
    kept = oldest(source)
    if store.lock is not None and store.lock > kept:
        yield (
            f"Bucket {source.bucket} locks for {span(store.lock)}, and points are kept for {span(kept)} at most: "
            "until the lock ends, what was deleted takes room as old versions."
        )
    if not store.versioning:
        yield f"Bucket {source.bucket} keeps no versions: what is overwritten is gone."
    if source.tier.every >= source.rpo:
        yield (
            f"It is copied {source.tier}, so its target of {span(source.rpo)} for lost data is missed each time until "
            "the next point is verified."
        )

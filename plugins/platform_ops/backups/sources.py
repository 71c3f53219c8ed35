"""The catalogue of sources: what is backed up, how often, for how long, and how soon it must be back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from typing import Any

from platform_ops.approvals.policy import ApprovalPolicy, policy_from
from platform_ops.common.catalogue import Catalogue
from platform_ops.common.documents import duration

CATALOGUE = Catalogue("backups", "backup.schema.json", "source")
HOURS = 24
"""How many hourly points of an hourly source are kept, unless its entry says otherwise."""


class Tier(StrEnum):
    """How often a source is backed up."""

    HOURLY = "hourly"
    NIGHTLY = "nightly"

    @property
    def every(self) -> timedelta:
        """Return the time between two points."""
        return timedelta(hours=1) if self is Tier.HOURLY else timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Retention:
    """How many points are kept: the newest of each of so many days, weeks, months, years and hours."""

    daily: int
    weekly: int
    monthly: int
    yearly: int
    hourly: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A catalogue entry; names ending in ``_connection`` are Airflow connections.

    :param what: what the kind needs to know: names, folders, what to leave out.
    :param encryption_connection: holds the recipients; None for what is stored unencrypted.
    :param lock: how long the store must keep a point from being deleted.
    :param rpo: how much of the newest data may be lost.
    :param rto: how long a restore may take.
    :param production: folders and buckets to which nothing is restored, of whichever source, without a yes of
        ``approval``.
    :param restore_connection: of the account that writes into the bucket a bucket is restored to; the source's own
        only reads.
    """

    name: str
    kind: str
    owner: str
    connection: str | None
    what: Mapping[str, Any]
    tier: Tier
    retention: Retention
    store_connection: str
    bucket: str
    encryption_connection: str | None
    lock: timedelta
    rpo: timedelta
    rto: timedelta
    drill_every: timedelta
    production: tuple[str, ...] = ()
    approval: ApprovalPolicy | None = None
    restore_connection: str | None = None


def source_names() -> list[str]:
    """Return the names of the catalogue's files; no file is opened, so DAG files may call it."""
    return CATALOGUE.names()


def load_source(name: str) -> Source:
    """Read one source.

    :raises BadDocument: no such source, or its file is not in order.
    """
    document = CATALOGUE.entry(name)
    kept, target = document["retention"], document["target"]
    store, restore = document.get("store", {}), document.get("restore", {})
    tier = Tier(document["tier"])
    # What is copied hourly is wanted by the hour, for as long as somebody may take to notice.
    unsaid = {"hourly": HOURS} if tier is Tier.HOURLY else {}
    counts = {field.name: int(kept.get(field.name, unsaid.get(field.name, 0))) for field in fields(Retention)}
    return Source(
        name=document["source"],
        kind=document["kind"],
        owner=document["owner"],
        connection=document.get("connection"),
        what=dict(document["what"]),
        tier=tier,
        retention=Retention(**counts),
        store_connection=store.get("connection", "backup_store"),
        bucket=store.get("bucket", "backups"),
        encryption_connection=document.get("encryption"),
        lock=duration(document.get("lock", "0d")),
        rpo=duration(target["rpo"]),
        rto=duration(target["rto"]),
        drill_every=duration(document.get("drill_every", "30d")),
        production=tuple(restore.get("production", ())),
        approval=policy_from(restore["approval"]) if "approval" in restore else None,
        restore_connection=restore.get("connection"),
    )

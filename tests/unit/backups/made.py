"""Sources, points and drills, made as the catalogue and the store give them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from platform_ops.backups.history import History, Kept
from platform_ops.backups.overview import Observed, overview
from platform_ops.backups.proofs import Proof
from platform_ops.backups.report import Report
from platform_ops.backups.sources import Retention, Source, Tier

NOW = datetime(2026, 11, 25, 9, 17, 13, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def source(name: str = "web", **changes: Any) -> Source:
    values: dict[str, Any] = {
        "name": name,
        "kind": "directory",
        "owner": "team@example.com",
        "connection": None,
        "what": {"path": f"/srv/{name}"},
        "tier": Tier.NIGHTLY,
        "retention": Retention(14, 8, 12, 3),
        "store_connection": "backup_store",
        "bucket": "backups",
        "encryption_connection": None,
        "lock": timedelta(),
        "rpo": 26 * HOUR,
        "rto": 15 * MINUTE,
        "drill_every": 7 * DAY,
    }
    return Source(**{**values, **changes})


def kept(age: timedelta, size: int = 1000, *, verified: bool = True) -> Kept:
    at = NOW - age
    return Kept(f"{at:%Y%m%dT%H%M%SZ}-0123abcd", at, size, verified)


def proof(age: timedelta, *, rpo: timedelta = 3 * HOUR, rto: timedelta = MINUTE) -> Proof:
    return Proof(NOW - age, "20261125T000000Z-0123abcd", "r", proven=True, rpo=rpo, rto=rto)


def failed(age: timedelta, why: str = "tree.tar has other bytes.") -> Proof:
    return Proof(NOW - age, "20261125T000000Z-0123abcd", "r", proven=False, why=why)


def history(points: list[Kept], proofs: list[Proof], **more: Any) -> History:
    return History(len(points), tuple(points), tuple(proofs), **more)


def good(name: str = "web", **changes: Any) -> Observed:
    """Return a source that is backed up every night and proven every three days."""
    points = [
        kept(day * DAY + 9 * HOUR, 40_000_000_000 - day * 700_000_000 + day % 3 * 10_000_000) for day in range(30)
    ]
    proofs = [
        replace(proof(day * DAY + 6 * HOUR, rto=(4 + day % 5) * MINUTE), point=points[day].point)
        for day in range(0, 30, 3)
    ]
    return Observed(name, source(name, **changes), history(points, proofs))


def every_kind() -> Report:
    """Return a report with a source in each standing, and with long words."""
    points = [kept(9 * HOUR, 1_234_567)]
    observed = [
        good("archive"),
        good("web-content-of-all-shops-and-their-imag", owner="a-very-long-name-of-a-team@platform.example.com"),
        Observed("orders", source("orders"), history(points, [])),
        Observed("empty", source("empty"), History()),
        Observed("half", source("half"), history([kept(9 * HOUR, verified=False)], [])),
        Observed("spoilt", source("spoilt"), history(points, [failed(6 * HOUR), *good().history.proofs[1:]])),
        Observed("gitops", source("gitops", kind="git", rpo=2 * HOUR), good().history),
        Observed("slow", source("slow", rto=2 * MINUTE), good().history),
        Observed("old", source("old"), history(points, [proof(41 * DAY)])),
        Observed("away", source("away"), trouble="The object store at http://store.test gave no usable answer."),
        Observed("broken", None, trouble="broken.yaml, line 3: kind: 'x' is not one of ['directory', 'git']."),
    ]
    return Report(NOW, overview(observed, NOW))

"""What a person asks a restore for, and where it may go: rules without a clock, a store or a disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from platform_ops.approvals.policy import ApprovalPolicy
from platform_ops.backups.points import is_point
from platform_ops.backups.sources import Source
from platform_ops.common.errors import Refused

LATEST = "latest"
AS_OF = "as of "
LONGEST_PATH = 4000
LONGEST_KEY = 1024
BUCKET = "s3://"

SYSTEM = tuple(
    Path("/", name)
    for name in ("bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "usr", "var/spool")
)
"""Folders of the machine itself."""

Place = Path | str
"""Where data lies: a folder, or a bucket as ``s3://<name>``, whichever store has it: stores have several addresses."""

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class BadWish(Refused):
    """The form says something that means nothing, or that would do harm."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the form says.

    :param point: the point's name; None for the newest verified one.
    :param as_of: for the newest verified one that holds nothing newer; None for any time.
    :param subset: path below the source, or how keys begin; empty for all of it.
    :param overwrite: whether the target may hold something, which is kept.
    """

    source: str
    point: str | None
    as_of: datetime | None
    target: Place
    subset: str
    overwrite: bool
    dry_run: bool
    reason: str

    def accepts(self, point: str, settled_at: datetime) -> bool:
        """Say whether a point is one that was asked for.

        :param settled_at: of its manifest: what changed while it was read may be in it, and be what is to be undone.
        """
        if self.point is not None:
            return point == self.point
        return self.as_of is None or settled_at <= self.as_of


def wish_from(params: Mapping[str, Any]) -> Wish:
    """Read the form.

    :raises BadWish: a field means nothing; it is named.
    """
    point, as_of = _point(str(params.get("point") or LATEST).strip())
    target = _target(str(params.get("target") or ""))
    return Wish(
        source=str(params.get("source") or ""),
        point=point,
        as_of=as_of,
        target=target,
        subset=_subset(str(params.get("subset") or ""), target),
        overwrite=params.get("overwrite") is True,
        # Whatever is not a clear no is a dry run.
        dry_run=params.get("dry_run") is not False,
        reason=str(params.get("reason") or ""),
    )


def _point(text: str) -> tuple[str | None, datetime | None]:
    if text == LATEST:
        return None, None
    if is_point(text):
        return text, None
    if text.startswith(AS_OF):
        try:
            at = datetime.fromisoformat(text.removeprefix(AS_OF).strip())
        except ValueError as error:
            raise BadWish(
                f"{text[:60]!r} names no time. Write it like: {AS_OF}2026-11-25T03:00:00Z (without a zone it is UTC)."
            ) from error
        return None, at if at.tzinfo else at.replace(tzinfo=UTC)
    raise BadWish(
        f"{text[:60]!r} is no point. Give the name of one as the page Backups shows it, {LATEST!r}, or "
        f"'{AS_OF}' and a time."
    )


def _target(text: str) -> Place:
    if text.startswith(BUCKET):
        if _BUCKET.fullmatch(text):
            return text
        raise BadWish(f"{text[:200]!r} names no bucket. Write {BUCKET} and its name, without a key.")
    # POSIX lets two slashes at the beginning mean something else.
    path = PurePosixPath("/" + text.lstrip("/")) if text.startswith("/") else PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or "\0" in text or len(text) > LONGEST_PATH:
        raise BadWish(f"{text[:200]!r} is no absolute folder. Name one on the worker, without '..', or a bucket.")
    if path == PurePosixPath("/"):
        raise BadWish("The target is the whole machine. Name a folder below it.")
    return Path(path)


def _subset(text: str, target: Place) -> str:
    if isinstance(target, str):
        if "\0" in text or len(text.encode()) > LONGEST_KEY:
            raise BadWish(f"{text[:200]!r} is no beginning of a key: those have at most {LONGEST_KEY} bytes.")
        # A key is no path: whatever its slashes and dots are, they are its own.
        return text
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\0" in text or len(text) > LONGEST_PATH:
        raise BadWish(f"{text[:200]!r} is no path below the source. Name one without a slash before it or '..'.")
    return "" if path == PurePosixPath() else str(path)


def place_of(text: str) -> Place:
    """Return the place a catalogue names."""
    return text if text.startswith(BUCKET) else Path(text).resolve()


def overlap(one: Place, other: Place) -> bool:
    """Say whether one of two places is, or lies in, the other; paths are resolved."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return one.is_relative_to(other) or other.is_relative_to(one)


def refuse_source(target: Place, live: Place | None) -> None:
    """Refuse a target that is the source itself, lies in it or contains it.

    :param live: where the source's data lies; None where that is no place a restore can go to.
    :raises BadWish: it is so.
    """
    if live is None or not overlap(target, live):
        return
    if isinstance(target, str) or isinstance(live, str):
        raise BadWish(
            f"The target {target} is the source: the next backup would take what came back for its state. "
            "Name another bucket; copy the objects from there."
        )
    how = "lies in" if target.is_relative_to(live) else "contains"
    raise BadWish(
        f"The target {target} {how} the source {live}: the restore would change what it came from, and the next backup "
        "would hold it. Name a folder elsewhere; move the files from there."
    )


def refuse_reserved(target: Path, reserved: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse a folder that belongs to the machine or to Airflow: who may start a restore may not replace its code.

    :param reserved: resolved.
    :raises BadWish: it is, contains or lies in one.
    """
    for folder in reserved:
        if overlap(target, folder):
            raise BadWish(
                f"The target {target} is, contains or lies in {folder}, which belongs to the machine or to Airflow. "
                "Name another folder; move the files from there."
            )
    if overwrite and target.parent == Path("/"):
        raise BadWish(
            f"The target {target} stands at the top of the machine: nothing there is moved aside. Name a folder in it."
        )


def production_policy(target: Place, production: Iterable[tuple[Source, Sequence[Place]]]) -> ApprovalPolicy | None:
    """Return who must say yes to a target; None where it is no production of any source.

    Where it is production of several, somebody who may approve for all of them must.

    :param production: the sources with the places that are production.
    """
    policies = [
        source.approval
        for source, places in production
        if source.approval and any(overlap(target, place) for place in places)
    ]
    if not policies:
        return None
    first, *others = policies
    return ApprovalPolicy(
        approvers=tuple(name for name in first.approvers if all(name in other.approvers for other in others)),
        quorum=max(policy.quorum for policy in policies),
        expires_after=min(policy.expires_after for policy in policies),
    )

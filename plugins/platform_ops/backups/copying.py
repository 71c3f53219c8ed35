"""Make a point of a source."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from platform_ops.backups.depositing import Deposit
from platform_ops.backups.kinds.shape import Kind, Part, Reading, Shares
from platform_ops.backups.points import RESTORE_TEXT, Manifest, Member, sha256, stored_name
from platform_ops.backups.restore_text import restore_text
from platform_ops.backups.sources import Source
from platform_ops.backups.store import Points


def copy(
    source: Source,
    kind: Kind,
    points: Points,
    point: str,
    *,
    run_id: str,
    recipients: Sequence[str],
    key: str = "",
    told: Callable[[int], object],
) -> tuple[Manifest, str, list[str]]:
    """Read a source into a point and commit it; return the manifest, its sha256 and what a person should know.

    :param point: must not exist yet; should another copy of this task be faster, its point is the result.
    :param key: of those who copy; kinds that share contents between points need it where the source is encrypted.
    :param told: called with the size of each chunk of plain bytes as it passes.
    """
    began, place = datetime.now(UTC), secrets.token_hex(4)
    points.hook.abort_uploads(points.bucket, points.key(point, ""))
    if isinstance(kind, Shares):
        kind.share(Deposit(points, point, place, recipients, key, told))
    with kind.read() as reading:
        members = tuple(_write(points, point, place, part, recipients, told) for part in reading.parts)
    manifest = replace(
        _manifest(source, reading, point, run_id, began, recipients),
        place=place,
        members=members,
        contents=reading.contents(),
        ended_at=datetime.now(UTC),
    )
    text = restore_text(manifest, points.bucket, kind.commands(manifest)).encode()
    points.hook.put(points.bucket, points.key(point, place, RESTORE_TEXT), text, "text/markdown")
    stands, its_sha256 = points.commit(replace(manifest, restore_text_sha256=sha256(text)))
    return stands, its_sha256, reading.notes if stands.place == place else []


def _write(
    points: Points, point: str, place: str, part: Part, recipients: Sequence[str], told: Callable[[int], object]
) -> Member:
    readers = recipients if part.readers is None else part.readers
    return points.write(point, place, stored_name(part.name, encrypted=bool(readers)), part.write, readers, told)


def _manifest(
    source: Source, reading: Reading, point: str, run_id: str, began: datetime, recipients: Sequence[str]
) -> Manifest:
    return Manifest(
        source=source.name,
        kind=source.kind,
        point=point,
        place="",
        run=run_id,
        state_at=reading.at,
        began_at=began,
        ended_at=began,
        state=reading.state,
        members=(),
        tools=reading.tools,
        recipients=tuple(recipients),
        state_until=reading.until,
    )

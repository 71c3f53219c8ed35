"""The report of all sources as it is stored and handed on, and as it is read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import rfc8785

from platform_ops.backups import proofs
from platform_ops.backups.history import Kept
from platform_ops.backups.overview import Day, ListedPoint, Measured, Row, Standing
from platform_ops.common.errors import FailNow

FORMAT = "platform-ops/backup-report/1"
FACT = "report"
"""Under which the step that makes it hands it on."""


class BadReport(FailNow):
    """What lies where a report should is none."""


@dataclass(frozen=True, slots=True)
class Report:
    """Where all sources stood at a time, the worst first."""

    at: datetime
    rows: tuple[Row, ...]

    @property
    def proven(self) -> int:
        """Return how many sources are proven and in time."""
        return sum(row.standing is Standing.PROVEN for row in self.rows)

    @property
    def sentence(self) -> str:
        """Return the whole in one sentence."""
        if not self.rows:
            return "The catalogue has no source, so nothing is backed up."
        told = f"{self.proven} of {len(self.rows)} sources are proven and in time"
        worst = "; ".join(f"{row.name}: {row.standing}" for row in self.rows if row.standing is not Standing.PROVEN)
        return f"{told}. {worst}." if worst else f"{told}."


def as_dict(report: Report) -> dict[str, Any]:
    """Return the plain form."""
    return {
        "format": FORMAT,
        "at": report.at.isoformat(timespec="seconds"),
        "sentence": report.sentence,
        "sources": [_row(row) for row in report.rows],
    }


def write(report: Report) -> bytes:
    """Return the report as it is stored."""
    return rfc8785.dumps(as_dict(report))


def read(document: object) -> Report:
    """Return the report a plain form tells of.

    :raises BadReport: it tells of none.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise BadReport(f"This is no report of format {FORMAT}. Start report_backups, which makes one.")
    try:
        return Report(_moment(document["at"]), tuple(_read_row(fields) for fields in document["sources"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadReport(f"The report can't be read ({error!r}). Start report_backups, which makes one.") from error


def _row(row: Row) -> dict[str, Any]:
    return {
        "source": row.name,
        "owner": row.owner,
        "kind": row.kind,
        "standing": row.standing.value,
        "reasons": list(row.reasons),
        "points": row.points,
        "listed": [_listed(one) for one in row.listed],
        "last": row.last
        and {
            "point": row.last.point,
            "state_at": row.last.state_at.isoformat(timespec="seconds"),
            "stored_size": row.last.stored_size,
            "verified": row.last.verified,
        },
        "proof": row.proof and proofs.as_dict(row.proof),
        "proof_age_seconds": _seconds(row.proof_age),
        "exposed_seconds": _seconds(row.exposed),
        "rpo": _measured(row.rpo),
        "rto": _measured(row.rto),
        "size": row.size,
        "growth": None if row.growth is None else round(row.growth, 4),
        "days": [[day.size, _seconds(day.rto), day.failed] for day in row.days],
    }


def _read_row(fields: Mapping[str, Any]) -> Row:
    last, proof = fields["last"], fields["proof"]
    return Row(
        name=str(fields["source"]),
        owner=str(fields["owner"]),
        kind=str(fields["kind"]),
        standing=Standing(fields["standing"]),
        reasons=tuple(str(one) for one in fields["reasons"]),
        points=int(fields["points"]),
        # A report that an earlier version made lists none.
        listed=tuple(_read_listed(*one) for one in fields.get("listed", ())),
        last=last
        and Kept(str(last["point"]), _moment(last["state_at"]), int(last["stored_size"]), last["verified"] is True),
        proof=proof and proofs.from_dict(proof),
        proof_age=_span(fields["proof_age_seconds"]),
        exposed=_span(fields["exposed_seconds"]),
        rpo=_read_measured(fields["rpo"]),
        rto=_read_measured(fields["rto"]),
        size=None if fields["size"] is None else int(fields["size"]),
        growth=None if fields["growth"] is None else float(fields["growth"]),
        days=tuple(
            Day(None if size is None else int(size), _span(rto), failed is True) for size, rto, failed in fields["days"]
        ),
    )


def _listed(one: ListedPoint) -> list[object]:
    kept, proven = one.kept, one.proven_at
    at = kept.state_at.isoformat(timespec="seconds")
    return [kept.point, at, kept.stored_size, kept.verified, proven and proven.isoformat(timespec="seconds")]


def _read_listed(point: object, at: str, size: object, verified: object, proven: str | None) -> ListedPoint:
    kept = Kept(str(point), _moment(at), int(str(size)), verified is True)
    return ListedPoint(kept, None if proven is None else _moment(proven))


def _measured(measured: Measured) -> dict[str, float | None]:
    return {f"{name}_seconds": _seconds(getattr(measured, name)) for name in ("target", "last", "worst")}


def _read_measured(fields: Mapping[str, Any]) -> Measured:
    return Measured(*(_span(fields[f"{name}_seconds"]) for name in ("target", "last", "worst")))


def _seconds(time: timedelta | None) -> float | None:
    return None if time is None else round(time.total_seconds(), 1)


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return moment

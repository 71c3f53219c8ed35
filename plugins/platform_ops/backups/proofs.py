"""What a drill found: a point that was restored and compared, or one that could not be."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Proof:
    """One drill of a source.

    :param proven: whether the point was restored and is what was backed up.
    :param rpo: from the state of the point to the start of the drill; None where nothing was measured.
    :param rto: from the start of the restore to the end of the comparison; None where nothing was measured.
    :param why: the sentence of a drill that proved nothing.
    """

    at: datetime
    point: str
    run: str
    proven: bool
    rpo: timedelta | None = None
    rto: timedelta | None = None
    why: str = ""


def as_dict(proof: Proof) -> dict[str, Any]:
    """Return the plain form."""
    return {
        "at": proof.at.isoformat(timespec="seconds"),
        "point": proof.point,
        "run": proof.run,
        "proven": proof.proven,
        "rpo_seconds": _seconds(proof.rpo),
        "rto_seconds": _seconds(proof.rto),
        "why": proof.why[:LONGEST_REASON],
    }


def from_dict(fields: dict[str, Any]) -> Proof:
    """Return the proof a plain form tells of.

    :raises KeyError, TypeError, ValueError: it tells of none.
    """
    at = datetime.fromisoformat(fields["at"])
    if at.tzinfo is None:
        raise ValueError("its time has no zone")
    return Proof(
        at=at,
        point=str(fields["point"]),
        run=str(fields["run"]),
        proven=fields["proven"] is True,
        rpo=_span(fields["rpo_seconds"]),
        rto=_span(fields["rto_seconds"]),
        why=str(fields["why"]),
    )


def read_proof(body: bytes) -> Proof | None:
    """Return a stored proof; None for what is none: it proves nothing."""
    try:
        return from_dict(json.loads(body))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def last_proven(proofs: Iterable[Proof]) -> Proof | None:
    """Return the newest drill that proved its point."""
    return max((proof for proof in proofs if proof.proven), key=lambda proof: proof.at, default=None)


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 1)


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)

"""The rules of an approval: who may answer, what the answer is bound to, whether it counts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from platform_ops.approvals.identities import Identities
from platform_ops.common.errors import Refused
from platform_ops.common.records import Answer

APPROVE = "Approve"
REJECT = "Reject"
_BOUND = re.compile(r"Bound to ([0-9a-f]{64})")


class ApprovalError(Refused):
    """There is no valid yes."""


class TooFewApprovers(ApprovalError):
    """After leaving out everyone who took part, not enough people are left to ask."""


class NotApproved(ApprovalError):
    """Nobody was asked, or nobody has answered."""


class ApprovalRejected(ApprovalError):
    """Somebody said no."""


class ApprovalExpired(ApprovalError):
    """Nobody answered in time, or the answer is too old; that means no."""


class ApprovalForeign(ApprovalError):
    """The answer is to another question, or from somebody who may not answer."""


class AskedOtherwise(ApprovalError):
    """What Airflow keeps of a gate's earlier try is not what would be asked now."""


@dataclass(frozen=True, slots=True)
class Yes:
    """A yes that counts.

    :param by: Airflow account.
    """

    by: str
    at: datetime


def binding(subject: Mapping[str, str]) -> str:
    """Return the hash that ties an answer to exactly what was asked, down to digest and run."""
    return hashlib.sha256(json.dumps(dict(subject), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def binding_line(bound_to: str) -> str:
    """Return the last line of a request's text, which carries its binding."""
    return f"Bound to {bound_to}"


def bound_by(text: str) -> str | None:
    """Return the binding a request's text carries.

    Only the last line counts: the lines above quote commit titles, which anybody may write.
    """
    found = _BOUND.fullmatch(text.rpartition("\n")[2])
    return found[1] if found else None


def participants(
    identities: Identities, *, emails: Collection[str], mergers: Collection[str], starter: str | None
) -> frozenset[str]:
    """Return the Airflow accounts of those who took part: authors, committers, mergers and the starter.

    :raises UnknownPerson: an author, committer or merger is not in the identities file.
    """
    people = [identities.by_email(email) for email in sorted(emails)]
    people += [identities.by_gitlab(user) for user in sorted(mergers)]
    accounts = {person.airflow for person in people if person.airflow}
    return frozenset(accounts | ({starter} if starter else set()))


def may_answer(
    identities: Identities, approvers: Sequence[str], excluded: Collection[str], quorum: int
) -> tuple[str, ...]:
    """Return who may be asked, in the catalogue's order.

    :raises TooFewApprovers: fewer than the quorum are left; nobody is asked then, since an empty list admits everyone.
    """
    # A directory behind Airflow does not tell accounts apart by the case of their letters.
    known = {name.casefold(): name for name in reversed(approvers) if identities.by_airflow(name)}
    out = {name.casefold() for name in excluded}
    left = tuple(name for name in approvers if known.get(name.casefold()) == name and name.casefold() not in out)
    if len(left) < quorum:
        raise TooFewApprovers(
            f"{quorum} of {', '.join(approvers)} must agree, and only {', '.join(left) or 'nobody'} may: the others "
            "wrote, committed, merged or started this, or are not in include/identities.yaml. "
            "Have somebody else start it, or add an approver to the catalogue.",
            facts={"approvers": list(approvers), "excluded": sorted(excluded)},
        )
    return left


def judge(
    answers: Mapping[str, Answer | None],
    *,
    quorum: int,
    bound_to: str,
    allowed: Collection[str],
    now: datetime,
    expires_after: timedelta,
) -> tuple[Yes, ...]:
    """Return the yes of each gate; they come from different people.

    :param answers: by the gate they were given at; None where nothing was asked.
    :param quorum: how many gates must have been asked.
    :raises ApprovalError: the class says why this is not a yes.
    """
    if len(answers) < max(quorum, 1):
        raise NotApproved(f"{quorum} must agree, and {len(answers)} were asked for approval. Clear the gates to ask.")
    approved: list[Yes] = []
    for gate, answer in answers.items():
        yes = _yes(gate, answer, bound_to, allowed)
        if yes.by in {earlier.by for earlier in approved}:
            raise ApprovalForeign(
                f"{yes.by} answered twice; the quorum counts different people. Start a new run to ask again."
            )
        approved.append(yes)
    # Last, because a no, or a silence, says more: the second is asked until the first yes is too old.
    for yes in approved:
        if now - yes.at > expires_after:
            raise ApprovalExpired(
                f"The approval by {yes.by} is older than {expires_after}. Start a new run to ask again."
            )
    return tuple(approved)


def _yes(gate: str, answer: Answer | None, bound_to: str, allowed: Collection[str]) -> Yes:
    if answer is None or answer.answered_at is None:
        raise NotApproved(
            f"No answer to {gate} since it was last started or cleared is on Airflow's server. Clear it to ask again."
        )
    if answer.by is None:
        raise ApprovalExpired(f"Nobody answered {gate} in time; that means no. Start a new run to ask again.")
    if answer.chosen != (APPROVE,):
        raise ApprovalRejected(f"{answer.by} said no.", facts={"rejected_by": answer.by})
    if bound_by(answer.body) != bound_to:
        raise ApprovalForeign(
            f"{answer.by} approved something else: what the request showed has changed since. Start a new run.",
            facts={"approved": bound_by(answer.body), "now": bound_to},
        )
    if answer.by not in allowed:
        raise ApprovalForeign(f"{answer.by} may not approve this: only {', '.join(sorted(allowed))} may.")
    return Yes(answer.by, answer.answered_at)

"""A release's question to people: what is shown, who may answer, and whether there is a yes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from platform_ops.approvals.answers import answers as given_answers
from platform_ops.approvals.identities import load_identities
from platform_ops.approvals.policy import ApprovalPolicy
from platform_ops.approvals.rules import Yes, binding, judge, may_answer, participants
from platform_ops.common.records import Answer
from platform_ops.delivery.names import GATES
from platform_ops.delivery.pins import Pin, difference_hash
from platform_ops.delivery.release import Release
from platform_ops.delivery.source import Source
from platform_ops.systems.git.models import Commit


@dataclass(frozen=True, slots=True)
class Question:
    """What a person agrees to.

    :param bound_to: hash of everything below that an answer depends on.
    :param commits: what the release brings, newest first.
    """

    policy: ApprovalPolicy
    digest: str
    diff: str
    commits: Sequence[Commit]
    may_answer: tuple[str, ...]
    bound_to: str


def question(release: Release, source: Source, pin: Pin | None, digest: str, diff: str) -> Question | None:
    """Put the question together from the systems as they are now; None when no person needs to agree.

    :raises UnknownPerson: somebody who took part is not in the identities file.
    :raises TooFewApprovers: not enough are left to ask.
    """
    policy = release.target.approval
    if policy is None or not diff:
        return None
    commits = source.commits_since(pin, release.commit)
    identities = load_identities()
    # Every one: a fast-forward or a squash leaves no merge commit, and yet somebody merged it.
    asked_gitlab = {commit.sha for commit in commits} | {release.commit}
    excluded = participants(
        identities,
        emails={email for commit in commits for email in (commit.author_email, commit.committer_email)},
        mergers={user for sha in asked_gitlab for user in release.gitlab.mergers(release.service.project, sha)},
        starter=release.started_by,
    )
    return Question(
        policy=policy,
        digest=digest,
        diff=diff,
        commits=commits,
        may_answer=may_answer(identities, policy.approvers, excluded, policy.quorum),
        bound_to=binding(
            {
                "service": release.service.name,
                "environment": release.environment,
                "commit": release.commit,
                "digest": digest,
                "diff": difference_hash(diff),
                # A yes given under another rule doesn't count, and lowering the quorum hides no answer.
                "quorum": str(policy.quorum),
                "run": release.run_id,
            }
        ),
    )


def answers(release: Release, count: int) -> dict[str, Answer | None]:
    """Return what Airflow's server keeps of the answers at the first gates."""
    return given_answers(release.dag_id, release.run_id, GATES[:count])


def approved_by(asked: Question, given: Mapping[str, Answer | None], quorum: int) -> tuple[Yes, ...]:
    """Return the yes of as many different people.

    :raises ApprovalError: there are not as many.
    """
    return judge(
        given,
        quorum=quorum,
        bound_to=asked.bound_to,
        allowed=asked.may_answer,
        now=datetime.now(UTC),
        expires_after=asked.policy.expires_after,
    )

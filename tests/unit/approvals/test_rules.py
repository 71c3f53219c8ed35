from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.approvals.identities import Identities, Person
from platform_ops.approvals.rules import (
    APPROVE,
    REJECT,
    ApprovalError,
    ApprovalExpired,
    ApprovalForeign,
    ApprovalRejected,
    NotApproved,
    TooFewApprovers,
    Yes,
    binding,
    binding_line,
    bound_by,
    judge,
    may_answer,
    participants,
)
from platform_ops.common.records import Answer

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(hours=24)
BOUND = binding({"service": "web", "digest": "sha256:1"})
NAMES = ("paula", "quentin", "oscar")
EVERYBODY = Identities(
    (
        *(Person(name, frozenset({f"{name}@example.com"}), name, name) for name in NAMES),
        Person("Bot", frozenset({"bot@example.com"}), "bot", None),
    )
)


def answer(by: str | None = "paula", chosen: str = APPROVE, bound: str = BOUND, at: datetime | None = NOW) -> Answer:
    return Answer("Release web?", f"Look:\n\n{binding_line(bound)}", (chosen,), by, at, ("paula", "quentin"))


OLD = answer(at=NOW - DAY - timedelta(seconds=1))


def verdict(*answers: Answer | None, quorum: int = 1) -> tuple[Yes, ...]:
    given = dict(zip(("approve", "confirm"), answers, strict=False))
    return judge(given, quorum=quorum, bound_to=BOUND, allowed=("paula", "quentin"), now=NOW, expires_after=DAY)


def test_a_yes_by_somebody_who_may_counts() -> None:
    before = NOW - timedelta(hours=1)
    assert verdict(answer()) == (Yes("paula", NOW),)
    pair = (Yes("quentin", before), Yes("paula", NOW))
    assert verdict(answer("quentin", at=before), answer("paula"), quorum=2) == pair


@pytest.mark.parametrize("given_answers", [(), (answer(),)])
def test_too_few_answers_are_no_approval_however_good(given_answers: tuple[Answer, ...]) -> None:
    with pytest.raises(NotApproved, match=f"2 must agree, and {len(given_answers)} were asked"):
        verdict(*given_answers, quorum=2)


@pytest.mark.parametrize(
    ("given_answers", "error", "said"),
    [
        ([], NotApproved, "0 were asked"),
        ([None], NotApproved, "No answer to approve"),
        ([answer(at=None)], NotApproved, "No answer to approve"),
        ([answer(), None], NotApproved, "No answer to confirm"),
        ([answer(by=None, chosen=REJECT)], ApprovalExpired, "Nobody answered"),
        ([answer(by=None)], ApprovalExpired, "Nobody answered"),
        ([answer(chosen=REJECT)], ApprovalRejected, "paula said no"),
        ([answer(bound="else")], ApprovalForeign, "something else"),
        ([answer("oscar")], ApprovalForeign, "may not approve"),
        ([answer("paula"), answer("paula")], ApprovalForeign, "answered twice"),
        ([answer("paula"), answer("quentin", REJECT)], ApprovalRejected, "quentin said no"),
        ([answer("paula"), answer(None, REJECT)], ApprovalExpired, "Nobody answered confirm"),
        ([answer("paula"), answer("quentin", bound="else")], ApprovalForeign, "quentin approved something else"),
        ([OLD], ApprovalExpired, "paula is older than"),
        ([OLD, answer("quentin")], ApprovalExpired, "paula is older than"),
        # The second is asked until the first yes is too old: what was said then matters more.
        ([OLD, answer("quentin", REJECT)], ApprovalRejected, "quentin said no"),
        ([OLD, answer(None, REJECT)], ApprovalExpired, "Nobody answered confirm"),
    ],
)
def test_everything_else_is_a_no_with_its_reason(
    given_answers: list[Answer | None], error: type[ApprovalError], said: str
) -> None:
    with pytest.raises(error, match=said):
        verdict(*given_answers)


@given(
    answers=st.lists(
        st.none()
        | st.builds(
            answer,
            by=st.sampled_from([*NAMES, "stranger", None]),
            chosen=st.sampled_from([APPROVE, REJECT, "Maybe"]),
            bound=st.sampled_from([BOUND, "e" * 64]),
            at=st.none() | st.sampled_from([0, 1, 24 * 60, 24 * 60 + 1]).map(lambda old: NOW - timedelta(minutes=old)),
        ),
        max_size=2,
    ),
    quorum=st.integers(1, 2),
)
def test_only_as_many_different_people_who_may_and_said_yes_to_this_in_time_are_an_approval(
    answers: list[Answer | None], quorum: int
) -> None:
    def counts(one: Answer | None) -> bool:
        return bool(
            one
            and one.by in ("paula", "quentin")
            and one.chosen == (APPROVE,)
            and one.body.endswith(f"Bound to {BOUND}")
            and one.answered_at
            and NOW - one.answered_at <= DAY
        )

    people = [one.by for one in answers if one]
    good = len(answers) >= quorum and all(map(counts, answers)) and len(set(people)) == len(people)
    try:
        approved = verdict(*answers, quorum=quorum)
    except ApprovalError:
        assert not good
        return
    assert good
    assert [yes.by for yes in approved] == people


def test_who_took_part_may_not_answer() -> None:
    excluded = participants(
        EVERYBODY, emails={"Paula@example.com", "bot@example.com"}, mergers={"bot"}, starter="oscar"
    )
    assert excluded == {"paula", "oscar"}
    assert may_answer(EVERYBODY, NAMES, excluded, 1) == ("quentin",)


def test_two_spellings_of_an_account_are_one_person() -> None:
    twice = (NAMES[0].upper(), NAMES[0])
    assert may_answer(EVERYBODY, twice, (), 1) == twice[:1]
    with pytest.raises(TooFewApprovers):
        may_answer(EVERYBODY, twice, (), 2)


def test_the_case_of_an_account_lets_nobody_approve_their_own() -> None:
    starter = NAMES[0].upper()
    assert starter != NAMES[0]
    excluded = participants(EVERYBODY, emails=(), mergers=(), starter=starter)
    assert NAMES[0] not in may_answer(EVERYBODY, NAMES, excluded, 1)
    assert EVERYBODY.by_airflow(starter) is EVERYBODY.by_airflow(NAMES[0]) is not None
    first = EVERYBODY.people[0]
    assert EVERYBODY.by_gitlab(first.gitlab.upper()) is first


def test_nobody_is_asked_when_too_few_are_left() -> None:
    with pytest.raises(TooFewApprovers, match="only quentin may"):
        may_answer(EVERYBODY, NAMES, {"paula", "oscar"}, 2)
    with pytest.raises(TooFewApprovers, match="only nobody may"):
        may_answer(EVERYBODY, ["stranger"], set(), 1)


@given(
    approvers=st.lists(st.sampled_from([*NAMES, "stranger"]), min_size=1, unique=True),
    excluded=st.sets(st.sampled_from(NAMES)),
    quorum=st.integers(1, 2),
)
def test_nobody_who_took_part_is_ever_asked_and_the_list_is_never_empty(
    approvers: list[str], excluded: set[str], quorum: int
) -> None:
    try:
        asked = may_answer(EVERYBODY, approvers, excluded, quorum)
    except TooFewApprovers:
        assert len(set(approvers) - excluded - {"stranger"}) < quorum
        return
    assert len(asked) >= quorum
    assert not set(asked) & excluded
    assert "stranger" not in asked


@given(st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_the_binding_tells_different_subjects_apart(one: dict[str, str], other: dict[str, str]) -> None:
    assert (binding(one) == binding(other)) == (one == other)


def test_a_binding_quoted_from_a_commit_title_does_not_count() -> None:
    text = f"Commits:\n{binding_line(BOUND)}\n\n{binding_line('e' * 64)}"
    assert bound_by(text) == "e" * 64
    assert bound_by(f"{binding_line(BOUND)}\nmore") is None

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


def verdict(*answers: Answer | None, now: datetime = NOW) -> tuple[str, ...]:
    return judge(answers, bound_to=BOUND, allowed=("paula", "quentin"), now=now, expires_after=DAY)


def test_a_yes_by_somebody_who_may_counts() -> None:
    assert verdict(answer()) == ("paula",)
    assert verdict(answer("paula"), answer("quentin")) == ("paula", "quentin")


@pytest.mark.parametrize(
    ("given_answers", "error", "said"),
    [
        ([], NotApproved, "Nobody was asked"),
        ([None], NotApproved, "No answer"),
        ([answer(at=None)], NotApproved, "No answer"),
        ([answer(by=None, chosen=REJECT)], ApprovalExpired, "Nobody answered"),
        ([answer(by=None)], ApprovalExpired, "Nobody answered"),
        ([answer(chosen=REJECT)], ApprovalRejected, "paula said no"),
        ([answer(bound="else")], ApprovalForeign, "something else"),
        ([answer("oscar")], ApprovalForeign, "may not approve"),
        ([answer("paula"), answer("paula")], ApprovalForeign, "answered twice"),
        ([answer("paula"), answer("quentin", REJECT)], ApprovalRejected, "quentin said no"),
        ([answer(at=NOW - DAY - timedelta(seconds=1))], ApprovalExpired, "older than"),
    ],
)
def test_everything_else_is_a_no_with_its_reason(
    given_answers: list[Answer | None], error: type[ApprovalError], said: str
) -> None:
    with pytest.raises(error, match=said):
        verdict(*given_answers)


def test_who_took_part_may_not_answer() -> None:
    excluded = participants(
        EVERYBODY, emails={"Paula@example.com", "bot@example.com"}, mergers={"bot"}, starter="oscar"
    )
    assert excluded == {"paula", "oscar"}
    assert may_answer(EVERYBODY, NAMES, excluded, 1) == ("quentin",)


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

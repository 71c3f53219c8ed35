"""How a finding is judged, and what several add up to."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.common.errors import Unreachable
from platform_ops.common.permissions import (
    VALID,
    CheckedConnection,
    Finding,
    Permission,
    State,
    is_broken,
    lasts,
    summary,
    token_lasts,
    worst_first,
)
from sandbox.contract import web_token

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
WANTED = Permission("list pods", "verify_running needs it")
UNWANTED = Permission("get secrets", "they could be read", wanted=False)


@pytest.mark.parametrize(
    ("row", "allowed", "state", "sentence"),
    [
        (WANTED, True, State.OK, "list pods is granted in shop."),
        (
            WANTED,
            False,
            State.MISSING,
            "list pods is not granted in shop: verify_running needs it. Grant it: the Role.",
        ),
        (UNWANTED, True, State.TOO_MUCH, "get secrets is granted in shop: they could be read. Take it away: the Role."),
        (UNWANTED, False, State.OK, "get secrets is not granted in shop, as it should be."),
    ],
)
def test_a_permission_is_judged_by_whether_it_is_wanted(row, allowed, state, sentence):
    assert row.judge(allowed=allowed, where="in shop", do="the Role") == Finding(row, state, sentence)


@pytest.mark.parametrize(
    ("left", "state"),
    [
        (None, State.OK),
        (timedelta(days=14, seconds=1), State.OK),
        (timedelta(days=14), State.EXPIRES),
        (timedelta(seconds=1), State.EXPIRES),
        (timedelta(), State.MISSING),
        (timedelta(days=-3), State.MISSING),
    ],
)
def test_a_credential_warns_fourteen_days_before_its_end(left, state):
    found = lasts(None if left is None else NOW + left, now=NOW, renew="Make a new one")
    assert (found.permission, found.state) == (VALID, state)
    assert (state is State.OK) == ("Make a new one" not in found.sentence)


@pytest.mark.parametrize(
    ("token", "state"),
    [
        (web_token(sub="x"), State.OK),
        (web_token(exp=int((NOW + timedelta(days=10)).timestamp())), State.EXPIRES),
        ("opaque", State.UNKNOWN),
        ("a.b.c", State.UNKNOWN),
        ("a.W10.c", State.UNKNOWN),
    ],
)
def test_only_a_web_token_tells_its_end(token, state):
    assert token_lasts(token, now=NOW, renew="Renew").state is state


@given(st.text())
def test_no_token_however_odd_breaks_the_check(token):
    assert token_lasts(token, now=NOW, renew="Renew").state is State.UNKNOWN


def findings(*states):
    return [Finding(WANTED, State(state), f"It is {state}.") for state in states]


def test_the_worst_comes_first_and_is_what_the_summary_tells():
    found = findings("ok", "unknown", "missing", "ok", "too much", "expires")
    assert [one.state for one in worst_first(found)] == ["missing", "expires", "too much", "unknown", "ok", "ok"]
    assert summary(found) == "It is missing. (1 missing, 1 expires, 1 too much, 1 unknown, 2 ok)"
    assert summary(findings("ok")) == "Everything needed is there and nothing more (1 ok)."


@given(st.lists(st.sampled_from(list(State))))
def test_unknown_is_never_told_as_fine_and_only_missing_breaks(states):
    found = findings(*states)
    assert is_broken(found) == (State.MISSING in states)
    assert summary(found).startswith("Everything") == (set(states) <= {State.OK})


class Connection(CheckedConnection):
    def __init__(self, answer):
        self.answer = answer

    def check_permissions(self, places=()):
        if isinstance(self.answer, Exception):
            raise self.answer
        return tuple(self.answer)


@pytest.mark.parametrize(
    ("answer", "good", "words"),
    [
        (findings("ok", "too much"), True, "It is too much."),
        (findings("ok", "missing"), False, "It is missing."),
        (Unreachable("Nobody answers."), False, "Nobody answers."),
        (ValueError("path in endpoint is not allowed"), False, "path in endpoint is not allowed"),
    ],
)
def test_airflows_connection_test_says_the_same(answer, good, words):
    worked, said = Connection(answer).test_connection()
    assert worked is good
    assert words in said

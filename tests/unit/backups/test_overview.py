"""Where sources stand: by example, and that nothing known is never fine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.backups.history import History
from platform_ops.backups.overview import Observed, Standing, overview, row
from tests.unit.backups.made import DAY, HOUR, MINUTE, NOW, every_kind, failed, good, history, kept, proof, source

POINTS = [kept(9 * HOUR)]


@pytest.mark.parametrize(
    ("observed", "standing", "says"),
    [
        (good(), Standing.PROVEN, ""),
        (Observed("web", source(), trouble="No answer."), Standing.UNREADABLE, "No answer."),
        (Observed("web", None, trouble="line 3: kind"), Standing.UNREADABLE, "line 3: kind"),
        (
            Observed("web", source(), history(POINTS, [proof(HOUR)], spoilt=("x is no manifest.",))),
            Standing.UNREADABLE,
            "x is no",
        ),
        (Observed("web", source()), Standing.NEVER_BACKED_UP, "It has no point"),
        (
            Observed("web", source(), history([kept(HOUR, verified=False)], [])),
            Standing.NEVER_VERIFIED,
            "None of its points was verified",
        ),
        (Observed("web", source(), history(POINTS, [])), Standing.NEVER_PROVEN, "was ever restored"),
        (Observed("web", source(), history(POINTS, [failed(HOUR)])), Standing.NEVER_PROVEN, "was ever restored"),
        (
            Observed("web", source(), history(POINTS, [failed(HOUR), proof(DAY)])),
            Standing.RESTORE_FAILED,
            "The newest drill failed: tree.tar has other bytes.",
        ),
        (Observed("web", source(), history(POINTS, [proof(HOUR), failed(DAY)])), Standing.PROVEN, ""),
        (
            Observed("web", source(), history(POINTS, [proof(8 * DAY)])),
            Standing.LATE,
            "The last proof is 8 d old; one is due every 7 d.",
        ),
        (
            Observed("web", source(), history([kept(27 * HOUR)], [proof(HOUR)])),
            Standing.LATE,
            "The newest verified state is 1 d 3 h old; at most 1 d 2 h may be lost.",
        ),
        (
            Observed("web", source(), history(POINTS, [proof(HOUR, rto=16 * MINUTE)])),
            Standing.OVER_TARGET,
            "16 min to restore and compare it; the target is 15 min.",
        ),
        (
            Observed("web", source(), history(POINTS, [proof(HOUR, rpo=30 * HOUR)])),
            Standing.OVER_TARGET,
            "1 d 6 h of data would have been lost; the target is 1 d 2 h.",
        ),
    ],
)
def test_a_source_stands_as_the_worst_of_what_is_wrong(observed: Observed, standing: Standing, says: str) -> None:
    found = row(observed, NOW)
    assert found.standing is standing
    assert says in (found.reasons[0] if found.reasons else "")
    assert bool(found.reasons) is (standing is not Standing.PROVEN)


def test_an_unverified_newer_point_does_not_count_for_what_would_be_lost() -> None:
    points = [kept(HOUR, verified=False), kept(30 * HOUR)]
    found = row(Observed("web", source(), history(points, [proof(HOUR)])), NOW)
    assert found.standing is Standing.LATE
    assert found.exposed == 30 * HOUR
    assert found.last == points[0]


def test_last_and_worst_are_those_of_proven_drills_of_thirty_days() -> None:
    proofs = [
        failed(HOUR),
        proof(2 * DAY, rpo=2 * HOUR, rto=3 * MINUTE),
        proof(9 * DAY, rpo=5 * HOUR, rto=2 * MINUTE),
        proof(31 * DAY, rpo=20 * HOUR, rto=14 * MINUTE),
    ]
    found = row(Observed("web", source(), history(POINTS, proofs)), NOW)
    assert (found.rpo.last, found.rpo.worst) == (2 * HOUR, 5 * HOUR)
    assert (found.rto.last, found.rto.worst) == (3 * MINUTE, 3 * MINUTE)
    assert found.proof_age == 2 * DAY


def test_a_proof_older_than_thirty_days_is_the_last_and_no_worst() -> None:
    found = row(Observed("web", source(drill_every=90 * DAY), history(POINTS, [proof(40 * DAY)])), NOW)
    assert found.standing is Standing.PROVEN
    assert (found.rto.last, found.rto.worst) == (MINUTE, None)


def test_growth_is_from_the_oldest_point_of_thirty_days() -> None:
    points = [kept(HOUR, 300), kept(10 * DAY, 250), kept(29 * DAY, 200), kept(31 * DAY, 10)]
    found = row(Observed("web", source(), history(points, [])), NOW)
    assert (found.size, found.growth) == (300, 0.5)
    assert row(Observed("web", source(), history(points[:1], [])), NOW).growth is None


def test_days_hold_their_newest_point_their_slowest_restore_and_their_failures() -> None:
    points = [kept(HOUR, 3), kept(2 * HOUR, 2), kept(25 * HOUR, 1), kept(30 * DAY, 9)]
    proofs = [proof(HOUR, rto=MINUTE), proof(2 * HOUR, rto=4 * MINUTE), failed(29 * DAY)]
    days = row(Observed("web", source(), history(points, proofs)), NOW).days
    assert len(days) == 30
    assert (days[-1].size, days[-1].rto, days[-1].failed) == (3, 4 * MINUTE, False)
    assert (days[-2].size, days[-2].rto) == (1, None)
    assert (days[0].size, days[0].failed) == (None, True)


def test_never_proven_and_late_ones_come_first_of_equals_the_oldest_proof() -> None:
    names = [found.name for found in every_kind().rows]
    assert names == [
        "away", "broken", "empty", "half", "orders", "spoilt", "old", "gitops", "slow", "archive",
        "web-content-of-all-shops-and-their-imag",
    ]  # fmt: skip


ages = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=60))
proofs_of = st.lists(st.one_of(ages.map(proof), ages.map(failed)), max_size=5).map(
    lambda found: tuple(sorted(found, key=lambda one: one.at, reverse=True))
)
points_of = st.lists(st.tuples(ages, st.booleans()), max_size=5).map(
    lambda found: tuple(kept(age, verified=verified) for age, verified in sorted(found))
)
observations = st.builds(
    lambda name, points, proofs, trouble: Observed(
        name, source(name), History(len(points), points, proofs) if not trouble else History(), trouble
    ),
    st.from_regex(r"[a-z]{2,8}", fullmatch=True),
    points_of,
    proofs_of,
    st.sampled_from(["", "", "", "No answer."]),
)


@given(observations)
def test_fine_is_only_what_is_known_to_be_fine(observed: Observed) -> None:
    found = row(observed, NOW)
    known = (
        not observed.trouble
        and any(point.verified and NOW - point.state_at <= 26 * HOUR for point in observed.history.points)
        and any(one.proven and NOW - one.at <= 7 * DAY for one in observed.history.proofs)
        and max(observed.history.proofs, key=lambda one: one.at).proven
    )
    assert (found.standing is Standing.PROVEN) is known


@given(observations)
def test_to_know_less_makes_nothing_better(observed: Observed) -> None:
    now = row(observed, NOW).standing.rank
    without = replace(observed.history, points=(), count=0)
    assert row(replace(observed, history=without), NOW).standing.rank <= now
    unproven = replace(observed.history, proofs=tuple(one for one in observed.history.proofs if not one.proven))
    assert row(replace(observed, history=unproven), NOW).standing.rank <= now
    assert row(replace(observed, history=History(), trouble="No answer."), NOW).standing is Standing.UNREADABLE


@given(st.lists(observations, max_size=6))
def test_every_source_has_one_row_and_the_worst_come_first(observed: list[Observed]) -> None:
    rows = overview(observed, NOW)
    assert sorted(found.name for found in rows) == sorted(one.name for one in observed)
    assert [found.standing.rank for found in rows] == sorted(found.standing.rank for found in rows)

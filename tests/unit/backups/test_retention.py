"""What is kept, what goes, what is due: by example and by property."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_ops.backups.points import is_point, point_id, point_time
from platform_ops.backups.retention import fates, is_due, oldest, reached
from platform_ops.backups.sources import Retention, Tier
from tests.unit.backups import made

START = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)
NONE = Retention(0, 0, 0, 0)


def nights(count: int) -> list[str]:
    return [point_id(START + timedelta(days=day), f"run {day}") for day in range(count)]


def kept(points: list[str], retention: Retention, verified: list[str] | None = None) -> list[str]:
    told = fates(points, retention, points if verified is None else verified)
    return [fate.point for fate in told if fate.kept]


def test_the_newest_of_each_day_stays() -> None:
    points = nights(30)
    assert kept(points, Retention(7, 0, 0, 0)) == points[:-8:-1]


def test_weeks_and_months_reach_further_back() -> None:
    points = nights(120)
    months = {point_time(point).month for point in kept(points, Retention(1, 0, 3, 0))}
    assert months == {2, 3, 4}
    assert len(kept(points, Retention(1, 4, 0, 0))) == 4


def test_of_several_points_of_a_day_only_the_newest_stays() -> None:
    points = [point_id(START + timedelta(hours=hour), f"run {hour}") for hour in range(12)]
    assert kept(points, Retention(3, 0, 0, 0)) == [points[-1]]


def test_nothing_goes_before_a_newer_one_is_verified() -> None:
    points = nights(10)
    stays = kept(points, Retention(1, 0, 0, 0), verified=points[:3])
    assert stays == [*points[:2:-1], points[2]]


def test_a_point_that_was_not_verified_stands_for_no_period() -> None:
    points = [point_id(START + timedelta(hours=hour), f"run {hour}") for hour in (0, 1, 24, 25, 48)]
    assert kept(points, Retention(3, 0, 0, 0), verified=[points[0], points[2], points[4]]) == points[::-2]
    told = fates(points, Retention(3, 0, 0, 0), [points[0], points[2], points[4]])
    assert {fate.why for fate in told if not fate.kept} == {"it is not verified, and a newer point is"}


@given(
    hours=st.lists(st.integers(0, 10_000), unique=True, max_size=40),
    numbers=st.tuples(*[st.integers(0, 5)] * 4),
    verified=st.sets(st.integers(0, 39)),
)
def test_unverified_points_take_no_place_from_verified_ones(hours, numbers, verified) -> None:
    points = [point_id(START + timedelta(hours=hour), str(hour)) for hour in hours]
    proven = [points[index] for index in verified if index < len(points)]
    stays = kept(points, Retention(*numbers), proven)
    assert [point for point in stays if point in proven] == kept(proven, Retention(*numbers))


@given(
    hours=st.lists(st.integers(0, 10_000), unique=True, max_size=40),
    numbers=st.tuples(*[st.integers(0, 5)] * 4),
    verified=st.sets(st.integers(0, 39)),
)
def test_the_newest_verified_point_always_stays_and_each_fate_is_told(hours, numbers, verified) -> None:
    points = [point_id(START + timedelta(hours=hour), str(hour)) for hour in hours]
    proven = [points[index] for index in verified if index < len(points)]
    told = fates(points, Retention(*numbers), proven)
    assert [fate.point for fate in told] == sorted(points, reverse=True)
    assert all(fate.why for fate in told)
    if proven:
        assert max(proven) in {fate.point for fate in told if fate.kept}
    else:
        assert all(fate.kept for fate in told)


@given(hours=st.lists(st.integers(0, 10_000), unique=True, max_size=40), numbers=st.tuples(*[st.integers(0, 5)] * 4))
def test_pruning_twice_deletes_nothing_more(hours, numbers) -> None:
    points = [point_id(START + timedelta(hours=hour), str(hour)) for hour in hours]
    once = kept(points, Retention(*numbers))
    assert kept(once, Retention(*numbers)) == once


def test_a_retention_that_keeps_nothing_keeps_the_newest_verified() -> None:
    points = nights(3)
    assert kept(points, NONE) == [points[-1]]


@pytest.mark.parametrize(
    ("tier", "newest", "due"),
    [
        (Tier.HOURLY, None, True),
        (Tier.HOURLY, timedelta(minutes=9), False),
        (Tier.HOURLY, timedelta(minutes=11), True),
        (Tier.NIGHTLY, None, True),
        (Tier.NIGHTLY, timedelta(minutes=30), True),
        (Tier.NIGHTLY, timedelta(minutes=9), False),
    ],
)
def test_what_is_due(changed, tier: Tier, newest: timedelta | None, due: bool) -> None:
    now = datetime(2026, 3, 1, 0, 10, tzinfo=UTC)
    assert is_due(changed(tier=tier), now - newest if newest else None, now) is due


@settings(max_examples=25)
@given(
    tier=st.sampled_from(Tier),
    numbers=st.tuples(*[st.integers(0, 4)] * 4, st.integers(0, 30)).filter(any),
    start=st.integers(0, 400),
)
def test_how_old_points_become(tier: Tier, numbers: tuple[int, ...], start: int) -> None:
    retention = Retention(*numbers)
    source, steps = made.source(tier=tier, retention=retention), 400
    ages, there = [timedelta(0)], list[str]()
    for number in range(steps):
        now = START + timedelta(days=start) + number * tier.every
        there.append(point_id(now, "run"))
        there = kept(there, retention)
        ages += [now - point_time(point) for point in there]
    assert max(ages) <= oldest(source) + tier.every
    if (steps - 1) * tier.every > oldest(source) + timedelta(days=1):
        # A point is kept until the run that comes when it is so old.
        assert max(ages) + tier.every >= reached(source)


@given(at=st.floats(0, 2e9).map(lambda seconds: START + timedelta(seconds=seconds)), run=st.text(max_size=50))
def test_a_point_is_named_by_its_time_and_run(at: datetime, run: str) -> None:
    point = point_id(at, run)
    assert is_point(point)
    assert point_time(point) == at.replace(microsecond=0)
    assert point != point_id(at, run + "x")

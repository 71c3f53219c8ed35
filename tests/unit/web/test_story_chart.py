from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isclose, isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_ops.common.records import Attempt, RunRecord, TaskRecord
from platform_ops.web.story import look_again, tell
from platform_ops.web.story_chart import (
    BREAK_WIDTH,
    MOST_BREAKS,
    NARROW_ROOM,
    ROOM,
    Axis,
    Stretch,
    pauses,
    seconds_by_share,
    stretches,
)
from platform_ops.web.story_model import Chart, ChartRow, Kind
from tests.unit.web.more_runs import later, queued, retried

NOW = datetime(2026, 11, 25, 9, 17, 13, tzinfo=UTC)
NIGHT = timedelta(hours=20, minutes=3)


def drawn(run: RunRecord, now: datetime = NOW) -> Chart:
    chart = tell(run, now=now, airflow_url="http://airflow.example.com").chart
    assert chart
    return chart


def row(chart: Chart, title: str) -> ChartRow:
    return next(row for row in chart.rows if row.title == title)


def task(state: str, started: int | None, ended: int | None, **more: object) -> TaskRecord:
    """Make a task whose times are seconds before or after NOW."""
    moment = lambda seconds: None if seconds is None else NOW + timedelta(seconds=seconds)  # noqa: E731
    return TaskRecord("x", state, moment(started), moment(ended), 1, None, **more)  # type: ignore[arg-type]


def run_of(*tasks: TaskRecord, state: str = "success", **more: object) -> RunRecord:
    run = RunRecord("nightly_backup", "r", state, None, NOW, NOW, NOW + timedelta(seconds=60), {}, tasks)
    return replace(run, **more)  # type: ignore[arg-type]


def test_one_row_per_step_and_one_for_those_of_one_task(sample_runs):
    chart = drawn(sample_runs["released"])
    assert [(row.title, row.worked, row.waited) for row in chart.rows] == [
        ("Commit", "1.4 s", ""),
        ("Tests, Image", "41 s", ""),
        ("Scan", "6.2 s", ""),
        ("Approval", "1.2 s", "2 min 9 s"),
        ("GitOps commit", "1.9 s", ""),
        ("Sync", "12 s", ""),
        ("Pods", "18 s", ""),
        ("Evidence", "1.1 s", ""),
        ("Report", "0.6 s", ""),
    ]
    approval = row(chart, "Approval")
    assert [bar.kind for bar in approval.bars] == [Kind.PERSON, Kind.WORK, Kind.WORK]
    assert approval.words == "09:14:51 to 09:17:03: waited for a person 2 min 9 s, then worked 0.4 s, then worked 0.8 s"
    assert chart.summary.replace("\u00a0", " ") == (
        "3 min 36 s in all: 1 min 23 s of work, 2 min 9 s waiting for a person, 3.7 s between steps."
    )
    assert chart.words == "Time from 2026-11-25 09:14:02 to 09:17:38 UTC"
    assert [tick.time for tick in chart.ticks] == ["09:14:02", "09:15", "09:16", "09:17"]
    assert not chart.breaks


def test_steps_that_took_no_time_have_no_row(sample_runs):
    assert [row.title for row in drawn(sample_runs["superseded"]).rows][-3:] == ["GitOps commit", "Evidence", "Report"]
    red = drawn(sample_runs["red_tests"])
    assert [row.title for row in red.rows] == ["Commit", "Tests, Image", "Evidence", "Report"]
    assert red.rows[1].mark == "failed"


def test_nothing_to_draw_before_the_first_step():
    run = run_of(task("scheduled", None, None), state="queued", started_at=None, ended_at=None)
    assert tell(run, now=NOW, airflow_url="http://a").chart is None


def test_what_goes_on_goes_on_until_now(sample_runs):
    chart = drawn(sample_runs["waiting"])
    assert chart.rows[-1].bars[-1].kind is Kind.PERSON
    assert chart.rows[-1].bars[-1].end == 100
    assert chart.rows[-1].waited == "2 min 21 s"
    assert chart.summary.replace("\u00a0", " ").startswith("3 min 11 s so far: 49 s of work")


def test_a_night_of_waiting_leaves_the_work_its_room(sample_runs):
    day, night = (
        drawn(run) for run in (sample_runs["released"], later(sample_runs["released"], "confirm_release", NIGHT))
    )
    assert [pause.words for pause in night.breaks] == ["20 h 5 min"]
    assert night.words.endswith("UTC, without 20 h 5 min in which no step worked")
    assert row(night, "Approval").waited == "20 h 5 min"
    (pause,) = night.breaks
    assert pause.end - pause.start == pytest.approx(BREAK_WIDTH)
    waits, *works = row(night, "Approval").bars
    assert (waits.start, waits.end) == (pause.start, pytest.approx(pause.end, abs=1))
    assert all(pause.end <= work.start for work in works)
    assert len(works) == 2
    # To scale: what worked twice as long is twice as wide, before and after the break.
    build, pods = row(night, "Tests, Image").bars[0], row(night, "Pods").bars[0]
    assert (build.end - build.start) / (pods.end - pods.start) == pytest.approx(41 / 18, rel=0.01)
    assert build.end - build.start > 2 * (row(day, "Tests, Image").bars[0].end - row(day, "Tests, Image").bars[0].start)
    assert [(tick.time, tick.day) for tick in night.ticks if tick.day] == [
        ("09:14:02", "25 Nov"),
        ("05:20:01", "26 Nov"),
    ]


def test_tries_and_the_waits_between_them(sample_runs):
    chart = drawn(queued(retried(sample_runs["released"], "verify_running", 3)))
    assert [bar.kind for bar in row(chart, "Pods").bars] == [
        Kind.EARLIER, Kind.RETRY, Kind.EARLIER, Kind.RETRY, Kind.QUEUE, Kind.WORK,
    ]  # fmt: skip
    assert "waited for the next try 5.0 s" in row(chart, "Pods").words
    assert row(chart, "Commit").waited == "0.6 s"
    assert chart.kinds == tuple(Kind)


def test_a_step_that_will_be_tried_again_waits():
    told = stretches(task("up_for_retry", -30, -20), end=NOW, live=True)
    assert [(one.kind, one.seconds) for one in told] == [(Kind.EARLIER, 10), (Kind.RETRY, 20)]


def test_a_question_asked_again_waited_for_a_person_both_times():
    first = Attempt(NOW - timedelta(90), NOW - timedelta(90), NOW - timedelta(60))
    asked = replace(task("success", -30, -20, earlier=(first,)), report={"facts": {"may_answer": ["paula"]}})
    assert [one.kind for one in stretches(asked, end=NOW, live=False)] == [Kind.PERSON, Kind.RETRY, Kind.PERSON]


def test_a_task_that_was_resumed_has_been_queued_after_its_start():
    told = stretches(task("success", -30, -20, queued_at=NOW - timedelta(seconds=25)), end=NOW, live=False)
    assert [(one.kind, one.seconds) for one in told] == [(Kind.WORK, 10)]


@pytest.mark.parametrize("state", [None, "scheduled", "queued"])
def test_a_cleared_task_does_not_work_while_it_waits(state):
    """Airflow leaves it the start of its last try."""
    cleared = replace(task("queued", -9000, None), state=state, queued_at=NOW - timedelta(seconds=3))
    told = stretches(cleared, end=NOW, live=True)
    assert [(one.kind, one.seconds) for one in told] == ([(Kind.QUEUE, 3)] if state == "queued" else [])


def test_the_axis_of_a_cleared_run_begins_with_its_first_try():
    run = run_of(task("success", -7200, -7100), replace(task("success", 10, 50), task_id="y"))
    chart = drawn(run)
    assert [row.bars[0].start for row in chart.rows] == [0, pytest.approx(chart.breaks[0].end, abs=0.01)]
    assert chart.breaks[0].words == "1 h 58 min"


def test_a_run_that_has_ended_has_nothing_going_on():
    assert stretches(task("running", -30, None), end=NOW, live=False) == ()


@pytest.mark.parametrize(
    "odd",
    [
        task("success", 10, 5),
        task("success", 10, 10),
        task("running", 100, None),
        task("failed", 0, None),
        task("success", -60, -90, queued_at=NOW + timedelta(days=9)),
    ],
    ids=["ended before it started", "no time", "starts in the future", "failed without end", "all wrong"],
)
@pytest.mark.parametrize("run_state", ["running", "success"])
def test_odd_times_stay_on_the_axis(odd, run_state):
    chart = tell(run_of(odd, state=run_state), now=NOW, airflow_url="http://a").chart
    for bar in (bar for row in chart.rows for bar in row.bars) if chart else ():
        assert 0 <= bar.start < bar.end <= 100


def test_a_step_that_ended_before_it_started_is_there_without_a_length():
    assert [(row.worked, len(row.bars)) for row in drawn(run_of(task("success", 10, 5))).rows] == [("0.0 s", 1)]


def test_a_run_of_no_time_at_all():
    chart = drawn(run_of(task("success", 0, 0), ended_at=NOW))
    assert [(bar.start, bar.end) for bar in chart.rows[0].bars] == [(0, 0.4)]
    assert chart.summary == ""


@pytest.mark.parametrize(
    ("seconds", "times"),
    [
        (4, ["09:17:13", "09:17:14", "09:17:15", "09:17:16", "09:17:17"]),
        (3 * 60, ["09:17:13", "09:18", "09:19", "09:20"]),
        (9 * 3600, ["09:17", "12:00", "14:00", "16:00", "18:00"]),
        (60 * 3600, ["09:17", "00:00", "12:00", "00:00", "12:00"]),
        (9 * 86400, ["09:17", "27 Nov", "29 Nov", "1 Dec", "3 Dec"]),
    ],
)
def test_the_axis_has_round_times(seconds, times):
    ticks = Axis(NOW, NOW + timedelta(seconds=seconds), ()).ticks()
    assert [tick.time for tick in ticks if tick.time] == times


def test_a_beginning_beside_a_round_time_is_written_alone():
    ticks = Axis(NOW.replace(second=59, microsecond=999_999), NOW + timedelta(minutes=3), ()).ticks()
    assert [tick.time for tick in ticks if tick.time][:2] == ["09:17:59", "09:18:30"]


def test_a_day_is_said_where_it_begins():
    ticks = Axis(NOW, NOW + timedelta(hours=60), ()).ticks()
    assert [(tick.time, tick.day) for tick in ticks if tick.day] == [
        ("09:17", "25 Nov"), ("00:00", "26 Nov"), ("00:00", "27 Nov"),
    ]  # fmt: skip


@pytest.mark.parametrize(("quiet", "pause"), [(0, 3), (29, 3), (60, 6), (299, 30), (86400, 30)])
def test_a_page_asks_less_often_when_nothing_happens(sample_runs, quiet, pause):
    run = sample_runs["running"]
    newest = max(moment for task in run.tasks for moment in (task.started_at, task.ended_at) if moment)
    assert look_again(run, newest + timedelta(seconds=quiet)) == pause


def test_a_page_asks_soon_for_a_run_without_times():
    run = run_of(state="queued", queued_at=None, started_at=None, ended_at=None)
    assert look_again(run, NOW) == 3


# A day in seconds, with many equal and many close values, and sometimes years.
SECONDS = st.integers(-20, 20) | st.integers(-90_000, 90_000) | st.floats(-1e4, 1e4) | st.integers(-(10**9), 10**9)
MOMENTS = st.builds(lambda seconds: NOW + timedelta(seconds=seconds), SECONDS)
MAYBE = st.none() | MOMENTS
ATTEMPTS = st.lists(st.builds(Attempt, MAYBE, MAYBE, MAYBE), max_size=3)
STATES = st.sampled_from(
    [None, "queued", "running", "deferred", "awaiting_input", "up_for_retry", "success", "failed", "skipped", "odd"]
)
REPORTS = st.sampled_from([None, {}, {"facts": {"may_answer": ["paula"]}}])


@st.composite
def runs(draw: st.DrawFn) -> RunRecord:
    tasks = tuple(
        TaskRecord(f"t{number}", draw(STATES), draw(MAYBE), draw(MAYBE), 1, draw(REPORTS), queued_at=draw(MAYBE), earlier=tuple(draw(ATTEMPTS)))
        for number in range(draw(st.integers(1, 4)))
    )  # fmt: skip
    state = draw(st.sampled_from(["running", "success", "failed"]))
    return RunRecord("nightly_backup", "r", state, None, draw(MAYBE), draw(MAYBE), draw(MAYBE), {}, tasks)


@settings(max_examples=300, deadline=None)
@given(runs())
def test_whatever_the_times_all_stays_on_the_axis(run):
    chart = tell(run, now=NOW, airflow_url="http://a").chart
    if chart is None:
        return
    for row in chart.rows:
        assert row.bars
        for bar in row.bars:
            assert isfinite(bar.start)
            assert 0 <= bar.start < bar.end <= 100
        assert all(before.start <= after.start for before, after in pairwise(row.bars))
    assert len(chart.breaks) <= MOST_BREAKS
    assert all(0 <= pause.start < pause.end <= 100 for pause in chart.breaks)
    places = [tick.at for tick in chart.ticks]
    assert places == sorted(places)
    for at in places:
        assert 0 <= at <= 100
        assert not any(pause.start < at < pause.end for pause in chart.breaks)
    for room, written in (
        (ROOM, [tick.at for tick in chart.ticks if tick.time]),
        (NARROW_ROOM, [tick.at for tick in chart.ticks if not tick.crowded]),
    ):
        assert all(after - before >= room for before, after in pairwise(written))


STRETCHES = st.lists(
    st.builds(
        lambda kind, moments: Stretch(kind, min(moments), max(moments)),
        st.sampled_from(list(Kind)),
        st.tuples(MOMENTS, MOMENTS),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(STRETCHES)
def test_the_shares_are_the_whole_and_nothing_counts_twice(found):
    shares = [seconds for _, seconds in seconds_by_share(found)]
    assert min(shares) >= 0
    edges = sorted({moment for one in found for moment in (one.begin, one.end)})
    covered = sum(
        (after - before).total_seconds()
        for before, after in pairwise(edges)
        if any(one.begin <= before and after <= one.end for one in found)
    )
    assert isclose(sum(shares), covered, rel_tol=1e-9, abs_tol=1e-6)
    alone = [seconds for _, seconds in seconds_by_share([replace(one, kind=Kind.WORK) for one in found])]
    assert isclose(alone[0], covered, rel_tol=1e-9, abs_tol=1e-6)


@settings(max_examples=300, deadline=None)
@given(STRETCHES, st.lists(MOMENTS, min_size=2, max_size=6))
def test_later_is_never_further_left_and_no_work_is_left_out(found, moments):
    begin = min(one.begin for one in found)
    end = max(one.end for one in found)
    left_out = pauses(found, begin, end)
    axis = Axis(begin, end, left_out)
    inside = sorted(min(max(moment, begin), end) for moment in moments)
    assert all(axis.at(before) <= axis.at(after) for before, after in pairwise(inside))
    assert axis.at(begin) == 0
    assert axis.at(end) == (100 if begin < end else 0)
    for first, last in left_out:
        for one in found:
            worked = one.kind in (Kind.WORK, Kind.EARLIER)
            assert not (worked and one.begin < last and first < one.end)

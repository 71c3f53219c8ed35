from datetime import UTC, datetime
from unittest.mock import create_autospec

import pytest

from platform_ops.common.errors import Busy, FailNow
from platform_ops.systems.jenkins.errors import BuildFailed, TestsFailed
from platform_ops.systems.jenkins.hook import JenkinsHook
from platform_ops.systems.jenkins.models import Build, QueueItem, Result, TestReport
from platform_ops.systems.jenkins.work import JenkinsBuild

TREE, COMMIT = "1" * 40, "2" * 40


def build(number, *, result=Result.SUCCESS, tree=TREE, attempt="run.0", queue_id=None, building=False):
    return Build(
        number=number,
        queue_id=queue_id or 100 + number,
        building=building,
        result=result,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=4.25,
        parameters={"TREE": tree, "COMMIT": COMMIT, "ATTEMPT": attempt},
    )


def running(number, **options):
    return build(number, result=None, building=True, **options)


def item(item_id=5, *, tree=TREE, number=None, cancelled=False, why="In the quiet period"):
    return QueueItem(id=item_id, why=why, cancelled=cancelled, number=number, parameters={"TREE": tree})


@pytest.fixture
def hook():
    hook = create_autospec(JenkinsHook, instance=True)
    hook.queue.return_value = ()
    hook.builds.return_value = ()
    hook.queue_item.return_value = None
    hook.test_report.return_value = None
    hook.build_url.side_effect = lambda job, number: f"http://jenkins.test/{job}/{number}/"
    return hook


@pytest.fixture
def work(hook):
    work = JenkinsBuild(job="shop/web", tree=TREE, commit=COMMIT, attempt="run.0")
    work.hook = hook
    return work


def test_nothing_to_join(work, hook):
    hook.queue.return_value = (item(tree="other"),)
    hook.builds.return_value = (build(1, tree="other"),)
    assert work.find() is None


def test_a_queued_item_of_the_tree_is_joined_before_any_build(work, hook):
    hook.queue.return_value = (item(5),)
    hook.builds.return_value = (build(1),)
    assert work.find() == {"queue_id": 5, "number": None}


@pytest.mark.parametrize(
    ("builds", "joined"),
    [
        ((build(3, result=Result.FAILURE), running(2, attempt="x"), build(1)), 2),
        ((build(3, result=Result.FAILURE), build(2, attempt="x"), build(1)), 2),
        ((build(3, result=Result.FAILURE, attempt="x"), build(2, result=Result.ABORTED)), 2),
        ((build(3, result=Result.FAILURE, attempt="run.1"),), None),
        ((build(3, result=Result.UNSTABLE, attempt="run.0"),), 3),
    ],
    ids=["running", "newest success", "own bad end", "another attempt's bad end", "own unstable end"],
)
def test_which_build_is_joined(work, hook, builds, joined):
    hook.builds.return_value = builds
    expected = {"queue_id": 100 + joined, "number": joined} if joined else None
    assert work.find() == expected


def test_the_queue_is_read_before_the_builds(work, hook):
    work.find()
    assert [call[0] for call in hook.method_calls] == ["queue", "builds"]


def test_start_carries_the_marker(work, hook):
    hook.start.return_value = 8
    assert work.start() == {"queue_id": 8, "number": None}
    hook.start.assert_called_once_with("shop/web", {"TREE": TREE, "COMMIT": COMMIT, "ATTEMPT": "run.0"})


def test_probe_of_an_item_that_waits(work, hook):
    hook.queue_item.return_value = item(5)
    probe = work.probe({"queue_id": 5, "number": None})
    assert (probe.state, probe.detail) == ("queued", "In the quiet period")


def test_probe_of_an_item_that_became_a_build_learns_its_number(work, hook):
    hook.queue_item.return_value = item(5, number=3)
    hook.build.return_value = running(3, queue_id=5)
    probe = work.probe({"queue_id": 5, "number": None})
    assert (probe.state, probe.handle) == ("running", {"queue_id": 5, "number": 3})


def test_probe_of_a_build_asks_the_queue_no_more(work, hook):
    hook.build.return_value = build(3)
    probe = work.probe({"queue_id": 5, "number": 3})
    assert (probe.state, probe.detail) == ("ended", "build #3 ended as SUCCESS")
    hook.queue_item.assert_not_called()


def test_a_result_while_still_building_is_no_end(work, hook):
    hook.build.return_value = build(3, building=True)
    assert work.probe({"queue_id": 5, "number": 3}).state == "running"


def test_a_cancelled_item_has_ended(work, hook):
    hook.queue_item.return_value = item(5, cancelled=True, why=None)
    probe = work.probe({"queue_id": 5, "number": None})
    assert (probe.state, probe.detail) == ("ended", "queue item 5 was cancelled")
    with pytest.raises(BuildFailed, match=r"Queue item 5 of Jenkins job shop/web was cancelled\. Clear this task"):
        work.judge(probe.handle)


def test_a_forgotten_items_build_is_found_by_the_item(work, hook):
    hook.builds.return_value = (running(4), build(3, queue_id=5, result=Result.FAILURE, attempt="x"))
    probe = work.probe({"queue_id": 5, "number": None})
    assert (probe.state, probe.handle["number"]) == ("ended", 3)


def test_a_forgotten_items_build_is_else_found_by_the_marker(work, hook):
    hook.builds.return_value = (running(4),)
    probe = work.probe({"queue_id": 5, "number": None})
    assert (probe.state, probe.handle) == ("running", {"queue_id": 104, "number": 4})


def test_a_forgotten_item_without_a_build_is_never_started_again(work, hook):
    probe = work.probe({"queue_id": 5, "number": None})
    assert probe.state == "ended"
    with pytest.raises(BuildFailed, match="is gone and no build came of it"):
        work.judge(probe.handle)
    hook.start.assert_not_called()


def test_a_good_end(work, hook):
    hook.build.return_value = build(7)
    hook.test_report.return_value = TestReport(12, 0, 1, ())
    report = work.judge({"queue_id": 107, "number": 7})
    assert report.summary == "Build shop/web #7: 12 tests passed."
    assert report.facts == {
        "job": "shop/web",
        "number": 7,
        "result": "SUCCESS",
        "seconds": 4.2,
        "tests": {"passed": 12, "failed": 0, "skipped": 1},
        "image_tag": "build-web-7",
    }
    assert [link.url for link in report.links] == ["http://jenkins.test/shop/web/7/"]


def test_a_good_end_without_a_report_claims_no_tests(work, hook):
    hook.build.return_value = build(7)
    report = work.judge({"queue_id": 107, "number": 7})
    assert report.summary == "Build shop/web #7."
    assert "tests" not in report.facts


@pytest.mark.parametrize("result", [Result.FAILURE, Result.UNSTABLE])
def test_failing_tests_are_named(work, hook, result):
    hook.build.return_value = build(7, result=result)
    failing = tuple(f"tests.test_a.t{number}" for number in range(7))
    hook.test_report.return_value = TestReport(5, 7, 0, failing)
    with pytest.raises(TestsFailed) as caught:
        work.judge({"queue_id": 107, "number": 7})
    assert isinstance(caught.value, FailNow)
    assert "7 of 12 tests failed: tests.test_a.t0, " in str(caught.value)
    assert "and 2 more" in str(caught.value)
    assert caught.value.facts["failing"] == list(failing)
    assert caught.value.facts["tests"] == {"passed": 5, "failed": 7, "skipped": 0}


@pytest.mark.parametrize("result", [Result.FAILURE, Result.UNSTABLE, Result.ABORTED, Result.NOT_BUILT])
def test_another_bad_end_is_named(work, hook, result):
    hook.build.return_value = build(7, result=result)
    with pytest.raises(BuildFailed, match=f"Build shop/web #7 ended as {result}") as caught:
        work.judge({"queue_id": 107, "number": 7})
    assert type(caught.value) is BuildFailed
    assert caught.value.facts["number"] == 7


def test_an_aborted_build_is_not_blamed_on_its_tests(work, hook):
    hook.build.return_value = build(7, result=Result.ABORTED)
    hook.test_report.return_value = TestReport(5, 1, 0, ("tests.test_a.t",))
    with pytest.raises(BuildFailed, match="ended as ABORTED"):
        work.judge({"queue_id": 107, "number": 7})


def test_cancelling_an_item_that_waits(work, hook):
    hook.queue_item.return_value = item(5, cancelled=True)
    work.cancel({"queue_id": 5, "number": None})
    hook.cancel_queue_item.assert_called_once_with(5)
    hook.stop.assert_not_called()


def test_cancelling_an_item_that_just_became_a_build_stops_it(work, hook):
    hook.queue_item.return_value = item(5, number=3)
    work.cancel({"queue_id": 5, "number": None})
    hook.stop.assert_called_once_with("shop/web", 3)


def test_cancelling_a_forgotten_item_stops_its_own_build_only(work, hook):
    hook.builds.return_value = (running(9), running(3, queue_id=5))
    work.cancel({"queue_id": 5, "number": None})
    hook.stop.assert_called_once_with("shop/web", 3)


def test_cancelling_what_never_was_does_nothing(work, hook):
    hook.builds.return_value = (running(9),)
    work.cancel({"queue_id": 5, "number": None})
    hook.stop.assert_not_called()


def test_an_item_that_stays_in_the_queue_is_told(work, hook):
    hook.queue_item.return_value = item(5)
    with pytest.raises(Busy, match="left queue item 5"):
        work.cancel({"queue_id": 5, "number": None})


def test_cancelling_a_build_stops_it(work, hook):
    work.cancel({"queue_id": 5, "number": 3})
    hook.stop.assert_called_once_with("shop/web", 3)
    hook.cancel_queue_item.assert_not_called()


def test_the_link_appears_with_the_build(work):
    assert work.link({"queue_id": 5, "number": None}) is None
    assert work.link({"queue_id": 5, "number": 3}).url == "http://jenkins.test/shop/web/3/"

"""The remote work of this room: one build of a source tree."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from platform_ops.common.errors import Busy
from platform_ops.common.remote_work import Handle, Probe
from platform_ops.common.report import Link, StepReport
from platform_ops.systems.jenkins.errors import BuildFailed, TestsFailed
from platform_ops.systems.jenkins.hook import JenkinsHook
from platform_ops.systems.jenkins.models import Build, Result, TestReport

NAMED_TESTS = 5
"""Failing tests named in the message; the facts hold more."""
LISTED_TESTS = 100


class JenkinsBuild:
    """A build of one tree by one job; the marker is the parameter TREE.

    :param job: ``shop/storefront``.
    :param tree: git's id of the source tree.
    :param commit: a commit that has this tree.
    :param attempt: of whom a bad end binds: run id and number of clears.
    """

    def __init__(
        self, *, job: str, tree: str, commit: str, attempt: str, jenkins_conn_id: str = "jenkins_default"
    ) -> None:
        self.job = job
        self.tree = tree
        self.commit = commit
        self.attempt = attempt
        self.jenkins_conn_id = jenkins_conn_id

    @cached_property
    def hook(self) -> JenkinsHook:
        """Return the client."""
        return JenkinsHook(self.jenkins_conn_id)

    def find(self) -> Handle | None:
        """Return the queued, running or succeeded build of this tree, or this attempt's ended one."""
        # The queue comes first: an item that leaves it between the two looks is then among the builds.
        for item in self.hook.queue(self.job):
            if item.parameters.get("TREE") == self.tree:
                return {"queue_id": item.id, "number": None}
        found = self._choose(self.hook.builds(self.job))
        return _handle(found) if found else None

    def start(self) -> Handle:
        """Queue a build; an equal one that still waits takes this start in."""
        parameters = {"TREE": self.tree, "COMMIT": self.commit, "ATTEMPT": self.attempt}
        return {"queue_id": self.hook.start(self.job, parameters), "number": None}

    def probe(self, handle: Handle) -> Probe:
        """Look at the build, or at the queue item that will become one."""
        number = handle["number"]
        if number is None:
            item = self.hook.queue_item(handle["queue_id"])
            if item is None:
                return self._probe_forgotten(handle)
            if item.cancelled:
                return Probe("ended", f"queue item {item.id} was cancelled", handle)
            if item.number is None:
                return Probe("queued", item.why or "leaving the queue", handle)
            number = item.number
        return self._probe_build(self.hook.build(self.job, number))

    def judge(self, handle: Handle) -> StepReport:
        """Report the built image, or say which tests failed or how else it ended.

        :raises TestsFailed: tests failed.
        :raises BuildFailed: it ended otherwise than as SUCCESS.
        """
        number = handle["number"]
        if number is None:
            raise self._never_built(handle)
        build = self.hook.build(self.job, number)
        tests = self.hook.test_report(self.job, number)
        facts = self._facts(build, tests)
        name = f"{self.job} #{number}"
        if build.succeeded:
            counted = f": {tests.passed} tests passed" if tests else ""
            facts["image_tag"] = f"build-{self.job.rpartition('/')[2]}-{number}"
            return StepReport(f"Build {name}{counted}.", facts=facts, links=(self._page(number),))
        url = self.hook.build_url(self.job, number)
        if tests and tests.failed and build.result in (Result.FAILURE, Result.UNSTABLE):
            raise TestsFailed(
                f"Build {name}: {_tell(tests)}. Correct them and push; see {url}testReport/.", facts=facts
            )
        raise BuildFailed(
            f"Build {name} ended as {build.result}. Read {url}console, then clear this task.", facts=facts
        )

    def cancel(self, handle: Handle) -> None:
        """Take the item out of the queue, or stop the build it became.

        :raises Busy: Jenkins did neither.
        """
        number = handle["number"]
        if number is None:
            queue_id = handle["queue_id"]
            self.hook.cancel_queue_item(queue_id)
            item = self.hook.queue_item(queue_id)
            if item and item.number is None and not item.cancelled:
                raise Busy(f"Jenkins left queue item {queue_id} of {self.job} in the queue; cancel it there.")
            forgotten = None if item else _by_item(queue_id, self.hook.builds(self.job))
            number = item.number if item else forgotten and forgotten.number
        if number is not None:
            self.hook.stop(self.job, number)

    def link(self, handle: Handle) -> Link | None:
        """Return the build's page, once there is a build."""
        return self._page(handle["number"]) if handle["number"] is not None else None

    def _page(self, number: int) -> Link:
        return Link(f"Jenkins: {self.job} #{number}", self.hook.build_url(self.job, number))

    def _probe_build(self, build: Build) -> Probe:
        if build.active:
            return Probe("running", f"build #{build.number} runs", _handle(build))
        return Probe("ended", f"build #{build.number} ended as {build.result}", _handle(build))

    def _probe_forgotten(self, handle: Handle) -> Probe:
        """Jenkins forgot the item: its build is found by the item's id, else by the marker; nothing is started."""
        builds = self.hook.builds(self.job)
        found = _by_item(handle["queue_id"], builds) or self._choose(builds)
        if found:
            return self._probe_build(found)
        return Probe("ended", f"queue item {handle['queue_id']} is gone and no build came of it", handle)

    def _choose(self, builds: tuple[Build, ...]) -> Build | None:
        """Pick the build to join: active before succeeded before this attempt's ended one, each time the newest."""
        ours = [build for build in builds if build.parameters.get("TREE") == self.tree]
        active = (build for build in ours if build.active)
        succeeded = (build for build in ours if build.succeeded)
        this_attempt = (build for build in ours if build.parameters.get("ATTEMPT") == self.attempt)
        return next(active, None) or next(succeeded, None) or next(this_attempt, None)

    def _never_built(self, handle: Handle) -> BuildFailed:
        queue_id = handle["queue_id"]
        item = self.hook.queue_item(queue_id)
        state = "was cancelled" if item and item.cancelled else "is gone and no build came of it"
        return BuildFailed(
            f"Queue item {queue_id} of Jenkins job {self.job} {state}. Clear this task to queue a new one.",
            facts={"job": self.job, "queue_id": queue_id, "state": state},
        )

    def _facts(self, build: Build, tests: TestReport | None) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "job": self.job,
            "number": build.number,
            "result": str(build.result),
            "seconds": round(build.seconds, 1),
        }
        if tests:
            facts["tests"] = {"passed": tests.passed, "failed": tests.failed, "skipped": tests.skipped}
            if tests.failing:
                facts["failing"] = list(tests.failing[:LISTED_TESTS])
        return facts


def _handle(build: Build) -> Handle:
    return {"queue_id": build.queue_id, "number": build.number}


def _by_item(queue_id: int, builds: tuple[Build, ...]) -> Build | None:
    return next((build for build in builds if build.queue_id == queue_id), None)


def _tell(tests: TestReport) -> str:
    named = ", ".join(tests.failing[:NAMED_TESTS])
    more = tests.failed - min(len(tests.failing), NAMED_TESTS)
    return f"{tests.failed} of {tests.total} tests failed: {named}" + (f" and {more} more" if more > 0 else "")

"""Jenkins's controller: jobs, the queue with its quiet period, two executors, builds; all of it survives a restart.

The rules are those of core/src/main/java/hudson/model/Queue.java in jenkinsci/jenkins.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from sandbox import effects
from sandbox.stand_ins.jenkins_builds import BuildRun

EXECUTORS = 2
LEFT_ITEM_SECONDS = 300
"""Queue.java keeps an item that left the queue for five minutes."""


@dataclass
class Job:
    path: str
    git_url: str
    quiet_seconds: float
    parameters: dict[str, str]
    concurrent: bool
    disabled: bool
    next_number: int = 1


@dataclass
class Item:
    """One entry of the queue; it has left it when ``left`` is set, then either with a build or cancelled."""

    id: int
    job: str
    parameters: dict[str, str]
    since: float
    due: float
    left: float | None = None
    number: int | None = None


@dataclass
class Build:
    job: str
    number: int
    queue_id: int
    parameters: dict[str, str]
    started: float
    ended: float | None = None
    result: str | None = None
    counts: dict[str, int] = field(default_factory=dict)


def job_config(git_url: str, quiet_seconds: int, parameters: Sequence[str]) -> str:
    """Return the config.xml of a job that builds what its string parameters name."""
    definitions = "".join(
        f"<hudson.model.StringParameterDefinition><name>{escape(name)}</name><defaultValue/><trim>true</trim>"
        "</hudson.model.StringParameterDefinition>"
        for name in parameters
    )
    return (
        "<?xml version='1.1' encoding='UTF-8'?>\n"
        "<project><properties><hudson.model.ParametersDefinitionProperty>"
        f"<parameterDefinitions>{definitions}</parameterDefinitions></hudson.model.ParametersDefinitionProperty></properties>"
        '<scm class="hudson.plugins.git.GitSCM"><userRemoteConfigs><hudson.plugins.git.UserRemoteConfig>'
        f"<url>{escape(git_url)}</url></hudson.plugins.git.UserRemoteConfig></userRemoteConfigs></scm>"
        f"<quietPeriod>{quiet_seconds}</quietPeriod><disabled>false</disabled><concurrentBuild>true</concurrentBuild></project>"
    )


def read_job(path: str, root: ET.Element) -> Job:
    """Take what a build needs out of a config.xml."""
    definitions = root.iterfind(".//parameterDefinitions/hudson.model.StringParameterDefinition")
    return Job(
        path=path,
        git_url=root.findtext("scm/userRemoteConfigs//url", ""),
        quiet_seconds=float(root.findtext("quietPeriod", "5")),
        parameters={each.findtext("name", ""): each.findtext("defaultValue") or "" for each in definitions},
        concurrent=root.findtext("concurrentBuild", "false") == "true",
        disabled=root.findtext("disabled", "false") == "true",
    )


class Controller:
    """The state and the thread that moves it.

    :param clock: seconds since the epoch.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.environment = environment
        self.clock = clock
        self.changed = threading.Condition(threading.RLock())
        self.folders: set[str] = set()
        self.jobs: dict[str, Job] = {}
        self.items: dict[int, Item] = {}
        self.builds: dict[str, list[Build]] = {}
        self.next_item = 1
        self._runs: dict[tuple[str, int], tuple[BuildRun, threading.Thread]] = {}
        self._closing = False
        self._load()

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> threading.Thread:
        """Begin to move items out of the queue."""
        thread = threading.Thread(target=self._maintain_queue, name="jenkins-queue", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """End running builds as ABORTED and stop moving."""
        with self.changed:
            self._closing = True
            running = list(self._runs.values())
            self.changed.notify_all()
        for run, thread in running:
            run.stop()
            thread.join(5)

    def _load(self) -> None:
        workspaces = self.folder / "workspaces"
        shutil.rmtree(workspaces, ignore_errors=True)
        workspaces.mkdir(parents=True)
        path = self.folder / "state.json"
        if not path.is_file():
            return
        state = json.loads(path.read_text())
        self.folders = set(state["folders"])
        self.jobs = {job["path"]: Job(**job) for job in state["jobs"]}
        self.items = {item["id"]: Item(**item) for item in state["items"]}
        self.next_item = state["next_item"]
        for build in (Build(**each) for each in state["builds"]):
            if build.ended is None:
                build.result, build.ended = "ABORTED", self.clock()
                with (self.build_folder(build) / "log").open("a") as log:
                    log.write("Jenkins was restarted; this build could not go on\nFinished: ABORTED\n")
            self.builds.setdefault(build.job, []).append(build)
        self._save()

    def _save(self) -> None:
        state = {
            "folders": sorted(self.folders),
            "jobs": [asdict(job) for job in self.jobs.values()],
            "items": [asdict(item) for item in self.items.values()],
            "builds": [asdict(build) for builds in self.builds.values() for build in builds],
            "next_item": self.next_item,
        }
        fresh = self.folder / "state.json.new"
        fresh.write_text(json.dumps(state))
        fresh.replace(self.folder / "state.json")

    # -- what requests do --------------------------------------------------------------------------------------------

    def create(self, path: str, job: Job | None) -> bool:
        """Create a job, or a folder when there is no job; False when the name is taken."""
        with self.changed:
            if path in self.folders or path in self.jobs:
                return False
            if job:
                self.jobs[path] = job
            else:
                self.folders.add(path)
            self._save()
            return True

    def schedule(self, job: Job, parameters: dict[str, str], delay: float | None) -> Item:
        """Queue a build; an item with equal parameters that has not left the queue takes it in.

        :param delay: seconds instead of the job's quiet period.
        """
        with self.changed:
            now = self.clock()
            due = now + (job.quiet_seconds if delay is None else delay)
            for item in self.waiting():
                if item.job == job.path and item.parameters == parameters:
                    item.due = min(item.due, due)
                    break
            else:
                item = Item(self.next_item, job.path, parameters, now, due)
                self.next_item += 1
                self.items[item.id] = item
            self._save()
            self.changed.notify_all()
            return item

    def cancel(self, item_id: int) -> bool | None:
        """Take an item out of the queue; False when it had left already, None when it is unknown."""
        with self.changed:
            item = self.item(item_id)
            if item is None:
                return None
            if item.left is not None:
                return False
            item.left = self.clock()
            self._save()
            return True

    def stop(self, build: Build) -> None:
        """Interrupt a build; fine when it has ended."""
        with self.changed:
            running = self._runs.get((build.job, build.number))
        if running:
            running[0].stop()

    def item(self, item_id: int) -> Item | None:
        """Return an item, also one that left the queue less than five minutes ago."""
        with self.changed:
            item = self.items.get(item_id)
            gone = item and item.left is not None and item.left + LEFT_ITEM_SECONDS <= self.clock()
            return None if gone else item

    def waiting(self) -> list[Item]:
        """Return the items in the queue, oldest first."""
        with self.changed:
            return [item for item in self.items.values() if item.left is None]

    def item_state(self, item: Item) -> str:
        """Return the first word of Jenkins's class of item: Waiting, Blocked, Buildable or Left."""
        if item.left is not None:
            return "Left"
        if item.due > self.clock():
            return "Waiting"
        return "Blocked" if self._blocked(item) else "Buildable"

    def builds_of(self, job: str) -> list[Build]:
        """Return a job's builds, newest first."""
        with self.changed:
            return list(reversed(self.builds.get(job, [])))

    def build_folder(self, build: Build) -> Path:
        """Return where the log and the test report of a build lie."""
        return self.folder / "builds" / build.job / str(build.number)

    def test_cases(self, build: Build) -> list[dict[str, Any]]:
        """Return the test report of a build; empty when there is none."""
        path = self.build_folder(build) / "tests.json"
        cases: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
        return cases

    def snapshot(self) -> dict[str, Any]:
        """Return how often builds were queued, started and pushed."""
        with self.changed:
            builds = [build for each in self.builds.values() for build in each]
            images = sum(build.result == "SUCCESS" for build in builds)
            return effects.state({"queued": self.next_item - 1, "builds": len(builds), "images": images})

    # -- the queue moves ---------------------------------------------------------------------------------------------

    def _maintain_queue(self) -> None:
        with self.changed:
            while not self._closing:
                for item in self.waiting():
                    if self.item_state(item) == "Buildable" and len(self._runs) < EXECUTORS:
                        self._begin(item)
                self.items = {item.id: item for item in self.items.values() if self.item(item.id)}
                self.changed.wait(0.1)

    def _blocked(self, item: Item) -> bool:
        return not self.jobs[item.job].concurrent and any(job == item.job for job, _ in self._runs)

    def _begin(self, item: Item) -> None:
        job = self.jobs[item.job]
        build = Build(job.path, job.next_number, item.id, item.parameters, self.clock())
        job.next_number += 1
        item.left, item.number = self.clock(), build.number
        self.builds.setdefault(job.path, []).append(build)
        folder = self.build_folder(build)
        folder.mkdir(parents=True, exist_ok=True)
        run = BuildRun(
            job=job.path,
            number=build.number,
            git_url=job.git_url,
            parameters=item.parameters,
            folder=folder,
            workspaces=self.folder / "workspaces",
            environment=self.environment,
        )
        self._save()
        thread = threading.Thread(
            target=self._execute, args=(build, run), name=f"{job.path}-{build.number}", daemon=True
        )
        self._runs[job.path, build.number] = run, thread
        thread.start()

    def _execute(self, build: Build, run: BuildRun) -> None:
        result = "FAILURE"
        try:
            result = run.run()
        finally:
            with self.changed:
                self._keep_tests(build, run.cases or [])
                build.result, build.ended = result, self.clock()
                del self._runs[build.job, build.number]
                self._save()
                self.changed.notify_all()

    def _keep_tests(self, build: Build, cases: list[dict[str, Any]]) -> None:
        """Store the report, with the status words that depend on the report before (CaseResult.getStatus)."""
        if not cases:
            return
        earlier = (each for each in self.builds_of(build.job) if each.number < build.number and each.counts)
        previous = next(earlier, None)
        before = (
            {(case["className"], case["name"]): case["status"] for case in self.test_cases(previous)}
            if previous
            else {}
        )
        for case in cases:
            was = before.get((case["className"], case["name"]))
            if case["status"] == "FAILED" and was in ("PASSED", "FIXED"):
                case["status"] = "REGRESSION"
            elif case["status"] == "PASSED" and was in ("FAILED", "REGRESSION"):
                case["status"] = "FIXED"
        words = [case["status"] for case in cases]
        failed, skipped = words.count("FAILED") + words.count("REGRESSION"), words.count("SKIPPED")
        build.counts = {"failCount": failed, "skipCount": skipped, "passCount": len(words) - failed - skipped}
        (self.build_folder(build) / "tests.json").write_text(json.dumps(cases))

"""The steps of a run, top to bottom, told from the tasks and their reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.common.words import moment, span
from platform_ops.delivery.names import GATES, RELEASE
from platform_ops.delivery.verdicts import TEARDOWNS
from platform_ops.web.story_model import Fact, State, Step
from platform_ops.web.story_words import entries, inner, links, moment_from, number, text, texts, words

APPROVAL = (*GATES, "judge_approval")
CHANGES = ("pin_image", "sync_application", "verify_running")
EXPECTED = ("resolve_commit", "build_image", "verify_image", *APPROVAL, *CHANGES, *TEARDOWNS)
"""The tasks of ``release_service`` in the order of the story."""

TITLES = {
    "resolve_commit": "Commit",
    "build_image": "Image",
    "verify_image": "Scan",
    "approve_release": "Approval",
    "pin_image": "GitOps commit",
    "sync_application": "Sync",
    "verify_running": "Pods",
    "record_evidence": "Evidence",
    "report_release": "Report",
}
ENDED = frozenset({"success", "failed", "skipped"})
RUN_ENDED = frozenset({"success", "failed"})
UNTOUCHED = frozenset({State.WAITING, State.NOT_REACHED})

RUNNING = frozenset({"running", "restarting", "deferred"})
AGAIN = frozenset({"up_for_retry", "up_for_reschedule"})

_STATES = {
    **dict.fromkeys(RUNNING, State.RUNNING),
    **dict.fromkeys(AGAIN, State.RETRYING),
    "awaiting_input": State.ASKING,
    "failed": State.FAILED,
    "skipped": State.SUPERSEDED,
    "upstream_failed": State.NOT_REACHED,
    "removed": State.NOT_REACHED,
}
_OUTCOMES = {
    "reused": State.REUSED,
    "not needed": State.NOT_NEEDED,
    "superseded": State.SUPERSEDED,
    "refused": State.FAILED,
    "failed": State.FAILED,
}
_FACTS: Mapping[str, tuple[tuple[str, str, bool], ...]] = {
    "resolve_commit": (("tree", "source tree", True), ("untold", "GitLab was not told", False)),
    "build_image": (
        ("digest", "digest", True),
        ("job", "job", True),
        ("number", "build", False),
        ("image_tag", "tag", True),
    ),
    "verify_image": (("image_commit", "built from", True), ("allowed", "highest severity allowed", False)),
    "pin_image": (
        ("revision", "revision", True),
        ("approved_by", "approved by", False),
        ("deployment", "GitLab deployment", False),
        ("untold", "GitLab was not told", False),
    ),
    "sync_application": (
        ("application", "application", True),
        ("revision", "revision", True),
        ("sync_status", "sync", False),
        ("health", "health", False),
        ("phase", "operation", False),
    ),
    "verify_running": (("proof_key", "proof for production", True),),
    "record_evidence": (("verdict", "verdict", False),),
    "report_release": (
        ("state", "GitLab status", False),
        ("description", "description", False),
        ("deployment", "GitLab deployment", False),
    ),
}


def find(run: RunRecord, task_id: str) -> TaskRecord | None:
    """Return the task of that name."""
    return next((task for task in run.tasks if task.task_id == task_id), None)


def state_of(task: TaskRecord | None, *, live: bool) -> State:
    """Return where a task stands; what it reported counts where Airflow's own word is a mere ``success``."""
    pending = State.WAITING if live else State.NOT_REACHED
    if task is None:
        return pending
    if task.state == "success":
        return _OUTCOMES.get(text(task.report or {}, "outcome"), State.DONE)
    state = _STATES.get(task.state or "", pending)
    # A run that has ended has no running tasks; Airflow may need an instant to notice.
    return state if live or task.state in ENDED else State.NOT_REACHED


def has_run(task: TaskRecord, state: State) -> bool:
    """Say whether the times of a task are those of work.

    Airflow stamps a start on tasks it only marks (skipped, upstream_failed), and leaves the old one on a task that was
    cleared and waits.
    """
    marked = task.state == "skipped" and not task.report
    return state not in (State.WAITING, State.NOT_REACHED) and not marked


class StepTeller:
    """Tells the steps of one run.

    :param page: Airflow's own page of the run.
    """

    def __init__(self, run: RunRecord, *, now: datetime, page: str) -> None:
        self.run = run
        self.page = page
        self.now = now
        self.live = run.state not in RUN_ENDED
        self.begin = run.started_at or run.queued_at
        self.end = run.ended_at or now

    def steps(self) -> tuple[Step, ...]:
        """Return the steps in the order of the story."""
        if self.run.dag_id != RELEASE:
            return tuple(self.plain(task.task_id, task) for task in _in_order(self.run.tasks))
        known = {task.task_id for task in self.run.tasks}
        others = [self.plain(task.task_id, task) for task in _in_order(self.run.tasks) if task.task_id not in EXPECTED]
        return (
            self.plain("resolve_commit", find(self.run, "resolve_commit")),
            *self.build(),
            self.plain("verify_image", find(self.run, "verify_image")),
            *((self.approval(),) if self.live or known & set(APPROVAL) else ()),
            *(self.plain(name, find(self.run, name)) for name in CHANGES),
            *others,
            *(self.plain(name, find(self.run, name)) for name in TEARDOWNS),
        )

    def plain(self, task_id: str, task: TaskRecord | None) -> Step:
        """Tell one task as one step."""
        state = state_of(task, live=self.live)
        report = (task.report if task else None) or {}
        facts = inner(report, "facts")
        told = _known_facts(task_id, facts) if task_id in _FACTS else _other_facts(facts)
        return Step(
            title=words(task.label) if task and task.label else _title(task_id),
            tasks=(task_id,),
            state=state,
            summary=text(report, "summary") or _missing_summary(task, state),
            note=_note(task, state),
            facts=told,
            links=links(report),
            **self._timing(task, task, state),
        )

    def build(self) -> tuple[Step, Step]:
        """Tell the build as two steps: the tests, then the image."""
        image = self.plain("build_image", find(self.run, "build_image"))
        facts = self.run.facts("build_image")
        counts, failing = inner(facts, "tests"), texts(facts, "failing")
        counted = _count_tests(counts)
        if number(counts, "failed") or failing:
            told = _facts(("counts", counted, False), *(("failing", name, True) for name in failing))
            red = replace(image, title="Tests", state=State.FAILED, summary=image.summary or counted, facts=told)
            none = Step("Image", image.tasks, State.NOT_REACHED, "No image is made from red tests.")
            return red, none
        reused = image.state is State.REUSED
        tests = Step("Tests", image.tasks, State.REUSED if reused else State.DONE, counted, started=image.started)
        if counted:
            seconds = number(facts, "seconds")
            return replace(tests, note="" if seconds is None else f"the job took {span(seconds)}"), image
        if reused:
            return replace(tests, summary="This source tree was built before; its tests passed then."), image
        if image.state is State.DONE:
            return replace(tests, summary="No test counts were reported."), image
        if image.state is State.FAILED:
            return replace(tests, state=State.NOT_REACHED, summary="No test results were reported."), image
        return replace(tests, state=image.state), image

    def approval(self) -> Step:
        """Tell the requests and their judgement as one step."""
        tasks = [find(self.run, name) for name in APPROVAL]
        states = [state_of(task, live=self.live) for task in tasks]
        # How far it has come.
        last = max((n for n, state in enumerate(states) if state not in UNTOUCHED), default=0)
        state = states[last]
        if last < len(APPROVAL) - 1 and self.live and state in (State.DONE, State.NOT_NEEDED) and State.DONE in states:
            state = State.RUNNING
        reports = [(task.report if task else None) or {} for task in tasks]
        first, second, judged = (inner(report, "facts") for report in reports)
        # What matters is said last; a gate that had nothing to ask says nothing.
        told = [report for report in reports if text(report, "outcome") != "not needed"] or reports[:1]
        return Step(
            title=TITLES["approve_release"],
            tasks=APPROVAL,
            state=state,
            summary=next(filter(None, (text(report, "summary") for report in reversed(told))), "")
            or _missing_summary(tasks[last], state),
            note=_note(tasks[last], state),
            facts=_facts(
                ("may answer", ", ".join(texts(first, "may_answer")), False),
                ("may answer second", ", ".join(texts(second, "may_answer")), False),
                *(("answered", answer, False) for answer in answers_in(judged) or answers_in(second)),
                ("no answer means no at", _time(second, "expires_at") or _time(first, "expires_at"), False),
                ("bound to", text(first, "binding"), True),
            ),
            links=tuple(dict.fromkeys(link for report in reports for link in links(report))),
            **self._timing(tasks[0], tasks[last], state),
        )

    def _timing(self, first: TaskRecord | None, last: TaskRecord | None, state: State) -> dict[str, Any]:
        if first is None or first.started_at is None or last is None or not has_run(first, state):
            return {}
        ended = (last.ended_at if last.state in ENDED else None) or self.end
        seconds = (ended - first.started_at).total_seconds()
        mapped = f"/mapped/{first.map_index}" if first.map_index >= 0 else ""
        log = f"{self.page}/tasks/{quote(first.task_id, safe='')}{mapped}"
        return {"started": moment(first.started_at, day_of=self.begin), "duration": span(seconds), "log": log}


def _title(task_id: str) -> str:
    return TITLES.get(task_id) or words(task_id.replace("_", " ")).capitalize()


def _in_order(tasks: tuple[TaskRecord, ...]) -> list[TaskRecord]:
    """Return tasks as they started; those not started yet come last, as Airflow lists them."""
    waiting = [task for task in tasks if task.started_at is None]
    begun = [(task.started_at, place, task) for place, task in enumerate(tasks) if task.started_at is not None]
    return [task for _, _, task in sorted(begun)] + waiting


def _missing_summary(task: TaskRecord | None, state: State) -> str:
    if state is State.FAILED:
        return "The task failed and left no report; its log in Airflow says why."
    if state is State.SUPERSEDED:
        return "Not run: newer work stands already."
    if task and task.state == "deferred":
        return "Watching the work in the other system."
    return ""


def _note(task: TaskRecord | None, state: State) -> str:
    if task is None:
        return ""
    if task.state == "success" and state in (State.FAILED, State.SUPERSEDED):
        return f"Airflow says success, the step itself reported {state.value}"
    return f"try {task.try_number}" if task.try_number > 1 else ""


def _facts(*rows: tuple[str, str, bool]) -> tuple[Fact, ...]:
    return tuple(Fact(label, value, code) for label, value, code in rows if value)


def _known_facts(task_id: str, facts: dict[str, Any]) -> tuple[Fact, ...]:
    rows = [(label, text(facts, key) or ", ".join(texts(facts, key)), code) for key, label, code in _FACTS[task_id]]
    if task_id == "verify_image":
        counts = inner(facts, "counts")
        rows.append(("findings", ", ".join(f"{words(name)} {words(count)}" for name, count in counts.items()), False))
        proof = inner(facts, "proof")
        rows.append(("proof", text(proof, "key"), True))
    if task_id == "verify_running":
        desired, ready = number(facts, "desired"), number(facts, "ready")
        rows.insert(0, ("ready", f"{ready} of {desired}" if None not in (ready, desired) else "", False))
    return _facts(*rows)


def _other_facts(facts: dict[str, Any]) -> tuple[Fact, ...]:
    """Return the facts of a step this page does not know: scalars, and each row of a table as a line."""
    rows: list[tuple[str, str, bool]] = []
    for name, value in list(facts.items())[:20]:
        label = words(name).replace("_", " ")
        table = [" · ".join(filter(None, map(words, row.values()))) for row in entries(facts, name)]
        rows += [(label, line, False) for line in table or [words(value)]]
    return _facts(*rows)


def _count_tests(counts: dict[str, Any]) -> str:
    told = [
        f"{count} {name}" for name in ("passed", "failed", "skipped") if (count := number(counts, name)) is not None
    ]
    return ", ".join(told) + "." if told else ""


def answers_in(facts: dict[str, Any]) -> list[str]:
    """Return the answers of an approval as sentences, in order."""
    told = []
    for answer in entries(facts, "answers"):
        by = text(answer, "by")
        what = f"{by} said {text(answer, 'said')}" if by else "nobody answered in time"
        told.append(", ".join(filter(None, (what, _time(answer, "at")))))
    return told


def _time(facts: dict[str, Any], key: str) -> str:
    found = moment_from(facts, key)
    return f"{found.words} UTC" if found else ""

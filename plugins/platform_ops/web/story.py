"""The rule that turns a run into the story its page tells."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from urllib.parse import quote

from platform_ops.backups import verdicts as of_backups
from platform_ops.common.records import RunRecord
from platform_ops.common.words import moment, span, stamp
from platform_ops.delivery import verdicts as of_releases
from platform_ops.delivery.names import RELEASE
from platform_ops.upkeep import verdicts as of_checks
from platform_ops.web.story_chart import draw
from platform_ops.web.story_model import (
    Commit,
    DiffLine,
    DigestRow,
    Evidence,
    Fact,
    Question,
    State,
    Step,
    Story,
    Tone,
    Trouble,
    Verdict,
)
from platform_ops.web.story_steps import AGAIN, EXPECTED, RUN_ENDED, RUNNING, StepTeller, answers_in, find
from platform_ops.web.story_words import (
    entries,
    inner,
    links,
    listing,
    number,
    text,
    texts,
    time_from,
    visible,
    words,
)

LONGEST_DIFF = 400
MOST_TROUBLES = 40
SHORTEST_PAUSE, LONGEST_PAUSE = 3, 30
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_GREEN = frozenset(
    {
        *(of_releases.Verdict.RELEASED, of_releases.Verdict.SUPERSEDED, of_checks.Verdict.SOUND),
        *(of_backups.Verdict.DONE, of_backups.Verdict.NOT_NEEDED),
    }
)
_RED = frozenset({*of_releases.Verdict, *of_checks.Verdict, *of_backups.Verdict}) - _GREEN


def tell(run: RunRecord, *, now: datetime, airflow_url: str) -> Story:
    """Tell a run.

    :param now: measures what still goes on.
    :param airflow_url: where people open Airflow.
    """
    page = f"{airflow_url.rstrip('/')}/dags/{quote(run.dag_id, safe='')}/runs/{quote(run.run_id, safe='')}"
    teller = StepTeller(run, now=now, page=page)
    steps = teller.steps()
    digests = _digests(run) if run.dag_id == RELEASE else ()
    troubles = _troubles(run, steps, digests)
    question = _question(run, now, page)
    verdict = _verdict(run, steps, digests, question, troubles)
    since = inner(run.facts("resolve_commit"), "commits_since")
    commits = tuple(
        Commit(text(entry, "sha"), text(entry, "title"), text(entry, "author")) for entry in entries(since, "commits")
    )
    count = max(int(number(since, "count") or 0), len(commits))
    revision = text(run.facts("pin_image"), "revision")
    return Story(
        headline=" · ".join([*_subject(run), verdict.word]),
        verdict=verdict,
        live=teller.live,
        dag_id=run.dag_id,
        run_id=run.run_id,
        airflow_run=page,
        facts=_facts(run),
        started=moment(teller.begin),
        ended=moment(run.ended_at),
        duration=span((teller.end - teller.begin).total_seconds()) if teller.begin else "",
        told_at=stamp(now),
        steps=steps,
        again=look_again(run, now) if teller.live else 0,
        chart=draw(steps, run.tasks, begin=teller.begin, end=teller.end, live=teller.live),
        question=question,
        troubles=troubles,
        digests=digests,
        commits=commits,
        commits_count=count,
        commits_more=count - len(commits),
        diff=_diff(run),
        diff_title=f"written as {revision[:12]}" if revision else "proposed",
        evidence=_evidence(run),
    )


def look_again(run: RunRecord, now: datetime) -> int:
    """Return after how many seconds a page looks again: a tenth of the time since anything happened, 3 to 30."""
    known = [run.queued_at, run.started_at]
    known += [moment for task in run.tasks for moment in (task.queued_at, task.started_at, task.ended_at)]
    newest = max((moment for moment in known if moment), default=now)
    return round(min(max((now - newest).total_seconds() / 10, SHORTEST_PAUSE), LONGEST_PAUSE))


def _said(run: RunRecord, key: str) -> str:
    """Return what the first step found, else what the starter asked for."""
    return text(run.facts("resolve_commit"), key) or text(run.conf, key)


def _subject(run: RunRecord) -> list[str]:
    if run.dag_id != RELEASE:
        return [words(run.dag_id)]
    return list(filter(None, (_said(run, "service"), _said(run, "environment")))) or [words(run.dag_id)]


def _facts(run: RunRecord) -> tuple[Fact, ...]:
    resolved = run.facts("resolve_commit")
    authors = tuple(
        filter(None, (text(author, "name") or text(author, "email") for author in entries(resolved, "authors")))
    )
    previous = inner(resolved, "previous")
    rows = (
        ("commit", _said(run, "commit"), True),
        ("title", text(resolved, "title"), False),
        ("by", listing(authors), False),
        ("branch", text(resolved, "branch"), True),
        ("project", text(resolved, "project"), False),
        ("started by", words(run.started_by) or "a schedule or another system", False),
        ("because", _said(run, "reason"), False),
        ("replaces", text(previous, "commit"), True),
    )
    return tuple(Fact(label, value, code) for label, value, code in rows if value)


def _question(run: RunRecord, now: datetime, page: str) -> Question | None:
    asked = next((task for task in run.tasks if task.state == "awaiting_input"), None)
    if asked is None:
        return None
    facts = run.facts(asked.task_id)
    until = time_from(facts, "expires_at")
    return Question(
        people=listing(texts(facts, "may_answer"), "or"),
        so_far=listing(tuple(answers_in(facts))),
        until=moment(until),
        left=span((until - now).total_seconds()) if until and until > now else "",
        url=f"{page}/tasks/{quote(asked.task_id, safe='')}/required_actions",
    )


def _verdict(
    run: RunRecord,
    steps: tuple[Step, ...],
    digests: tuple[DigestRow, ...],
    question: Question | None,
    troubles: tuple[Trouble, ...],
) -> Verdict:
    decisive = next((step for step in steps if step.state in (State.FAILED, State.SUPERSEDED) and step.summary), None)
    because = f"{decisive.title}: {decisive.summary}" if decisive else ""
    if run.state not in RUN_ENDED:
        return _standing(run, steps, question, because)
    word = text(run.facts("record_evidence"), "verdict") or _derived(run)
    because = because or (f"{troubles[0].where}: {troubles[0].sentence}" if troubles else "")
    if run.state == "failed":
        # A red run is never shown green, whatever was recorded before its last step failed.
        red = word if word in _RED else "failed"
        told = because or "Airflow calls the run failed."
        return Verdict(red, Tone.BAD, told if word == red else f"Recorded as {word}, but the run is red. {told}")
    if word in _RED:
        return Verdict(word, Tone.BAD, because)
    if word == "superseded":
        return Verdict(word, Tone.CALM, because)
    return Verdict(word, Tone.GOOD, _released(run, digests) if word == "released" else "Every step ended well.")


def _standing(run: RunRecord, steps: tuple[Step, ...], question: Question | None, because: str) -> Verdict:
    if question:
        so_far = f"{question.so_far}. " if question.so_far else ""
        other = "another" if so_far else "a"
        who = f" {question.people} may answer." if question.people else ""
        until = f" No answer until {question.until.words} UTC means no." if question.until else ""
        return Verdict(
            "waiting for approval", Tone.ASKING, f"{so_far}Nothing moves until {other} person says yes.{who}{until}"
        )
    if run.state == "queued":
        return Verdict(
            "queued", Tone.LIVE, "Airflow has not started the run yet; a paused DAG waits until it is unpaused."
        )
    ended = sum(step.state not in (State.WAITING, State.RUNNING, State.RETRYING) for step in steps)
    sentence = because or f"{ended} of {len(steps)} steps are behind it."
    for doing, states in (("running", RUNNING), ("to be tried again", AGAIN)):
        names = ", ".join(words(task.task_id) for task in run.tasks if task.state in states)
        if names:
            return Verdict("running", Tone.LIVE, sentence, f"{doing}: {names}")
    return Verdict("running", Tone.LIVE, sentence, "running: between two steps")


def _derived(run: RunRecord) -> str:
    """Return a verdict for a run that recorded none."""
    errors = {text(task.report or {}, "error") for task in run.tasks if task.state == "failed"}
    if run.state != "failed":
        gone = any(text(task.report or {}, "outcome") == "superseded" for task in run.tasks)
        return "superseded" if gone else "success"
    if "ApprovalRejected" in errors:
        return "rejected"
    return "expired" if "ApprovalExpired" in errors else "failed"


def _released(run: RunRecord, digests: tuple[DigestRow, ...]) -> str:
    service, environment, commit = _said(run, "service"), _said(run, "environment"), _said(run, "commit")
    first = f"{service} in {environment} runs commit {commit[:12]}." if service and environment and commit else ""
    if digests and all(row.same for row in digests[1:]):
        proof = "What was built, what Harbor holds, what GitOps says and what the pods run is the same digest."
        return f"{first} {proof}".strip()
    return first or "Every step ended well."


def _troubles(run: RunRecord, steps: tuple[Step, ...], digests: tuple[DigestRow, ...]) -> tuple[Trouble, ...]:
    found = [Trouble(step.title, step.summary) for step in steps if step.state in (State.FAILED, State.RETRYING)]
    found += [Trouble("Tests", f"{name} fails.") for name in texts(run.facts("build_image"), "failing")]
    for entry in entries(run.facts("verify_running"), "troubles"):
        kind, message = text(entry, "kind"), text(entry, "message")
        found.append(Trouble("Pods", ": ".join(filter(None, (kind, message)))))
    found += _findings(run)
    found += [Trouble("Evidence", sentence) for sentence in texts(run.facts("record_evidence"), "differences")]
    built = digests[0].digests if digests else ()
    for row in digests:
        if row.same is False:
            others = ", ".join(digest for digest in row.digests if digest not in built)
            found.append(Trouble(row.place, f"{others} is not the digest that was built."))
    if run.dag_id == RELEASE:
        found += [
            Trouble(step.title, "Airflow says success, but the step left no report; somebody may have set it by hand.")
            for step in steps
            for task in (find(run, name) for name in step.tasks)
            if step.title != "Tests"
            and task
            and task.state == "success"
            and not task.report
            and task.task_id in EXPECTED
        ]
    return tuple(trouble for trouble in dict.fromkeys(found) if trouble.sentence)[:MOST_TROUBLES]


def _findings(run: RunRecord) -> list[Trouble]:
    """Return what a check of connections found that is not as it should be; what is missing, the task itself says."""
    return [
        Trouble(words(task.label) or task.task_id, f"{text(finding, 'state')}: {text(finding, 'sentence')}")
        for task in run.tasks
        for finding in entries(inner(task.report or {}, "facts"), "findings")
        if text(finding, "state") not in ("ok", "missing")
    ]


def _digest(value: str) -> str:
    """Return the digest in a text; a pod's ``imageID`` carries the repository before it."""
    found = _DIGEST.search(value.lower())
    return found.group() if found else value


def _digests(run: RunRecord) -> tuple[DigestRow, ...]:
    observed = inner(run.facts("record_evidence"), "observed")
    built = _digest(text(run.facts("build_image"), "digest"))

    def row(place: str, task_id: str, reported: Iterable[str], reread: Iterable[str], note: str = "") -> DigestRow:
        again = [digest for digest in reread if digest]
        values = tuple(dict.fromkeys(again or [digest for digest in reported if digest]))
        told = _row(place, values, built, "re-read" if again else "as reported", note)
        if told.same is False and not _reached(run, task_id):
            return replace(told, same=None, comparison="not changed by this run")
        return told

    running = run.facts("verify_running")
    ready, desired = number(running, "ready"), number(running, "desired")
    note = f"{words(ready)} of {words(desired)} ready" if None not in (ready, desired) else ""
    harbor, gitops = _digest(text(observed, "harbor")), _digest(text(observed, "gitops"))
    pods = [_digest(text(pod, "digest")) for pod in entries(running, "pods")]
    pods_again = [_digest(value) for value in texts(observed, "pods")]
    return (
        DigestRow(
            "Built",
            (built,) if built else (),
            None,
            "the measure" if built else "not known yet",
            "as reported" if built else "",
        ),
        row("Harbor", "verify_image", [_digest(text(run.facts("verify_image"), "digest"))], [harbor]),
        row("GitOps", "pin_image", [_digest(text(run.facts("pin_image"), "digest"))], [gitops]),
        row("Pods", "verify_running", pods, pods_again, note),
    )


def _reached(run: RunRecord, task_id: str) -> bool:
    """Say whether the step that makes a place hold our digest got so far that another one is a fault."""
    task = find(run, task_id)
    ended = ("success",) if task_id != "verify_running" else ("success", "failed")
    return bool(task and task.state in ended and text(task.report or {}, "outcome") != "superseded")


def _row(place: str, values: tuple[str, ...], built: str, basis: str, note: str) -> DigestRow:
    if not values:
        return DigestRow(place, (), None, "not known yet", "", note)
    if not built:
        return DigestRow(place, values, None, "nothing built to compare with", basis, note)
    if values == (built,):
        return DigestRow(place, values, same=True, comparison="same", basis=basis, note=note)
    comparison = "not all the same" if len(values) > 1 else "differs"
    return DigestRow(place, values, same=False, comparison=comparison, basis=basis, note=note)


def _diff(run: RunRecord) -> tuple[DiffLine, ...]:
    raw = run.facts("pin_image").get("diff") or run.facts("approve_release").get("diff")
    if not isinstance(raw, str):
        return ()
    lines = raw.splitlines()
    told = [DiffLine(_kind(line), visible(line[:500].expandtabs(4))) for line in lines[:LONGEST_DIFF]]
    if len(lines) > LONGEST_DIFF:
        told.append(DiffLine("hunk", f"… {len(lines) - LONGEST_DIFF} more lines"))
    return tuple(told)


def _kind(line: str) -> str:
    if line.startswith(("+++", "---", "diff ", "index ")):
        return "file"
    return {"+": "add", "-": "del", "@": "hunk"}.get(line[:1], "same")


def _evidence(run: RunRecord) -> Evidence | None:
    facts = run.facts("record_evidence")
    key = text(facts, "key")
    if not key:
        return None
    return Evidence(key, text(facts, "sha256"), text(facts, "number"), links(run.report("record_evidence")))

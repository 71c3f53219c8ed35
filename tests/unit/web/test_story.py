from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_ops.common.pages import write
from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.web.story import tell
from platform_ops.web.story_model import State, Story, Tone

NOW = datetime(2026, 11, 25, 9, 17, 13, tzinfo=UTC)
AIRFLOW = "http://airflow.example.com"


def told(run: RunRecord, now: datetime = NOW) -> Story:
    return tell(run, now=now, airflow_url=AIRFLOW)


def step(story: Story, title: str):
    return next(step for step in story.steps if step.title == title)


def page(story: Story, embedded: bool = False) -> str:
    return write("run.html.j2", story=story, embedded=embedded, address=f"{AIRFLOW}/x", releases="/r")


def test_a_running_release(sample_runs):
    story = told(sample_runs["running"])
    assert story.headline == "storefront · prod · running"
    assert story.live
    assert story.verdict.title == "running: sync_application"
    assert [s.title for s in story.steps] == [
        "Commit", "Tests", "Image", "Scan", "Approval", "GitOps commit", "Sync", "Pods", "Evidence", "Report",
    ]  # fmt: skip
    assert step(story, "Sync").state is State.RUNNING
    assert step(story, "Sync").duration == "7.5 s"
    assert step(story, "Pods").state is State.WAITING
    assert step(story, "Pods").started is None
    assert [(row.place, row.same, row.basis) for row in story.digests] == [
        ("Built", None, "as reported"),
        ("Harbor", True, "as reported"),
        ("GitOps", True, "as reported"),
        ("Pods", None, ""),
    ]
    assert story.troubles == ()
    assert 'id="live"' in page(story)


def test_waiting_for_approval_says_who_until_when_and_where(sample_runs):
    story = told(sample_runs["waiting"])
    assert story.headline == "storefront · prod · waiting for approval"
    assert story.verdict.tone is Tone.ASKING
    assert "paula or quentin may answer" in story.verdict.sentence
    assert story.question.until.words == "2026-11-26 09:15:00"
    assert story.question.left == "23 h 57 min"
    run = sample_runs["waiting"].run_id
    assert story.question.url == f"{AIRFLOW}/dags/release_service/runs/{run}/tasks/approve_release/required_actions"
    assert step(story, "Approval").state is State.ASKING
    assert story.diff_title == "proposed"
    assert [line.kind for line in story.diff][:3] == ["file", "file", "hunk"]


def test_released(sample_runs, make_run):
    story = told(sample_runs["released"])
    assert story.headline == "storefront · prod · released"
    assert story.verdict.tone is Tone.GOOD
    assert "the same digest" in story.verdict.sentence
    assert not story.live
    assert {row.basis for row in story.digests[1:]} == {"re-read"}
    assert all(row.same for row in story.digests[1:])
    assert story.commits_count == 3
    assert story.evidence.sha256.startswith("e3b0c442")
    facts = {fact.label: fact.value for fact in story.facts}
    assert facts["started by"] == "oscar"
    assert facts["because"] == "November train, agreed in CHG-2041"
    assert step(story, "Tests").summary == "128 passed, 0 failed, 2 skipped."
    assert step(story, "Commit").links[0].title == "Commit"
    assert story.started.words == "2026-11-25 09:14:02"
    assert "<script" not in page(story)
    assert "Look again" not in page(story)


def test_superseded_is_calm_and_its_digests_are_no_fault(sample_runs):
    story = told(sample_runs["superseded"])
    assert story.verdict.word == "superseded"
    assert story.verdict.tone is Tone.CALM
    assert "8d02aa417c1e" in story.verdict.sentence
    assert step(story, "Sync").state is State.SUPERSEDED
    assert step(story, "Sync").duration == ""
    assert story.troubles == ()
    assert story.digests[2].comparison == "not changed by this run"


def test_red_tests(sample_runs):
    story = told(sample_runs["red_tests"])
    assert story.verdict.word == "failed"
    assert "2 of 130 tests fail" in story.verdict.sentence
    assert step(story, "Tests").state is State.FAILED
    assert step(story, "Image").state is State.NOT_REACHED
    assert step(story, "Scan").state is State.NOT_REACHED
    assert [t.sentence for t in story.troubles][1:] == [
        "tests/test_basket.py::test_dates fails.",
        "tests/test_basket.py::test_rounding fails.",
    ]


def test_a_digest_mismatch_is_named(sample_runs, make_run):
    story = told(sample_runs["mismatch"])
    assert story.digests[3].same is False
    assert story.digests[3].digests == (make_run.built, make_run.other)
    assert any(make_run.other in t.sentence and t.where == "Pods" for t in story.troubles)
    assert story.verdict.sentence.startswith("Evidence: verify_running reported 3 pods")


@pytest.mark.parametrize(("place", "index"), [("harbor", 1), ("gitops", 2)])
def test_a_mismatch_of_each_place(make_run, place, index):
    observed = {"harbor": make_run.built, "gitops": make_run.built, "pods": [make_run.built]} | {place: make_run.other}
    story = told(make_run(changes={"record_evidence": make_run.report("x", verdict="released", observed=observed)}))
    assert [row.same for row in story.digests[1:]].count(False) == 1
    assert story.digests[index].same is False
    assert len(story.troubles) == 1
    assert "the same digest" not in story.verdict.sentence


def test_pods_carry_their_digest_behind_the_repository(make_run):
    image = f"registry.example.com/shop/storefront@{make_run.built}"
    running = make_run.report("x", digest=make_run.built, pods=[{"digest": image}])
    story = told(make_run(state="running", at="record_evidence", changes={"verify_running": running}))
    assert story.digests[3].same is True


def test_failing_pods(sample_runs):
    story = told(sample_runs["pods_failing"])
    assert story.verdict.word == "failed"
    assert "1 of 3 pods is ready" in story.verdict.sentence
    assert sum("CrashLoopBackOff" in t.sentence for t in story.troubles) == 2
    assert story.digests[3].note == "1 of 3 ready"


@pytest.mark.parametrize(
    ("error", "word"), [("ApprovalRejected", "rejected"), ("ApprovalExpired", "expired"), ("Invalid", "failed")]
)
def test_without_evidence_the_errors_give_the_verdict(make_run, error, word):
    report = make_run.report("no.", "failed", error)
    run = make_run(
        state="failed", at="judge_approval", at_state="failed", at_report=report, changes={"record_evidence": None}
    )
    assert told(run).verdict.word == word


def test_a_red_run_is_never_green(make_run):
    run = make_run(
        state="failed",
        at="report_release",
        at_state="failed",
        at_report=make_run.report("GitLab does not answer.", "failed", "Unreachable"),
    )
    verdict = told(run).verdict
    assert (verdict.word, verdict.tone) == ("failed", Tone.BAD)
    assert verdict.sentence == "Recorded as released, but the run is red. Report: GitLab does not answer."


def test_a_state_set_by_hand_is_pointed_out(make_run):
    story = told(make_run(changes={"verify_image": None}))
    assert [(t.where, "by hand" in t.sentence) for t in story.troubles] == [("Scan", True)]
    failed = make_run.report("no.", "failed", "Refused")
    story = told(make_run(changes={"pin_image": failed}))
    assert step(story, "GitOps commit").state is State.FAILED
    assert "Airflow says success" in step(story, "GitOps commit").note


def test_a_reused_build_and_an_approval_not_needed(make_run):
    story = told(
        make_run(
            changes={
                "build_image": make_run.report("Built before.", "reused", digest=make_run.built),
                "approve_release": make_run.report("dev needs no approval.", "not needed"),
                "confirm_release": make_run.report("dev needs no approval.", "not needed", required=False),
                "judge_approval": make_run.report("dev needs no approval.", "not needed", required=False),
            }
        )
    )
    assert step(story, "Tests").state is State.REUSED
    assert step(story, "Image").state is State.REUSED
    assert step(story, "Approval").state is State.NOT_NEEDED
    assert step(story, "Approval").summary == "dev needs no approval."


def test_a_retry_is_told(make_run):
    report = make_run.report("Argo CD did not answer.", "failed", "Unreachable")
    story = told(make_run(state="running", at="sync_application", at_state="up_for_retry", at_report=report))
    assert step(story, "Sync").state is State.RETRYING
    assert story.verdict.title == "to be tried again: sync_application"
    assert story.troubles[0].sentence == "Argo CD did not answer."


def test_a_foreign_dag_shows_its_steps_in_the_order_they_ran(sample_runs):
    story = told(sample_runs["foreign"])
    assert story.headline == "nightly_backup · failed"
    assert [s.title for s in story.steps] == ["List sources", "Copy databases", "Restore copy", "Report backup"]
    assert [s.state for s in story.steps] == [State.DONE, State.FAILED, State.NOT_REACHED, State.DONE]
    assert step(story, "Copy databases").note == "try 3"
    assert [(fact.label, fact.value) for fact in step(story, "List sources").facts] == [("sources", "4")]
    assert story.digests == ()
    assert story.troubles[0].sentence == "The task failed and left no report; its log in Airflow says why."


def test_a_table_in_a_foreign_report_is_told_row_by_row():
    facts = {"looked_at": 2, "closed": [{"run": "r1", "verdict": "failed"}, {"run": "r2", "told": ""}], "left_open": []}
    task = TaskRecord("close_records", "success", NOW, NOW, 1, {"summary": "Closed.", "facts": facts})
    run = RunRecord("close_open_records", "r", "success", None, NOW, NOW, NOW, {}, (task,))
    assert [(fact.label, fact.value) for fact in told(run).steps[0].facts] == [
        ("looked at", "2"),
        ("closed", "r1 · failed"),
        ("closed", "r2"),
    ]


def test_an_unstarted_run():
    run = RunRecord("release_service", "r", "queued", None, None, None, None, {"service": "storefront"}, ())
    story = told(run)
    assert story.headline == "storefront · queued"
    assert all(s.state is State.WAITING for s in story.steps)
    assert page(story)


def test_every_sample_can_be_written(sample):
    for embedded in (False, True):
        html = page(told(sample), embedded)
        assert html.count("<h1") == 1
        assert html.count("<script") == (sample.state == "running")
        assert " style=" not in html
        assert ('target="_blank"' in html) is embedded


HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}\u202egnp\u200b"


def test_hostile_text_is_inert(make_run):
    facts = {"commit": HOSTILE, "title": HOSTILE, "authors": [{"name": HOSTILE}], "reason": HOSTILE, "service": HOSTILE}
    since = {"count": 1, "commits": [{"sha": HOSTILE, "title": HOSTILE, "author": HOSTILE}]}
    bad = [{"title": HOSTILE, "url": "javascript:alert(1)"}, {"title": HOSTILE, "url": 'https://x/"><script>'}]
    run = make_run(
        changes={
            "resolve_commit": make_run.report(HOSTILE, links=bad, commits_since=since, **facts),
            "pin_image": make_run.report(HOSTILE, diff=f"+{HOSTILE}\n-<script>", revision=HOSTILE),
            "record_evidence": make_run.report(HOSTILE, verdict=HOSTILE, key=HOSTILE, sha256=HOSTILE),
        },
        started_by=HOSTILE,
    )
    html = page(told(run))
    assert "<img" not in html
    assert "<script" not in html
    assert "javascript:" not in html
    assert "{{ 7*7 }}" in html
    assert "\u202e" not in html
    assert "\\u202e" in html


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=True) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([
    "service", "environment", "commit", "tests", "failing", "seconds", "digest", "counts", "proof", "may_answer", "expires_at", "answers",
    "diff", "pods", "troubles", "observed", "differences", "verdict", "key", "commits_since", "authors", "previous", "revision",
])  # fmt: skip
FACTS = st.dictionaries(KEYS, JSON, max_size=6)
REPORTS = st.none() | st.fixed_dictionaries(
    {}, optional={"summary": JSON, "outcome": JSON, "facts": FACTS | JSON, "links": JSON, "error": JSON}
)
STATES = st.sampled_from(
    [
        None,
        "queued",
        "running",
        "deferred",
        "awaiting_input",
        "up_for_retry",
        "success",
        "failed",
        "skipped",
        "upstream_failed",
        "odd",
    ]
)
TASKS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "resolve_commit",
                "build_image",
                "approve_release",
                "confirm_release",
                "judge_approval",
                "verify_running",
                "record_evidence",
                "x",
            ]
        ),
        STATES,
        st.none() | st.integers(-5, 500),
        REPORTS,
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(
    TASKS,
    st.sampled_from(["queued", "running", "success", "failed"]),
    st.sampled_from(["release_service", "other"]),
    FACTS,
)
def test_no_report_however_odd_breaks_the_page(tasks, state, dag_id, conf):
    begin = NOW - timedelta(minutes=5)
    run = RunRecord(
        dag_id,
        "r",
        state,
        None,
        begin,
        begin,
        None,
        conf,
        tuple(
            TaskRecord(name, task_state, None if at is None else begin + timedelta(seconds=at), None, 1, report)
            for name, task_state, at, report in tasks
        ),
    )
    assert "<h1" in page(told(run))


def test_a_mapped_task_is_told_by_what_it_stands_for_and_warnings_stand_among_the_troubles() -> None:
    begin = NOW - timedelta(minutes=5)

    def check(number: int, label: str, state: str, *findings: tuple[str, str]) -> TaskRecord:
        rows = [{"state": word, "sentence": sentence} for word, sentence in findings]
        outcome = "done" if state == "success" else "failed"
        told = {"summary": f"{label}: told.", "outcome": outcome, "facts": {"findings": rows}}
        return TaskRecord("check_connection", state, begin, begin, 1, told, number, label)

    checks = (
        check(0, "gitlab_default", "success", ("ok", "Fine."), ("expires", "It ends in 3 days.")),
        check(1, "harbor_default", "failed", ("missing", "No scan."), ("unknown", "Nobody knows.")),
    )
    recorded = TaskRecord(
        "record_evidence", "success", begin, begin, 1, {"outcome": "done", "facts": {"verdict": "broken"}}
    )
    run = RunRecord("check_connections", "r", "failed", None, begin, begin, NOW, {}, (*checks, recorded))
    story = told(run)
    assert [step.title for step in story.steps] == ["gitlab_default", "harbor_default", "Evidence"]
    assert story.steps[1].log.endswith("/tasks/check_connection/mapped/1")
    assert [(trouble.where, trouble.sentence) for trouble in story.troubles] == [
        ("harbor_default", "harbor_default: told."),
        ("gitlab_default", "expires: It ends in 3 days."),
        ("harbor_default", "unknown: Nobody knows."),
    ]
    assert story.verdict.word == "broken"

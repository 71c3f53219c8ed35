import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.common.report import StepReport
from platform_ops.delivery.verdicts import TEARDOWNS, Verdict, judge_run
from platform_ops.systems.gitlab.models import CommitState

STEPS = ("resolve_commit", "judge_approval", "pin_image", "verify_running")
GOOD = ("done", "reused", "not needed")
STATES = ("success", "failed", "skipped", "upstream_failed", "running", "up_for_retry", "removed", None)
OUTCOMES = (*GOOD, "superseded", "refused", "failed", None)


def task(task_id: str, state: str | None = "success", outcome: str | None = "done", error: str | None = None):
    report = StepReport(f"{task_id} says so.", outcome, error=error).as_dict() if outcome else None
    return TaskRecord(task_id, state, None, None, 1, report)


def run_of(*tasks: TaskRecord) -> RunRecord:
    return RunRecord("release_service", "r1", "running", "oscar", None, None, None, {}, tasks)


def after(changed: TaskRecord, state: str = "upstream_failed") -> RunRecord:
    """Return a run whose steps are well up to one; what follows never ran."""
    number = STEPS.index(changed.task_id)
    behind = (task(name, state, None) for name in STEPS[number + 1 :])
    return run_of(*map(task, STEPS[:number]), changed, *behind)


def test_a_run_whose_steps_all_ended_well_is_released() -> None:
    steps = [task(name, outcome=outcome) for name, outcome in zip(STEPS, (*GOOD, "done"), strict=True)]
    ending = judge_run(run_of(*steps))
    assert (ending.verdict, ending.reason) == (Verdict.RELEASED, "")


@pytest.mark.parametrize(
    ("outcome", "error", "verdict"),
    [
        ("refused", "ApprovalRejected", Verdict.REJECTED),
        ("refused", "ApprovalExpired", Verdict.EXPIRED),
        ("refused", "NotApproved", Verdict.REFUSED),
        ("refused", "Unproven", Verdict.REFUSED),
        ("failed", "TimedOut", Verdict.FAILED),
    ],
)
def test_a_failed_step_decides_with_its_own_words(outcome: str, error: str, verdict: Verdict) -> None:
    ending = judge_run(after(task("judge_approval", "failed", outcome, error)))
    assert (ending.verdict, ending.reason) == (verdict, "judge_approval says so.")


def test_a_step_that_failed_without_a_report_is_named() -> None:
    ending = judge_run(after(task("pin_image", "failed", None)))
    assert ending.verdict is Verdict.FAILED
    assert ending.reason == "pin_image ended as failed in Airflow without reporting a good end."


def test_what_stands_behind_a_failed_step_never_hides_it() -> None:
    waiting = task("verify_running", "upstream_failed", None)
    ending = judge_run(run_of(waiting, task("pin_image", "failed", "refused", "NotApproved")))
    assert (ending.verdict, ending.reason) == (Verdict.REFUSED, "pin_image says so.")


def test_steps_that_never_ran_are_no_release() -> None:
    ending = judge_run(run_of(task("resolve_commit"), task("pin_image", "upstream_failed", None)))
    assert ending.verdict is Verdict.FAILED
    assert "pin_image ended as upstream_failed" in ending.reason


@pytest.mark.parametrize("outcome", [None, "failed", "refused", "superseded"])
def test_a_step_set_to_success_by_hand_is_no_release(outcome: str | None) -> None:
    steps = [task(name) for name in STEPS if name != "judge_approval"]
    ending = judge_run(run_of(*steps, task("judge_approval", "success", outcome)))
    assert ending.verdict in (Verdict.FAILED, Verdict.REFUSED)
    assert ending.reason == "judge_approval ended as success in Airflow without reporting a good end."


def test_the_rest_is_skipped_when_newer_work_stands() -> None:
    ending = judge_run(after(task("resolve_commit", "skipped", "superseded"), "skipped"))
    assert (ending.verdict, ending.reason) == (Verdict.SUPERSEDED, "resolve_commit says so.")


def test_a_skip_for_another_reason_is_a_failure() -> None:
    assert judge_run(after(task("pin_image", "skipped", None), "skipped")).verdict is Verdict.FAILED


def test_a_superseded_report_of_an_earlier_try_does_not_count() -> None:
    ending = judge_run(after(task("pin_image", "failed", "superseded")))
    assert ending.verdict is Verdict.FAILED


def test_the_teardowns_do_not_judge_themselves() -> None:
    running = [task(name, "running", None) for name in TEARDOWNS]
    assert judge_run(run_of(*map(task, STEPS), *running)).verdict is Verdict.RELEASED


@pytest.mark.parametrize("tasks", [(), TEARDOWNS])
def test_a_run_without_steps_releases_nothing(tasks: tuple[str, ...]) -> None:
    assert judge_run(run_of(*map(task, tasks))).verdict is Verdict.FAILED


@given(st.lists(st.tuples(st.sampled_from(STATES), st.sampled_from(OUTCOMES)), max_size=5))
def test_released_means_that_every_step_succeeded_and_reported_a_good_end(
    ends: list[tuple[str | None, str | None]],
) -> None:
    ending = judge_run(run_of(*(task(f"step_{number}", *end) for number, end in enumerate(ends))))
    well = bool(ends) and all(state == "success" and outcome in GOOD for state, outcome in ends)
    assert (ending.verdict is Verdict.RELEASED) == well


@given(st.lists(st.tuples(st.sampled_from(STATES), st.sampled_from(OUTCOMES)), max_size=5))
def test_superseded_means_that_a_step_was_skipped_for_newer_work(ends: list[tuple[str | None, str | None]]) -> None:
    ending = judge_run(run_of(*(task(f"step_{number}", *end) for number, end in enumerate(ends))))
    failed = any(state == "failed" for state, _ in ends)
    assert (ending.verdict is Verdict.SUPERSEDED) == (("skipped", "superseded") in ends and not failed)


@pytest.mark.parametrize("verdict", Verdict)
def test_gitlab_shows_success_only_for_released(verdict: Verdict) -> None:
    expected = {Verdict.RELEASED: CommitState.SUCCESS, Verdict.SUPERSEDED: CommitState.CANCELED}
    assert verdict.gitlab_state is expected.get(verdict, CommitState.FAILED)

"""What the steps of a run of backups add up to."""

from typing import Any

import pytest

from platform_ops.backups.verdicts import TEARDOWNS, judge_run
from platform_ops.common.records import RunRecord, TaskRecord


def task(
    name: str, state: str | None = "success", outcome: str | None = "done", label: str = "", **facts: Any
) -> TaskRecord:
    report = {"summary": f"{name} {label} said.", "outcome": outcome, "facts": facts} if outcome else None
    return TaskRecord(name, state, None, None, 1, report, 0 if label else -1, label)


CHOSEN = task("choose_sources", sources=["tree"])
NONE_CHOSEN = task("choose_sources", outcome="not needed", sources=[])
COPIED = task("back_up_source.copy_source", label="tree")


@pytest.mark.parametrize(
    ("tasks", "verdict", "reason"),
    [
        ([CHOSEN, COPIED], "done", ""),
        ([CHOSEN, task("copy_source", outcome="reused", label="tree")], "done", ""),
        ([NONE_CHOSEN, task("copy_source", "skipped", None)], "not needed", ""),
        # Set to skipped by hand.
        ([CHOSEN, COPIED, task("verify_point", "skipped", None, "tree")], "failed", "verify_point tree is skipped."),
        ([NONE_CHOSEN, task("copy_source", "skipped", "failed")], "failed", "copy_source  said."),
        ([task("plan_restore"), task("restore_point"), task("compare_restore", "skipped", None)], "failed", "skipped"),
        ([CHOSEN, COPIED, task("copy_source", "failed", "failed", "db")], "failed", "copy_source db said."),
        ([CHOSEN, task("copy_source", "upstream_failed", None, "db")], "failed", "copy_source db is upstream_failed."),
        # Set to success by hand.
        ([CHOSEN, task("copy_source", "success", None, "db")], "failed", "copy_source db is success."),
        ([CHOSEN, task("copy_source", "success", "failed", "db")], "failed", "copy_source db said."),
        ([], "failed", "no steps"),
        ([task("write_report")], "done", ""),
        ([task("plan_restore"), task("restore_point"), task("compare_restore")], "done", ""),
        # A dry run has only planned.
        ([task("plan_restore"), task("restore_point", outcome="not needed")], "not needed", ""),
    ],
)
def test_a_run_is_done_only_when_every_step_reported_a_good_end(
    tasks: list[TaskRecord], verdict: str, reason: str
) -> None:
    teardowns = [task(name, "failed", None) for name in TEARDOWNS]
    ending = judge_run(RunRecord("back_up_sources", "r", "running", None, None, None, None, {}, (*tasks, *teardowns)))
    assert ending.verdict == verdict
    assert reason in ending.reason


@pytest.mark.parametrize(("error", "verdict"), [("ApprovalRejected", "rejected"), ("ApprovalExpired", "failed")])
def test_a_no_is_a_no_and_silence_a_failure(error: str, verdict: str) -> None:
    report = {"summary": "quentin said no.", "outcome": "refused", "error": error}
    refused = TaskRecord("restore_point", "failed", None, None, 1, report)
    after = task("compare_restore", "upstream_failed", None)
    tasks = (task("plan_restore"), refused, after)
    ending = judge_run(RunRecord("restore_backup", "r", "running", None, None, None, None, {}, tasks))
    assert (ending.verdict, ending.reason) == (verdict, "quentin said no.")

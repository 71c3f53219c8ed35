"""What the checks of a run add up to."""

import pytest

from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.upkeep.verdicts import TEARDOWNS, judge_run, table


def report(outcome="done", *states, summary="Said."):
    facts = {"system": "GitLab", "findings": [{"state": state} for state in states]}
    return {"summary": summary, "outcome": outcome, "facts": facts}


def task(name, state="success", told=None, label=""):
    return TaskRecord(name, state, None, None, 1, told, 0 if label else -1, label)


LISTED = task("list_connections", told=report())
GOOD = task("check_connection", told=report("done", "ok"), label="gitlab_default")
BAD = task("check_connection", "failed", report("failed", "missing", summary="No scope."), "harbor_default")


@pytest.mark.parametrize(
    ("tasks", "verdict", "reason"),
    [
        ([LISTED, GOOD], "sound", ""),
        ([LISTED, GOOD, BAD], "broken", "harbor_default"),
        ([task("list_connections", "failed", report("refused", summary="web.yaml, line 3: …"))], "failed", "line 3"),
        ([LISTED, task("check_connection", "failed", None, "harbor_default")], "failed", "without a report"),
        # Killed after it had reported.
        ([LISTED, task("check_connection", "failed", GOOD.report, "gitlab_default")], "broken", "gitlab_default"),
        # Set to success by hand.
        ([LISTED, task("check_connection", "success", None, "harbor_default")], "failed", "without a report"),
        ([LISTED, task("check_connection", "success", BAD.report, "harbor_default")], "broken", "harbor_default"),
        ([], "failed", "without a report"),
    ],
)
def test_a_run_is_sound_only_when_every_check_reported_a_good_end(tasks, verdict, reason):
    teardowns = [task(name, "failed") for name in TEARDOWNS]
    ending = judge_run(RunRecord("check_connections", "r", "running", None, None, None, None, {}, (*tasks, *teardowns)))
    assert ending.verdict == verdict
    assert reason in ending.reason


def test_the_table_has_the_worst_first_and_unknown_is_not_fine():
    reports = {
        "a": report("done", "ok", "ok"),
        "b": report("done", "ok", "unknown"),
        "c": report("failed", "missing", "ok"),
        "d": report("done", "expires", "too much"),
        "e": None,
        "f": report("done", "too much"),
        "g": report("done"),
        "include/services/torn.yaml": {"outcome": "failed", "summary": "torn.yaml, line 1: no.", "facts": {}},
    }
    assert [(line["connection"], line["state"]) for line in table([*reports], [*reports.values()])] == [
        ("c", "missing"),
        ("e", "not checked"),
        ("include/services/torn.yaml", "not checked"),
        ("d", "expires"),
        ("f", "too much"),
        ("b", "unknown"),
        ("g", "unknown"),
        ("a", "ok"),
    ]

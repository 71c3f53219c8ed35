"""What goes wrong between us and the store: the run is tried again and comes to its end, or says clearly why not."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.faults.bucket import Stored
from tests.faults.installation import Installation, Sampled
from tests.faults.sources import begun
from tests.faults.work import Ended

STEPS = ("copy", "verify", "prune", "drill")
TRIES = 6
"""As often as a step may be begun: a burst ends before."""
BURST = 9
"""More than the tries of one request, so that steps fail."""
KINDS = ("bucket", "directory")

Order = Mapping[str, Any]
FAULTS: dict[str, Order] = {
    "busy": {"kind": "status", "status": 503, "times": BURST},
    "slow-down": {"kind": "status", "status": 503, "seconds": 1, "times": BURST},
    "reset-of-a-part": {"kind": "reset", "method": "PUT", "path": r"partNumber=2", "times": 2},
    "lost-answer-to-a-part": {"kind": "lose_reply", "method": "PUT", "path": r"partNumber=2", "times": 2},
    "lost-answer-to-a-whole-upload": {"kind": "lose_reply", "method": "POST", "path": r"uploadId=", "times": 1},
    "lost-answer-to-a-manifest": {"kind": "lose_reply", "method": "PUT", "path": r"manifest\.json", "times": 1},
    "reset-of-a-manifest": {"kind": "reset", "method": "PUT", "path": r"manifest\.json", "times": 2},
    "lost-answers-to-deletions": {"kind": "lose_reply", "method": "DELETE", "times": 3},
    "resets-of-reads": {"kind": "reset", "method": "GET", "times": BURST},
    "truncated-reads": {"kind": "truncate", "method": "GET", "path": r"\.zst", "times": 2},
    "truncated-lists": {"kind": "truncate", "method": "GET", "path": r"list-type=2", "times": BURST},
    "wrong-lists": {"kind": "wrong_bytes", "method": "GET", "path": r"list-type=2", "times": BURST},
    "dripping-manifest": {"kind": "drip", "method": "GET", "path": r"manifest\.json", "times": 2},
}


def as_airflow_does(source: Sampled, number: int) -> list[Ended]:
    """Do all steps of a run, each again when it asks for that; return what failed on the way."""
    failed = []
    for step in STEPS:
        for _ in range(TRIES):
            # A later try of a later step is a process of its own: what the copy reported is asked for again.
            ended = source.tries(number, *(("copy", step) if step == "verify" else (step,)))
            wrong = [one for one in ended if one.error]
            failed += wrong
            if not wrong or not wrong[0].again:
                break
    return failed


def in_order(source: Sampled, stored: Stored, number: int) -> None:
    points = stored.points()
    assert points[-1] == source.point(number)
    assert stored.verified() == points
    assert [broken for point in points for broken in stored.broken(point)] == []
    assert stored.uploads() == []


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_what_passes_is_tried_again(installation: Installation, kind: str) -> None:
    source, stored, change = begun(installation, kind)
    for number, (name, fault) in enumerate(FAULTS.items(), 2):
        change(number)
        with installation.faults(fault):
            failed = as_airflow_does(source, number)
            assert installation.struck() > 0, name
        assert [one for one in failed if not one.again] == [], name
        in_order(source, stored, number)
    # Leftovers of tries that failed go with the next run.
    source.back_up(number + 1)
    assert stored.unreferenced() == []


@pytest.mark.faults
@pytest.mark.parametrize(
    ("step", "path"),
    [
        ("verify", r"\.zst"),
        ("verify", r"manifest\.json"),
        ("verify", r"RESTORE\.md"),
        ("drill", r"\.zst"),
        ("drill", r"manifest\.json"),
    ],
)
def test_wrong_bytes_are_never_called_right(installation: Installation, step: str, path: str) -> None:
    source, stored, _ = begun(installation, "directory")
    source.does(2, "copy", *(["verify"] if step == "drill" else []))
    order = {"kind": "wrong_bytes", "method": "GET", "path": path, "times": 0}
    with installation.faults(order):
        (ended,) = source.tries(2, step)
        assert installation.struck() > 0
    assert ended.error
    assert "not ours" not in ended.error
    # It was the way, not the store: once that is in order again, so is the point.
    source.does(2, *STEPS[1:])
    in_order(source, stored, 2)


@pytest.mark.faults
def test_bytes_that_are_wrong_once_on_the_way_spoil_no_point(installation: Installation) -> None:
    source, stored, _ = begun(installation, "directory")
    source.does(2, "copy")
    with installation.faults({"kind": "wrong_bytes", "method": "GET", "path": r"tree\.tar", "times": 1}):
        source.does(2, "verify", later=timedelta(days=8))
        assert installation.struck() == 1
    in_order(source, stored, 2)


@pytest.mark.parametrize("minutes", [20, pytest.param(-20, marks=pytest.mark.faults)])
def test_a_clock_that_is_off_is_told(installation: Installation, minutes: int) -> None:
    source, stored, _ = begun(installation, "directory")
    before = stored.kept()
    installation.skew = timedelta(minutes=minutes)
    for step in STEPS:
        (ended,) = source.tries(2, step)
        assert (ended.error, ended.again) == ("AuthenticationFailed", False)
        assert "RequestTimeTooSkewed" in ended.said
    assert stored.kept() == before
    installation.skew = timedelta(0)
    source.back_up(2)
    in_order(source, stored, 2)


@pytest.mark.faults
def test_a_key_that_was_withdrawn_before_a_step_is_told(installation: Installation) -> None:
    source, stored, _ = begun(installation, "directory")
    source.does(2, "copy")
    right = installation.variables["AIRFLOW_CONN_BACKUP_STORE"]
    installation.connect("backup_store", **installation.store.connection("BACKUP_WRITER_") | {"password": "x" * 40})
    for step in ("copy", "verify", "prune"):
        (ended,) = source.tries(2, step)
        assert (ended.error, ended.again) == ("AuthenticationFailed", False)
    installation.variables["AIRFLOW_CONN_BACKUP_STORE"] = right
    source.does(2, *STEPS[1:])
    in_order(source, stored, 2)

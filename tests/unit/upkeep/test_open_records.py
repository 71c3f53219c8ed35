"""Which runs look as if Airflow ended them without their last steps."""

from datetime import UTC, datetime, timedelta

import pytest

from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.upkeep.open_records import looks_open, why

QUEUED = datetime(2026, 1, 2, 3, tzinfo=UTC)
LATER = QUEUED + timedelta(hours=1)
LAST = ("record_evidence", "report_release")
GOOD = ("success", LATER)


def run(*last: tuple[str | None, datetime | None], queued_at: datetime | None = QUEUED) -> RunRecord:
    tasks = tuple(
        TaskRecord(name, state, begun, begun, 1, None) for name, (state, begun) in zip(LAST, last, strict=False)
    )
    return RunRecord("release_service", "r1", "failed", None, queued_at, QUEUED, LATER, {}, tasks)


def test_a_run_whose_last_steps_went_well_is_closed() -> None:
    assert not looks_open(run(GOOD, GOOD), LAST)
    assert not looks_open(run(GOOD, GOOD, queued_at=None), LAST)


@pytest.mark.parametrize(
    "bad",
    [("failed", LATER), ("skipped", LATER), ("upstream_failed", None), ("removed", None), (None, None)],
)
def test_a_last_step_that_did_not_end_well_leaves_it_open(bad: tuple[str | None, datetime | None]) -> None:
    assert looks_open(run(bad, GOOD), LAST)
    assert looks_open(run(GOOD, bad), LAST)


def test_a_last_step_that_is_missing_leaves_it_open() -> None:
    assert looks_open(run(GOOD), LAST)


def test_last_steps_of_an_earlier_end_do_not_count() -> None:
    # Airflow stamps the time of a clear there.
    assert looks_open(run(GOOD, GOOD, queued_at=LATER + timedelta(seconds=1)), LAST)


def test_the_reason_names_airflows_state() -> None:
    assert why(run(GOOD)) == "Airflow ended the run as failed without its last steps"

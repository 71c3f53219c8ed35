"""The report as it is stored, and what its page says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.backups.history import LISTED, History
from platform_ops.backups.overview import Day, Observed, Standing, row
from platform_ops.backups.proofs import read_proof
from platform_ops.backups.report import BadReport, Report, as_dict, read, write
from platform_ops.backups.report_page import HEIGHT, drill_chart, page_row, page_values, size_chart, tone
from tests.unit.backups.made import DAY, HOUR, MINUTE, NOW, every_kind, history, kept, proof, source

PLACES = {"airflow": "http://airflow.test", "address": "http://airflow.test/platform-ops/backups"}


def test_a_stored_report_is_read_as_it_was() -> None:
    report = every_kind()
    again = read(json.loads(write(report)))
    assert as_dict(again) == as_dict(report)
    assert [row.standing for row in again.rows] == [row.standing for row in report.rows]
    assert again.rows[-1].days == report.rows[-1].days
    assert again.rows[-1].listed == report.rows[-1].listed != ()
    assert again.at == report.at


def test_it_says_the_whole_in_a_sentence() -> None:
    assert every_kind().sentence.startswith(
        "2 of 11 sources are proven and in time. away: can't be read; broken: can't be read; empty: never backed up;"
    )
    assert Report(NOW, ()).sentence == "The catalogue has no source, so nothing is backed up."


@pytest.mark.parametrize(
    "change",
    [
        {"format": "platform-ops/backup-report/2"},
        {"at": "yesterday"},
        {"at": "2026-11-25T09:17:13"},
        {"at": None},
        {"sources": None},
        {"sources": [{}]},
        {"sources": ["x"]},
    ],
)
def test_what_is_no_report_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadReport):
        read(as_dict(every_kind()) | change)


@pytest.mark.parametrize("field", ["standing", "days", "rpo", "proof", "last", "size"])
def test_a_row_without_a_field_is_refused(field: str) -> None:
    document = as_dict(every_kind())
    del document["sources"][0][field]
    with pytest.raises(BadReport):
        read(document)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{", b'{"at": "2026-11-25T00:00:00"}', b'{"at": "2026-11-25T00:00:00+00:00"}', b"\xff"],
)
def test_what_is_no_proof_proves_nothing(body: bytes) -> None:
    assert read_proof(body) is None


def test_a_fresh_report_has_the_tone_of_its_worst_source() -> None:
    values = page_values(every_kind(), now=NOW, **PLACES)
    assert (values["tone"], values["title"]) == ("bad", "2 of 11 sources are proven and in time")
    fine = Report(NOW, every_kind().rows[-2:])
    assert page_values(fine, now=NOW + 26 * HOUR, **PLACES)["tone"] == "good"


def test_an_old_report_calls_nothing_fine() -> None:
    fine = Report(NOW, every_kind().rows[-2:])
    values = page_values(fine, now=NOW + 26 * HOUR + MINUTE, **PLACES)
    assert (values["tone"], values["title"]) == ("bad", "Out of date")
    assert {row.word for row in values["rows"]} == {"was proven"}
    assert {row.tone for row in values["rows"]} == {"calm"}


def test_nothing_known_is_nothing_fine() -> None:
    assert page_values(None, now=NOW, **PLACES)["tone"] == "bad"
    assert page_values(Report(NOW, ()), now=NOW, **PLACES)["tone"] == "calm"
    assert [one for one in Standing if tone(one) == "good"] == [Standing.PROVEN]


def test_a_source_that_can_not_be_read_is_not_called_never_proven() -> None:
    rows = {row.name: page_row(row) for row in every_kind().rows}
    assert (rows["away"].proof_age, rows["away"].points) == ("unknown", "")
    assert (rows["orders"].proof_age, rows["orders"].points) == ("never", "1 point")
    assert (rows["slow"].rto.last, rows["slow"].rto.over) == ("4 min", True)
    assert rows["archive"].growth == "+102.8% in 30 days"


def test_the_points_of_a_source_are_listed_the_newest_first() -> None:
    points, proofs = [kept(9 * HOUR, 2000), kept(33 * HOUR, verified=False)], [proof(6 * HOUR), proof(8 * HOUR)]
    proofs = [replace(one, point=points[0].point) for one in proofs]
    found = page_row(row(Observed("web", source(), History(7, tuple(points), tuple(proofs))), NOW))
    assert [(one.name, one.verified, one.size) for one in found.listed] == [
        (points[0].point, True, "2.0 KiB"),
        (points[1].point, False, "1000 B"),
    ]
    assert [one.proven_at and one.proven_at.words for one in found.listed] == ["2026-11-25 03:17:13", None]
    assert found.unlisted == 5


def test_of_very_many_points_the_newest_are_listed() -> None:
    points = [kept(hour * HOUR) for hour in range(LISTED + 9)]
    found = row(Observed("web", source(), history(points, [])), NOW)
    assert [one.kept for one in found.listed] == points[:LISTED]


def test_a_report_of_an_earlier_version_lists_no_points() -> None:
    document = as_dict(every_kind())
    for fields in document["sources"]:
        del fields["listed"]
    assert {one.listed for one in read(document).rows} == {()}


def test_a_day_without_a_point_has_no_bar() -> None:
    chart = size_chart([Day(), Day(size=50), Day(), Day(size=100)])
    assert [(bar.x, bar.height) for bar in chart.bars] == [(4, 13.0), (12, 26.0)]
    assert chart.words == "Size on 2 of 4 days: from 50 B to 100 B"
    assert size_chart([Day()] * 4).words == "No point in 4 days"


def test_drills_are_drawn_against_their_target_and_failures_are_told() -> None:
    chart = drill_chart([Day(rto=MINUTE), Day(failed=True), Day()], 2 * MINUTE)
    assert [(bar.x, bar.height) for bar in chart.bars] == [(0, 13.0)]
    assert (chart.target, chart.failed) == (2.0, (4,))
    assert chart.words == "Restores on 1 of 3 days: from 1 min to 1 min; on 1 days a restore failed"
    assert drill_chart([Day()], DAY).words == "No proven restore in 1 days"


@given(
    st.lists(
        st.builds(
            Day,
            st.none() | st.integers(0, 2**50),
            st.none() | st.timedeltas(timedelta(0), timedelta(days=9)),
            st.booleans(),
        ),
        min_size=1,
        max_size=30,
    ),
    st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=9)),
)
def test_everything_drawn_is_within_the_chart(days: list[Day], target: timedelta | None) -> None:
    for chart in (size_chart(days), drill_chart(days, target)):
        assert all(bar.y >= 0 and bar.height > 0 and bar.y + bar.height <= HEIGHT + 0.1 for bar in chart.bars)
        assert chart.target is None or 0 <= chart.target <= HEIGHT
    assert len(size_chart(days).bars) == sum(day.size is not None for day in days)

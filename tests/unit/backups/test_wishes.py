"""What the form of restore_backup may say, and where a restore may go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.approvals.policy import ApprovalPolicy
from platform_ops.backups.wishes import (
    SYSTEM,
    BadWish,
    overlap,
    place_of,
    production_policy,
    refuse_reserved,
    refuse_source,
    wish_from,
)
from tests.unit.backups.made import source

FORM: dict[str, Any] = {"source": "web", "point": "latest", "target": "/srv/back", "subset": "", "dry_run": False}
POINT = "20261125T000000Z-0123abcd"
AT = datetime(2026, 11, 25, 3, tzinfo=UTC)


def wish(**changes: Any) -> Any:
    return wish_from(FORM | changes)


@pytest.mark.parametrize(
    ("text", "point", "as_of"),
    [
        ("latest", None, None),
        ("", None, None),
        (POINT, POINT, None),
        ("as of 2026-11-25T03:00:00Z", None, AT),
        ("as of 2026-11-25 04:00+01:00", None, AT),
        ("as of 2026-11-25T03:00", None, AT),
    ],
)
def test_a_point_is_a_name_the_latest_or_of_a_time(text: str, point: str | None, as_of: datetime | None) -> None:
    assert (wish(point=text).point, wish(point=text).as_of) == (point, as_of)


@pytest.mark.parametrize("text", ["yesterday", "as of", "as of noon", "../other", POINT + "x", "2026-11-25T03:00:00Z"])
def test_what_names_no_point_is_refused(text: str) -> None:
    with pytest.raises(BadWish):
        wish(point=text)


@pytest.mark.parametrize("target", ["", "back", "/", "//", "/srv/../etc", "/srv/\0", "/" + "x" * 5000])
def test_what_is_no_folder_is_refused(target: str) -> None:
    with pytest.raises(BadWish):
        wish(target=target)


@pytest.mark.parametrize("subset", ["/etc", "..", "a/../../b", "a\0"])
def test_what_is_no_part_is_refused(subset: str) -> None:
    with pytest.raises(BadWish):
        wish(subset=subset)


@pytest.mark.parametrize("target", ["s3://", "s3://Shop", "s3://shop/key", "s3://a", "s3:/shop", "s3://-shop"])
def test_what_is_no_bucket_is_refused(target: str) -> None:
    with pytest.raises(BadWish):
        wish(target=target)


@pytest.mark.parametrize("subset", ["", "a/b/", "../a", "/a", "a//b", "."])
def test_a_part_of_a_bucket_is_how_keys_begin_letter_by_letter(subset: str) -> None:
    assert (wish(target="s3://shop", subset=subset).target, wish(target="s3://shop", subset=subset).subset) == (
        "s3://shop",
        subset,
    )


@pytest.mark.parametrize("subset", ["a\0", "ü" * 513])
def test_what_no_key_begins_with_is_refused(subset: str) -> None:
    with pytest.raises(BadWish):
        wish(target="s3://shop", subset=subset)


@pytest.mark.parametrize(("subset", "means"), [("", ""), (".", ""), ("a/b/", "a/b"), ("./a", "a"), ("a//b", "a/b")])
def test_a_part_has_one_name(subset: str, means: str) -> None:
    assert wish(subset=subset).subset == means


@pytest.mark.parametrize("said", [True, None, "false", 0, "no"])
def test_only_a_clear_no_is_no_dry_run(said: Any) -> None:
    assert wish(dry_run=said).dry_run is True
    assert wish().dry_run is False
    assert wish(overwrite=said).overwrite is (said is True)


def test_a_wish_accepts_what_was_asked_for() -> None:
    assert wish().accepts("any", AT)
    assert wish(point=POINT).accepts(POINT, AT)
    assert not wish(point=POINT).accepts("other", AT)
    assert wish(point="as of 2026-11-25T03:00:00Z").accepts("any", AT)
    assert not wish(point="as of 2026-11-25T03:00:00Z").accepts("any", AT + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("target", "how"),
    [("/srv/web", "lies in"), ("/srv/web/below", "lies in"), ("/srv", "contains"), ("/srv/web2", ""), ("/srv/we", "")],
)
def test_a_target_in_around_or_at_the_source_is_refused(target: str, how: str) -> None:
    if not how:
        refuse_source(Path(target), Path("/srv/web"))
        return
    with pytest.raises(BadWish, match=f"{target} {how} the source /srv/web"):
        refuse_source(Path(target), Path("/srv/web"))


@pytest.mark.parametrize(
    ("target", "overwrite", "said"),
    [
        ("/etc", False, "is, contains or lies in /etc"),
        ("/etc/cron.d/new", False, "is, contains or lies in /etc"),
        ("/opt", False, "is, contains or lies in /opt/airflow"),
        ("/opt/airflow/dags", True, "is, contains or lies in /opt/airflow"),
        ("/srv", True, "stands at the top"),
        ("/var", False, "is, contains or lies in /var/spool"),
        ("/srv", False, ""),
        ("/var/back", True, ""),
        ("/etcetera/back", True, ""),
    ],
)
def test_what_belongs_to_the_machine_or_to_airflow_is_no_target(target: str, overwrite: bool, said: str) -> None:
    reserved = (*SYSTEM, Path("/opt/airflow"))
    if not said:
        refuse_reserved(Path(target), reserved, overwrite=overwrite)
        return
    with pytest.raises(BadWish, match=f"The target {target} {said}"):
        refuse_reserved(Path(target), reserved, overwrite=overwrite)


def test_a_bucket_is_itself_and_nothing_else() -> None:
    assert overlap("s3://shop", place_of("s3://shop"))
    assert not overlap("s3://shop", "s3://shop-2")
    assert not overlap("s3://shop", Path("/shop"))
    refuse_source("s3://back", "s3://shop")
    refuse_source("s3://shop", Path("/shop"))
    with pytest.raises(BadWish, match="s3://shop is the source"):
        refuse_source("s3://shop", "s3://shop")


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: Path("/", *parts))


@given(paths, paths)
def test_whatever_shares_a_file_overlaps(one: Path, other: Path) -> None:
    below = {"/".join(one.parts[: n + 1]) for n in range(len(one.parts))}
    assert overlap(one, other) is overlap(other, one)
    assert overlap(one, other) is ("/".join(other.parts) in below or other.is_relative_to(one))


def policy(*approvers: str, hours: int = 24) -> ApprovalPolicy:
    return ApprovalPolicy(approvers, 1, timedelta(hours=hours))


def test_production_of_any_source_asks_its_approvers() -> None:
    web = replace(source("web"), approval=policy("paula", "quentin"))
    shop = replace(source("shop"), approval=policy("quentin", "rosa", hours=2))
    catalogue = [(web, [Path("/srv/live")]), (shop, [Path("/srv/live/shop")]), (source("free"), [])]
    assert production_policy(Path("/tmp/x"), catalogue) is None
    assert production_policy(Path("/srv/live/web"), catalogue) == web.approval
    assert production_policy(Path("/srv/live/shop/a"), catalogue) == policy("quentin", hours=2)
    assert production_policy(Path("/srv"), catalogue) == policy("quentin", hours=2)

"""Which versions are new, which lines stay, and whose turn it is to be read again."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.backups.contents import CYCLE, Stored, content_name, in_turn, keyed_hash, point_of, side_by_side
from platform_ops.backups.kinds.bucket_plan import is_same, line_of, meaning, plan, scratch_key, without
from platform_ops.common.errors import Unreachable
from platform_ops.systems.object_store.listing import parse_page
from platform_ops.systems.object_store.models import Listed

KEYS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
VERSIONS = st.builds(
    Listed,
    key=KEYS,
    version=st.sampled_from(["", "v1", "v2", "v3"]),
    size=st.integers(0, 2),
    etag=st.sampled_from(["", "e1", "e2"]),
    modified=st.sampled_from(["t1", "t2"]),
    marker=st.booleans(),
)
LISTINGS = st.lists(VERSIONS, max_size=30, unique_by=lambda one: (one.key, one.version)).map(
    lambda found: sorted(found, key=lambda one: one.key.encode())
)


def line(one: Listed) -> dict[str, Any]:
    return line_of(one) | {"content": f"of {one}"}


@given(LISTINGS, LISTINGS)
def test_the_merge_finds_what_a_look_at_all_lines_would(now: list[Listed], earlier: list[Listed]) -> None:
    lines = [line(one) for one in earlier]
    known = {(one["key"], one["version"]): one for one in lines}
    expected = []
    for one in now:
        found = known.get((one.key, one.version))
        expected.append((one, found if found and is_same(one, found) else None))
    assert list(plan(iter(now), iter(lines))) == expected


@given(LISTINGS, st.randoms())
def test_an_order_of_its_own_costs_reading_but_makes_no_wrong_pair(listed: list[Listed], random: Any) -> None:
    shuffled = random.sample(listed, len(listed))
    for one, found in plan(iter(shuffled), map(line, shuffled)):
        assert found is None or found == line(one)


@given(LISTINGS)
def test_what_did_not_change_keeps_its_line(listed: list[Listed]) -> None:
    changed = [one for one, found in plan(iter(listed), map(line, listed)) if found is None]
    assert changed == [one for one in listed if not one.etag and not one.marker]


@pytest.mark.parametrize("field", ["size", "etag", "modified", "marker"])
def test_each_difference_counts(field: str) -> None:
    one = Listed("k", "v", 1, "e", "t")
    other: dict[str, Any] = {"size": 2, "etag": "f", "modified": "u", "marker": True}
    assert is_same(one, line(one))
    assert not is_same(one, line(one) | {field: other[field]})


def test_the_plan_takes_no_more_memory_for_more_objects() -> None:
    """Both sides are read as they come: a look at the first pair takes one of each."""
    taken = []

    def listed() -> Any:
        for number in range(10**9):
            taken.append(number)
            yield Listed(f"{number:012}", "", 1, "e", "t")

    pairs = plan(listed(), (line(Listed(f"{number:012}", "", 1, "e", "t")) for number in range(10**9)))
    assert next(pairs)[1] is not None
    assert len(taken) == 1


def test_patterns_leave_keys_out() -> None:
    listed = [Listed(key, "", 1, "e", "t") for key in ("a.tmp", "a/b.tmp", "b")]
    assert [one.key for one in without(listed, ["*.tmp"])] == ["b"]


@given(KEYS, KEYS)
def test_two_keys_are_never_restored_as_one(one: str, other: str) -> None:
    assert (scratch_key(one) == scratch_key(other)) == (one == other)


@given(st.text(st.sampled_from("./a\x00\n\\ü"), min_size=1, max_size=12))
def test_no_key_of_a_drill_leads_anywhere(key: str) -> None:
    segments = scratch_key(key).split("/")
    assert not {"", ".", ".."} & set(segments)
    assert "\x00" not in scratch_key(key)


POINTS = st.integers(0, 10**5).map(lambda hours: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hours))


@given(st.binary(min_size=32, max_size=32), POINTS, st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_within_a_cycle_every_content_is_read_at_least_once(digest: bytes, start: datetime, hours: list[int]) -> None:
    name = content_name(digest.hex(), "20261125T000000Z-0123abcd", "0123abcd", encrypted=True)
    at, last_read = start, start
    for gap in hours:
        since, at = at, at + timedelta(hours=gap)
        if in_turn(name, since, at):
            last_read = at
        assert at - last_read < CYCLE
    assert in_turn(name, None, start)


@given(st.binary(min_size=32, max_size=32), POINTS)
def test_and_in_a_week_of_hourly_points_exactly_once(digest: bytes, start: datetime) -> None:
    name = content_name(digest.hex(), "20261125T000000Z-0123abcd", "0123abcd", encrypted=False)
    ends = [start + timedelta(hours=hour) for hour in range(7 * 24 + 1)]
    assert sum(in_turn(name, since, at) for since, at in itertools.pairwise(ends)) == 1


def test_a_name_tells_who_stored_it_and_nothing_of_what() -> None:
    plain = "ab" * 32
    assert keyed_hash(plain, "key") != keyed_hash(plain, "other key") != plain
    assert keyed_hash(plain, "") == plain
    assert point_of(content_name(plain, "20261125T000000Z-0123abcd", "0123abcd", encrypted=True)) is not None
    assert point_of("../../manifest.json") is None


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_what_is_there_is_paired_with_what_is_expected(expected: set[int], there: set[int]) -> None:
    contents = [Stored(f"{number:02}", 1, 1, "") for number in sorted(expected)]
    found = list(side_by_side(contents, ((f"{number:02}", number) for number in sorted(there))))
    assert [(int(one.name), size) for one, size in found] == [
        (number, number if number in there else None) for number in sorted(expected)
    ]


def page(inner: str) -> bytes:
    return f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</ListBucketResult>'.encode()


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<IsTruncated>maybe</IsTruncated>",
        "<IsTruncated>true</IsTruncated>",
        "<IsTruncated>false</IsTruncated><",
        "<Contents><Size>1</Size></Contents><IsTruncated>false</IsTruncated>",
        "<Contents><Key>k</Key></Contents><IsTruncated>false</IsTruncated>",
        "<Contents><Key>k</Key><Size>1x</Size></Contents><IsTruncated>false</IsTruncated>",
        "<Version><Key>k</Key><Size>-1</Size></Version><IsTruncated>false</IsTruncated>",
        "<DeleteMarker><Key/></DeleteMarker><IsTruncated>false</IsTruncated>",
    ],
)
def test_what_is_no_whole_page_is_none(inner: str) -> None:
    with pytest.raises(Unreachable, match="bucket shop"):
        parse_page(page(inner), "bucket shop")


def test_keys_are_decoded_where_the_store_says_so() -> None:
    entry = "<Contents><Key>a+b%2Bc%0A</Key><Size>1</Size></Contents><IsTruncated>false</IsTruncated>"
    assert parse_page(page(entry), "b").entries[0].key == "a+b%2Bc%0A"
    assert parse_page(page(f"<EncodingType>url</EncodingType>{entry}"), "b").entries[0].key == "a b+c\n"


def test_settings_are_compared_by_what_they_say() -> None:
    one = '<C xmlns="http://x/"><Rule><ID>a</ID><Days>1</Days></Rule></C>'
    assert meaning(one) == meaning("<C> <Rule><Days>1</Days><ID>a</ID></Rule> </C>")
    assert meaning(one) != meaning("<C><Rule><ID>a</ID><Days>2</Days></Rule></C>")

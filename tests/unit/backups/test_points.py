"""The manifest: written and read alike, and nothing else taken for one."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from platform_ops.backups.points import (
    BadManifest,
    Manifest,
    Member,
    is_point,
    prefix,
    read_manifest,
    write_manifest,
)

POINT = "20260301T020000Z-0123abcd"
AT = datetime(2026, 3, 1, 2, tzinfo=UTC)
MANIFEST = Manifest(
    source="tree",
    kind="directory",
    point=POINT,
    place="0a1b2c3d",
    run="scheduled__2026-03-01",
    state_at=AT,
    began_at=AT,
    ended_at=AT,
    state={"files": 3},
    members=(Member("tree.tar.zst.age", 10, "a" * 64, 20, "b" * 64), Member("index.jsonl.zst.age", 1, "", 2, "")),
    tools={"tar": "GNU tar"},
    recipients=("age1x",),
)


def spoilt(**fields: object) -> bytes:
    return json.dumps(json.loads(write_manifest(MANIFEST)) | fields).encode()


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert read_manifest(write_manifest(MANIFEST), "tree", POINT) == MANIFEST
    assert (MANIFEST.plain_size, MANIFEST.stored_size) == (11, 22)
    snapshot = replace(MANIFEST, state_until=AT + timedelta(seconds=1))
    assert read_manifest(write_manifest(snapshot), "tree", POINT) == snapshot


def test_a_state_lasts_until_the_snapshot_or_the_end_of_the_copy() -> None:
    copied = replace(MANIFEST, ended_at=AT + timedelta(hours=1))
    assert copied.settled_at == copied.ended_at
    assert copied.state_words == "2026-03-01 02:00:00 to 03:00:00 UTC"
    assert replace(copied, state_until=AT).settled_at == AT
    assert replace(copied, state_until=AT).state_words == "2026-03-01 02:00:00 UTC"
    assert replace(copied, ended_at=AT + timedelta(days=1)).state_words.endswith("to 2026-03-02 02:00:00 UTC")


def test_equal_manifests_have_equal_bytes() -> None:
    assert write_manifest(MANIFEST) == write_manifest(replace(MANIFEST, state=dict(MANIFEST.state)))


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"{}", spoilt(members=[{"name": "x"}]), spoilt(state_at="?")])
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(BadManifest, match=r"tree/20260301T020000Z-0123abcd/manifest.json is no manifest"):
        read_manifest(body, "tree", POINT)


@pytest.mark.parametrize("fields", [{"source": "other"}, {"point": "20260302T020000Z-0123abcd"}])
def test_the_manifest_of_another_point_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(BadManifest, match="somebody put it there"):
        read_manifest(spoilt(**fields), "tree", POINT)


def test_another_format_is_refused() -> None:
    with pytest.raises(BadManifest, match="format"):
        read_manifest(spoilt(format="platform-ops/backup/9"), "tree", POINT)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x\0y"])
def test_a_member_that_would_lie_elsewhere_is_refused(name: str) -> None:
    members = [{"name": name, "plain_size": 1, "plain_sha256": "", "stored_size": 1, "stored_sha256": ""}]
    with pytest.raises(BadManifest, match="names a member"):
        read_manifest(spoilt(members=members), "tree", POINT)


@pytest.mark.parametrize("text", [None, 1, "", "20260301T020000Z", "20260301T020000Z-0123abcd/..", POINT + "\n"])
def test_what_is_no_point(text: object) -> None:
    assert not is_point(text)


def test_a_point_lies_below_its_source() -> None:
    assert prefix("tree", POINT) == "tree/20260301T020000Z-0123abcd/"

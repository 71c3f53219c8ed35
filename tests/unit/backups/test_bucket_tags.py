"""Tags of a bucket's objects: asked for where nobody has told that there are none."""

import pytest

from tests.unit.backups.bucket_world import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_tags_that_changed_without_a_trace_are_seen_when_all_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for what, expected in (({}, None), ({"ask_all_tags": True}, "team=b")):
        world = World(monkeypatch, **what)
        world.s3.put("shop", "k", b"x")
        world.back_up()
        world.s3.newest("shop", "k").tags = {"team": "b"}
        (line,) = world.lines(world.begin())
        assert line["put"].get("Tagging") == expected


@pytest.mark.parametrize(("server", "asked"), [("S3", 3), ("MinIO", 1)])
def test_a_store_that_tells_of_tags_is_asked_only_for_those_there_are(world: World, server: str, asked: int) -> None:
    world.s3.server = server
    for key in ("a", "b"):
        world.s3.put("shop", key, b"x")
    world.s3.put("shop", "c", b"x", {"team": "b"})
    assert [line["put"].get("Tagging") for line in world.lines(world.back_up())] == [None, None, "team=b"]
    assert world.s3.count("GET", r"/shop/.\?tagging") == asked

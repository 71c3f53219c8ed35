"""What is found of damaged contents and lists, and how the next copy heals it."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from platform_ops.backups.contents import lines
from platform_ops.backups.errors import Corrupt
from platform_ops.backups.streams import Sum, encode_whole
from tests.unit.backups.bucket_world import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), "has other bytes"),
        (lambda body: body[:-5], "bytes instead of"),
    ],
)
@pytest.mark.parametrize("encrypted", [True, False])
def test_a_changed_content_is_found_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Any, said: str, encrypted: bool
) -> None:
    world = World(monkeypatch, encrypted=encrypted)
    for number in range(3):
        world.s3.put("shop", f"k{number}", f"content {number}".encode())
    manifest = world.begin()
    key = world.spoil(change, 1)
    with pytest.raises(Corrupt, match=f"{key} {said}|{key} has"):
        world.verify(manifest)
    with pytest.raises(Corrupt, match=key):
        world.drill(manifest, tmp_path)
    assert sorted(world.s3.buckets) == ["backups", "shop"]


def test_a_content_that_unpacks_to_more_than_was_backed_up_is_not_unpacked(world: World, tmp_path: Path) -> None:
    world.s3.put("shop", "k", b"content")
    manifest = world.begin()
    key = world.spoil(lambda _: encode_whole(bytes(1 << 26), world.recipients))
    with pytest.raises(Corrupt, match=f"{key} .*unpacks to more than was backed up"):
        world.drill(manifest, tmp_path)


def test_a_missing_and_two_swapped_contents_are_found_and_named(world: World, tmp_path: Path) -> None:
    for number in range(3):
        world.s3.put("shop", f"k{number}", f"content {number}".encode())
    manifest = world.begin()
    one, other, lost = world.contents()
    bodies = [world.s3.newest("backups", key).body for key in (one, other)]
    world.s3.put("backups", one, bodies[1])
    world.s3.put("backups", other, bodies[0])
    world.s3.buckets["backups"].keys.pop(lost)
    with pytest.raises(Corrupt) as caught:
        world.verify(manifest)
    assert caught.value.facts["objects"] == [one, other, lost]
    with pytest.raises(Exception, match="shop-data/contents/"):
        world.drill(manifest, tmp_path)


def test_what_was_found_damaged_is_stored_anew(world: World, tmp_path: Path) -> None:
    for number in range(4):
        world.s3.put("shop", f"k{number}", f"content {number}".encode())
    manifest = world.begin()
    world.spoil(lambda body: body[:-1] + bytes([body[-1] ^ 1]), 0)
    world.spoil(lambda body: body[:-1], 1)
    world.s3.buckets["backups"].keys.pop(world.contents()[2])
    with pytest.raises(Corrupt, match="3 of the contents"):
        world.verify(manifest)
    healed = world.back_up()
    assert healed.state["added"] == 3
    assert "3 contents" in " ".join(world.notes)
    assert world.drill(healed, tmp_path).differences == ()


def test_a_list_in_the_place_of_another_is_named(world: World, tmp_path: Path) -> None:
    world.s3.put("shop", "k", b"x")
    manifest = world.begin()
    key = world.points.key(manifest.point, manifest.place, "objects.jsonl.zst.age")
    size = next(one.plain_size for one in manifest.members if key.endswith(one.name))
    world.s3.put("backups", key, encode_whole(b"-" * size, world.recipients))
    with pytest.raises(Corrupt, match=key):
        world.drill(manifest, tmp_path)


def test_what_no_sum_is_said_of_is_not_opened(world: World) -> None:
    world.s3.put("shop", "k", b"x")
    world.begin()
    with pytest.raises(Corrupt, match="Nothing says"), world.points.open(world.contents()[0], None, Sum(1, "")):
        pass


def test_a_list_that_is_none_of_ours_is_told() -> None:
    with pytest.raises(Corrupt, match="not one of ours"):
        list(lines(BytesIO(b"{}\nno line of ours\n")))


def test_a_damaged_list_is_not_built_on(world: World) -> None:
    world.s3.put("shop", "k", b"x")
    first = world.back_up()
    second = world.back_up()
    key = world.points.key(second.point, second.place, "objects.jsonl.zst.age")
    world.s3.put("backups", key, world.s3.newest("backups", key).body[:-1])
    third = world.begin()
    assert third.state["built_on"] == first.point
    assert second.point in " ".join(world.notes)

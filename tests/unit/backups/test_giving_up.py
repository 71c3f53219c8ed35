"""Points that never were complete, and what the copies that died at them held."""

import pytest

from platform_ops.backups.errors import GivenUp
from platform_ops.backups.points import CLAIM, MANIFEST
from tests.unit.backups.bucket_world import World
from tests.unit.backups.s3 import Killed
from tests.unit.backups.test_pruning import change, needed


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_point_older_than_the_newest_and_without_manifest_goes(world: World) -> None:
    change(world, 0)
    world.s3.spoil = lambda method, path, query: die() if path.endswith(MANIFEST) and method == "PUT" else None
    with pytest.raises(Killed):
        world.begin(0)
    world.s3.spoil = lambda *_: None
    world.back_up(1)
    assert world.prune().half == [world.name_of(0)]
    assert set(world.contents()) == needed(world)
    assert list(world.points.parts(world.name_of(0))) == [MANIFEST]


def test_what_a_dead_copy_built_on_is_not_kept_for_it(world: World) -> None:
    change(world, 0)
    world.begin(0)
    change(world, 1)
    world.s3.spoil = lambda method, path, query: die() if path.endswith(MANIFEST) and method == "PUT" else None
    with pytest.raises(Killed):
        world.begin(1)
    world.s3.spoil = lambda *_: None
    change(world, 2)
    world.back_up(2)
    assert world.prune().half == [world.name_of(1)]
    assert world.points.all() == [world.name_of(2)]
    assert set(world.contents()) == needed(world)


def die() -> None:
    raise Killed


def test_a_copy_that_was_given_up_can_not_be_committed(world: World) -> None:
    change(world, 0)

    def meanwhile(method: str, path: str, query: str) -> None:
        if method == "PUT" and path.endswith(MANIFEST):
            world.s3.spoil = lambda *_: None
            world.back_up(1)
            world.prune()

    world.s3.spoil = meanwhile
    with pytest.raises(GivenUp, match="Start back_up_sources again"):
        world.begin(0)
    assert world.points.all() == [world.name_of(1)]
    assert set(world.contents()) == needed(world)


def test_what_was_given_up_is_forgotten_when_nobody_can_be_copying_it(world: World) -> None:
    change(world, 0)
    world.points.note(world.name_of(0), f"{CLAIM}x.json", {"base": None})
    for number in (1, 24 * 29):
        world.back_up(number)
        world.prune()
        assert world.points.given_up() == [world.name_of(0)]
    world.back_up(24 * 31)
    world.prune()
    assert world.points.given_up() == []

"""The history of a service, with real git."""

from collections.abc import Iterator

import pytest

from platform_ops.delivery.pins import Pin
from platform_ops.delivery.source import NotOnBranch, Source, open_source
from platform_ops.delivery.standing import Standing
from platform_ops.systems.git.errors import CommitNotFound

GONE = "1" * 40


@pytest.fixture
def source(world) -> Iterator[Source]:
    with open_source(world.release().service, "prod", world.gitlab) as opened:
        yield opened


def test_the_branch_of_the_environment_is_opened(world) -> None:
    world.source.move(world.first, "rc")
    with open_source(world.release().service, "rc", world.gitlab) as source:
        assert (source.branch, source.head) == ("rc", world.first)
    world.gitlab.project.assert_called_with("shop/web")


def test_a_commit_of_the_branch_tells_its_tree(world, source: Source) -> None:
    found = source.commit(world.first)
    assert (found.sha, found.tree) == (world.first, world.source.tree(world.first))


def test_a_commit_of_another_branch_is_refused(world, source: Source) -> None:
    with pytest.raises(NotOnBranch, match="is not on branch master"):
        source.commit(world.apart)


def test_a_commit_that_does_not_exist_is_named(source: Source) -> None:
    with pytest.raises(CommitNotFound, match=GONE):
        source.commit(GONE)


def test_containing_knows_both_directions_and_other_lines(world, source: Source) -> None:
    assert source.contains(world.first, world.second)
    assert source.contains(world.second, world.second)
    assert not source.contains(world.second, world.first)
    assert not source.contains(world.apart, world.second)


def test_a_commit_that_is_gone_contains_nothing_and_has_no_tree(world, source: Source) -> None:
    assert not source.contains(GONE, world.second)
    assert not source.contains(world.second, GONE)
    assert source.tree(GONE) is None


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [
        (None, Standing.FIRST),
        ("first", Standing.AHEAD),
        ("second", Standing.PINNED),
        ("apart", Standing.APART),
        (GONE, Standing.APART),
    ],
)
def test_standing_asks_git(world, source: Source, pinned: str | None, expected: Standing) -> None:
    pin = Pin(world.other, getattr(world, pinned, pinned)) if pinned else None
    assert source.standing(pin, world.second) is expected


def test_a_commit_that_the_pinned_one_contains_is_behind(world, source: Source) -> None:
    assert source.standing(Pin(world.other, world.second), world.first) is Standing.BEHIND


def test_what_a_release_brings_is_what_the_pinned_commit_lacks(world, source: Source) -> None:
    since = source.commits_since(Pin(world.other, world.base), world.second)
    assert [one.sha for one in since] == [world.second, world.first]
    assert source.commits_since(Pin(world.other, world.second), world.second) == ()


@pytest.mark.parametrize("pinned", [None, GONE])
def test_a_first_release_brings_everything(world, source: Source, pinned: str | None) -> None:
    pin = Pin(world.other, pinned) if pinned else None
    assert [one.sha for one in source.commits_since(pin, world.second)] == [world.second, world.first, world.base]

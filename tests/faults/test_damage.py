"""Whatever happens to a stored object, the next full cycle of verifying says so, and so does a drill that reads it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from random import Random

import pytest

from tests.faults.bucket import POINT, Stored
from tests.faults.installation import KEPT, Installation, Sampled
from tests.faults.sources import MADE
from tests.faults.work import Ended

CYCLE = timedelta(days=8)
"""After so long, everything's turn to be read again has come."""
SAMPLE = 3
"""Changes that `make test` tries."""

Change = Callable[[Stored, str, Random], str | None]
"""Returns what else it has changed."""
KINDS = ("bucket", "directory")


def flip(stored: Stored, key: str, random: Random) -> None:
    body = bytearray(stored.read(key))
    body[random.randrange(len(body))] ^= 1 << random.randrange(8)
    stored.write(key, bytes(body))


def cut(stored: Stored, key: str, random: Random) -> None:
    body = stored.read(key)
    stored.write(key, body[: random.randrange(len(body))])


def empty(stored: Stored, key: str, random: Random) -> None:
    stored.write(key, b"")


def remove(stored: Stored, key: str, random: Random) -> None:
    stored.remove(key)


def swap(stored: Stored, key: str, random: Random) -> str:
    """With another object of its kind, where there is one: the manifests of two points, two contents."""
    others = [one for one in data(stored) if one != key and one.split("/")[-1] == key.split("/")[-1]]
    others = others or [one for one in data(stored) if one != key]
    other = random.choice(others)
    mine, its = stored.read(key), stored.read(other)
    stored.write(key, its)
    stored.write(other, mine)
    return other


def edit(stored: Stored, key: str, random: Random) -> None:
    """Change a word of a manifest and leave it a manifest."""
    body = stored.read(key)
    stored.write(key, body.replace(b'"run":"run ', b'"run":"ran '))


CHANGES: dict[str, Change] = {
    "flip": flip,
    "cut": cut,
    "empty": empty,
    "remove": remove,
    "swap": swap,
    "edit": edit,
}


def data(stored: Stored) -> list[str]:
    """Return the keys of all data, without notes about them."""
    needed = {key for point in stored.points() for key in stored.sums(point)}
    return sorted(needed | {key for key in stored.sizes() if key.endswith("/manifest.json")})


@dataclass
class Damaged:
    """A source with three verified points, the newest of which is being made."""

    source: Sampled
    stored: Stored
    kept: dict[str, bytes]
    kept_points: list[str]

    def newest(self) -> str:
        return self.source.point(KEPT)

    def full_cycle(self) -> Iterator[Ended]:
        """Go on with daily runs until every point and every content was read again; yield what fails.

        No damage keeps a copy from being made.
        """
        steps: tuple[str, ...] = ("verify",)
        for day in range(len(self.kept_points) + 1):
            for ended in self.source.tries(KEPT + day, *steps, later=CYCLE + timedelta(days=day)):
                if ended.error:
                    assert ended.step == "verify", ended
                    yield ended
            steps = ("copy", "verify")

    def drill(self) -> list[Ended]:
        return [one for one in self.source.tries(KEPT, "drill") if one.error]

    def read_by_drill(self, key: str) -> bool:
        """A drill restores the newest point, and needs none of its texts nor the list of its contents."""
        if key.endswith(("RESTORE.md", "contents.jsonl.zst", "packs.tar.zst.age")):
            return False
        if POINT.fullmatch(key.split("/")[1]):
            return self.newest() in key
        return key in self.stored.sums(self.newest())


@pytest.fixture
def damaged(request: pytest.FixtureRequest, installation: Installation) -> Damaged:
    kind = request.param
    source, change = MADE[kind](installation, f"a-{kind}")
    for number in range(KEPT + 1):
        change(number)
        source.does(number, "copy", "verify")
    stored = Stored(installation.store.owner, source.name)
    return Damaged(source, stored, stored.kept(), stored.points())


def names(ended: Ended, keys: list[str]) -> bool:
    """Say whether an error names one of the objects; a manifest that is another is named by its point."""
    named = [key.split("/")[1] if key.endswith("manifest.json") else key for key in keys]
    return any(one in ended.said for one in named) and "not ours" not in ended.error


def tried(damaged: Damaged, how: str, key: str, random: Random) -> None:
    reads = damaged.read_by_drill(key)
    other = CHANGES[how](damaged.stored, key, random)
    keys = [key, other] if other else [key]
    # Without its manifest a point is none: the drill takes an older one, and the next verification is red.
    if reads and not (key.endswith("manifest.json") and how in ("remove", "empty")):
        told = damaged.drill()
        assert any(names(one, keys) for one in told), (how, key, told)
    told = []
    assert any(names(one, keys) for one in damaged.full_cycle() if not told.append(one)), (how, key, told)
    damaged.stored.put_back(damaged.kept)


def fits(how: str, key: str) -> bool:
    return how != "edit" or key.endswith("manifest.json")


@pytest.mark.faults
@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("damaged", KINDS, indirect=True)
def test_every_object_that_is_changed_is_named(damaged: Damaged, random: Random, how: str) -> None:
    for key in data(damaged.stored):
        if fits(how, key):
            tried(damaged, how, key, random)
    assert list(damaged.full_cycle()) == []
    assert damaged.drill() == []


@pytest.mark.parametrize("damaged", ["bucket"], indirect=True)
def test_a_sample_of_changes_is_named(damaged: Damaged, random: Random) -> None:
    cases = [(how, key) for how in CHANGES for key in data(damaged.stored) if fits(how, key)]
    for how, key in random.sample(cases, SAMPLE):
        tried(damaged, how, key, random)


@pytest.mark.faults
@pytest.mark.parametrize("damaged", ["directory"], indirect=True)
def test_a_point_that_nobody_calls_verified_any_more_is_not_drilled(damaged: Damaged) -> None:
    """The note itself holds no data: without it a point proves nothing, and a drill takes the one before."""
    damaged.stored.remove(f"{damaged.source.name}/{damaged.newest()}/verified.json")
    (ended,) = damaged.source.does(KEPT, "drill")
    assert ended.report["facts"]["point"] == damaged.source.point(KEPT - 1)


@pytest.mark.faults
@pytest.mark.parametrize("damaged", KINDS, indirect=True)
def test_nothing_is_deleted_for_a_damaged_point(damaged: Damaged, random: Random) -> None:
    """The run after the damage copies and prunes: what is whole of the damaged point stays for people."""
    victim = damaged.source.point(KEPT - 1)
    key = f"{damaged.source.name}/{victim}/manifest.json"
    for how in ("remove", "empty", "flip"):
        CHANGES[how](damaged.stored, key, random)
        whole = damaged.stored.sizes().keys() - {key}
        damaged.source.tries(KEPT, "verify", later=CYCLE)
        damaged.source.does(KEPT, "prune")
        notes = {one for one in whole if one.endswith("verified.json")}
        oldest = {one for one in whole if damaged.source.point(0) in one.split("/")[1]}
        assert whole - notes - oldest <= damaged.stored.sizes().keys(), how
        damaged.stored.put_back(damaged.kept)

"""The process of a step dies by SIGKILL at a random moment: the next run goes on as if nothing had happened."""

from collections.abc import Callable
from itertools import product
from random import Random
from typing import Any

import pytest

from sandbox.accounts import BACKUPS
from tests.faults.bucket import Stored
from tests.faults.installation import KEPT, Installation, Sampled
from tests.faults.sources import MADE

STEPS = ("copy", "verify", "prune", "drill")
MOMENTS = 20
SAMPLE = 1
"""Moments of each that `make test` tries."""


class Killed:
    """A source whose steps are killed.

    :ivar number: of the last run.
    """

    def __init__(self, installation: Installation, kind: str, random: Random) -> None:
        self.source: Sampled
        self.change: Callable[[int], None]
        self.installation, self.kind, self.random = installation, kind, random
        self.source, self.change = MADE[kind](installation, f"a-{kind}")
        self.stored = Stored(installation.store.owner, self.source.name)
        self.number = -1

    def next(self) -> None:
        self.number += 1
        self.change(self.number)

    def length(self, step: str) -> float:
        """Make the first points, and return how long a step takes that nobody disturbs."""
        for _ in range(KEPT):
            self.next()
            self.source.does(self.number, "copy", "verify")
        self.next()
        ended = self.source.back_up(self.number)
        return next(one.seconds for one in ended if one.step == step)

    def kill(self, step: str, moment: float) -> bool:
        """Kill a step of a new run; False when it ended before."""
        self.next()
        self.source.does(self.number, *self._needed_by(step))
        return self.source.start(self.number, step).killed_after(moment)

    @staticmethod
    def _needed_by(step: str) -> tuple[str, ...]:
        return STEPS[: STEPS.index(step)]

    def nothing_is_lost(self, verified: list[str]) -> None:
        """What was verified before the kill, and is not to be deleted, is whole."""
        kept = verified[-KEPT:]
        assert [point for point in kept if point not in self.stored.verified()] == []
        assert {point: broken for point in kept if (broken := self.stored.broken(point))} == {}

    def goes_on(self, step: str) -> None:
        """Either the step is tried again, as Airflow does, or nothing happens before the next run."""
        struck = self.source.point(self.number)
        if self.random.random() < 0.5:
            self.source.does(self.number, *STEPS[STEPS.index(step) :])
            strange = [key for key in self.stored.unreferenced() if struck not in key]
            assert strange == [], "what the killed try left belongs to its own point"
        self.next()
        self.source.back_up(self.number)

    def nothing_is_left(self) -> None:
        """What lies there is what the newest points need, and nothing else."""
        points = self.stored.points()
        assert points[-1] == self.source.point(self.number)
        assert len(points) == KEPT
        assert self.stored.verified() == points
        assert {point: broken for point in points if (broken := self.stored.broken(point))} == {}
        assert self.stored.unreferenced() == []
        assert self.stored.without_manifest() == []
        if not self.installation.store.is_real:
            # MinIO and versitygw drop those of keys that never came to be by themselves.
            assert self.stored.uploads() == []
        scratch = [path.name for path in self.installation.temporary.iterdir() if "drill" in path.name]
        assert scratch == []
        buckets = {bucket.name for bucket in self.installation.store.owner.list_buckets()}
        assert {name for name in buckets if name.startswith("drill-")} == set()
        assert BACKUPS in buckets


def _cases() -> list[Any]:
    # What is git's own is done when it was copied.
    pairs = [*product(("bucket", "directory"), STEPS), ("git", "copy")]
    cases = [pytest.param(*pair, MOMENTS, marks=pytest.mark.faults, id="-".join(pair)) for pair in pairs]
    sample = [("bucket", "copy"), ("directory", "prune")]
    return cases + [pytest.param(kind, step, SAMPLE, id=f"{kind}-{step}-sample") for kind, step in sample]


@pytest.mark.parametrize(("kind", "step", "moments"), _cases())
def test_a_kill_loses_nothing_and_leaves_nothing(
    installation: Installation, random: Random, kind: str, step: str, moments: int
) -> None:
    killed = Killed(installation, kind, random)
    length = killed.length(step)
    struck = tried = 0
    while struck < moments:
        tried += 1
        assert tried <= 3 * moments, "the step nearly always ends before it is killed"
        verified = killed.stored.verified()
        if step in ("prune", "drill"):
            verified = verified[1 - KEPT :]
        if not killed.kill(step, random.uniform(0, length)):
            continue
        struck += 1
        killed.nothing_is_lost(verified)
        killed.goes_on(step)
        killed.nothing_is_left()

"""A store and an installation for each test."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random, SystemRandom

import pytest

from sandbox.contract import STAND_IN
from sandbox.real import table
from tests.faults.installation import Installation
from tests.object_store import Store, started

REAL = os.environ.get("SANDBOX_REAL", "")
"""A real server instead of the stand-in, as `--real` takes it."""
SEED = os.environ.get("FAULTS_SEED", "") or str(SystemRandom().randrange(10**9))
"""Of everything that is drawn; the same seed draws the same again."""


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of the test's own: the stand-in holds all that was ever written in memory."""
    with started(tmp_path_factory.mktemp("state"), table.asked(REAL)[1] if REAL else STAND_IN) as store:
        yield store


@pytest.fixture
def installation(store: Store, tmp_path: Path) -> Installation:
    return Installation(tmp_path / "home", store)


@pytest.fixture
def random(request: pytest.FixtureRequest) -> Random:
    """What draws; a failed test shows the seed."""
    print(f"FAULTS_SEED={SEED}")
    return Random(f"{SEED} {request.node.nodeid}")

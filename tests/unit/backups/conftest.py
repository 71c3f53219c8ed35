from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage
import pytest

from platform_ops.backups.sources import Retention, Source, Tier
from platform_ops.backups.store import Points
from sandbox.processes import ROOT
from tests.unit.backups.installation import NOW, Steps
from tests.unit.backups.memory_store import MemoryStore
from tests.unit.backups.restores import IDENTITIES, Restores


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a bit of everything."""
    root = tmp_path / "tree"
    (root / "folder" / "below").mkdir(parents=True)
    (root / "folder" / "text").write_text("one\n")
    (root / "folder" / "below" / "empty").touch()
    (root / "link").symlink_to("folder/text")
    (root / "same").hardlink_to(root / "folder" / "text")
    (root / "folder" / "text").chmod(0o640)
    return root


@pytest.fixture
def source(tree: Path) -> Source:
    return Source(
        name="tree",
        kind="directory",
        owner="platform-team@example.com",
        connection=None,
        what={"path": str(tree)},
        tier=Tier.NIGHTLY,
        retention=Retention(daily=7, weekly=4, monthly=0, yearly=0),
        store_connection="backup_store",
        bucket="backups",
        encryption_connection="backup_keys",
        lock=timedelta(0),
        rpo=timedelta(days=2),
        rto=timedelta(hours=1),
        drill_every=timedelta(days=7),
    )


@pytest.fixture
def changed(source: Source) -> Callable[..., Source]:
    """The source with other fields."""
    return lambda **fields: replace(source, **fields)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def points(store: Any) -> Points:
    return Points(store, "backups", "tree")


@pytest.fixture(scope="session")
def key() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


@pytest.fixture(scope="session")
def recipients(key: pyrage.x25519.Identity) -> tuple[str, ...]:
    return (str(key.to_public()), str(pyrage.x25519.Identity.generate().to_public()))


@pytest.fixture(scope="session")
def copier() -> str:
    """The key of those who copy."""
    return str(pyrage.x25519.Identity.generate())


CLOCKS = ("copying", "drill_steps", "drilling", "kinds.directory", "report_steps", "restore", "steps")
"""Modules that look at the clock."""


def since(start: datetime) -> type[datetime]:
    """Return a clock that shows a time now and goes on from there: the tests' own time, however late they run."""
    began = datetime.now(UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return start + (datetime.now(UTC) - began)

    return Clock


@pytest.fixture
def steps(
    tmp_path: Path, tree: Path, store: MemoryStore, recipients, key, copier, monkeypatch: pytest.MonkeyPatch
) -> Steps:
    home = tmp_path / "home"
    (home / "include" / "backups").mkdir(parents=True)
    for name in ("schemas", "templates"):
        (home / "include" / name).symlink_to(ROOT / "include" / name)
    monkeypatch.setenv("PLATFORM_OPS_HOME", str(home))
    made = Steps(home, tree, store, recipients, str(key), copier)
    monkeypatch.setattr("platform_ops.backups.store.BucketHook", lambda _: store)
    # The evidence lies in another bucket, whose keys begin otherwise.
    monkeypatch.setattr("platform_ops.backups.witness.ObjectStoreHook", lambda: store)
    monkeypatch.setattr("platform_ops.backups.keys.BaseHook.get_connection", made.connection)
    monkeypatch.setattr("platform_ops.backups.steps.AirflowApi", lambda: SimpleNamespace(runs=lambda _: ()))
    for module in CLOCKS:
        monkeypatch.setattr(f"platform_ops.backups.{module}.datetime", since(NOW))
    made.enter("tree")
    return made


@pytest.fixture
def restores(steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restores:
    (steps.home / "include" / "identities.yaml").write_text(IDENTITIES)
    made = Restores(steps, tmp_path / "room" / "target")
    made.target.parent.mkdir()
    monkeypatch.setattr("platform_ops.approvals.answers.AirflowApi", lambda: SimpleNamespace(answer=made.given))
    return made

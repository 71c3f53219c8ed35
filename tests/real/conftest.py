"""Each real object store alone, without Airflow."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_ops.systems.object_store.buckets import BucketHook
from sandbox.real.table import SERVERS
from tests.object_store import SYSTEM, Store, started


@pytest.fixture(scope="module", params=list(SERVERS[SYSTEM]))
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    name = str(request.param)
    with started(tmp_path_factory.mktemp(f"state of {name}"), name) as store:
        yield store


@pytest.fixture
def hooks(store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, BucketHook]:
    """Our hook, as the owner, as the one who writes backups and as the one who reads them."""
    found = {}
    for connection, role in (("owner", ""), ("backup_store", "BACKUP_WRITER_"), ("backup_reader", "BACKUP_READER_")):
        monkeypatch.setenv(f"AIRFLOW_CONN_{connection.upper()}", json.dumps(store.connection(role)))
        found[connection] = BucketHook(connection)
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.real)

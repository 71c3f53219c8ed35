"""Each real object store alone, without Airflow: started as `sandbox start` does, with the seed's buckets and accounts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from platform_ops.systems.object_store.hook import ObjectStoreHook
from sandbox import buckets, contract, lifecycle
from sandbox.processes import ROOT
from sandbox.real.server import Server
from sandbox.real.table import SERVERS, variable
from tests.ports import free_base_port
from tests.programs import needed

SYSTEM = "object_store"


class Store:
    """A real object store.

    :param state: its state folder.
    """

    def __init__(self, state: Path, name: str) -> None:
        self.state = state
        self.name = name
        self.server: Server = SERVERS[SYSTEM][name]
        self.environment = contract.new_environment(free_base_port())
        self.environment |= {"PLATFORM_OPS_HOME": str(ROOT), variable(SYSTEM): name}
        contract.write(state, self.environment)
        (state / lifecycle.MARK).touch()

    def start(self) -> None:
        lifecycle.start(self.state, SYSTEM)
        buckets.make(self.environment, lock_backups=True)
        self.server.grant(self.environment)

    def stop(self) -> None:
        lifecycle.stop(self.state, SYSTEM)

    @property
    def owner(self) -> Any:
        """A client of the account that may do everything."""
        return buckets.client(self.environment)

    def effects(self) -> dict[str, int]:
        answer = httpx.get(f"{self.environment['OBJECT_STORE_URL']}/_sandbox/state", trust_env=False)
        return dict(answer.json()["effects"])


@pytest.fixture(scope="module", params=list(SERVERS[SYSTEM]))
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    name = str(request.param)
    needed(SERVERS[SYSTEM][name].program)
    state = tmp_path_factory.mktemp(f"state of {name}")
    store = Store(state, name)
    try:
        store.start()
        yield store
    finally:
        lifecycle.down(state, purge=True)


@pytest.fixture
def hooks(store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, ObjectStoreHook]:
    """Our hook, as the owner, as the one who writes backups and as the one who reads them."""
    found = {}
    for connection, role in (("owner", ""), ("backup_store", "BACKUP_WRITER_"), ("backup_reader", "BACKUP_READER_")):
        fields = {
            "conn_type": "object_store",
            "host": store.environment["OBJECT_STORE_URL"],
            "login": store.environment[f"OBJECT_STORE_{role}ACCESS_KEY"],
            "password": store.environment[f"OBJECT_STORE_{role}SECRET_KEY"],
        }
        monkeypatch.setenv(f"AIRFLOW_CONN_{connection.upper()}", json.dumps(fields))
        found[connection] = ObjectStoreHook(connection)
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.real)

"""An object store alone, without Airflow: started as `sandbox start` does, with the seed's buckets and accounts."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from sandbox import buckets, contract, lifecycle
from sandbox.contract import STAND_IN
from sandbox.processes import ROOT
from sandbox.real.server import Server
from sandbox.real.table import SERVERS, variable
from tests.ports import free_base_port
from tests.programs import needed

SYSTEM = "object_store"


class Store:
    """An object store behind the fault layer.

    :param state: its state folder.
    :param name: of a real server; what a contract calls the stand-in means that.
    """

    def __init__(self, state: Path, name: str = STAND_IN) -> None:
        self.state = state
        self.name = name
        self.environment = contract.new_environment(free_base_port())
        self.environment |= {"PLATFORM_OPS_HOME": str(ROOT), variable(SYSTEM): name}
        if self.is_real:
            needed(self.server.program)
        state.mkdir(exist_ok=True)
        contract.write(state, self.environment)
        (state / lifecycle.MARK).touch()

    @property
    def is_real(self) -> bool:
        return self.name != STAND_IN

    @property
    def server(self) -> Server:
        return SERVERS[SYSTEM][self.name]

    @property
    def address(self) -> str:
        return self.environment["OBJECT_STORE_URL"]

    def start(self) -> None:
        lifecycle.start(self.state, SYSTEM)
        buckets.make(self.environment, lock_backups=self.is_real)
        if self.is_real:
            self.server.grant(self.environment)

    def stop(self) -> None:
        lifecycle.stop(self.state, SYSTEM)

    def remove(self) -> None:
        lifecycle.down(self.state, purge=True)

    @property
    def owner(self) -> Any:
        """A client of the account that may do everything."""
        return buckets.client(self.environment)

    def connection(self, role: str = "") -> dict[str, str]:
        """Return an Airflow connection.

        :param role: of the contract; the owner without one.
        """
        return {
            "conn_type": "object_store",
            "host": self.address,
            "login": self.environment[f"OBJECT_STORE_{role}ACCESS_KEY"],
            "password": self.environment[f"OBJECT_STORE_{role}SECRET_KEY"],
        }

    def effects(self) -> Counter[str]:
        answer = httpx.get(f"{self.address}/_sandbox/state", trust_env=False)
        return Counter(answer.json()["effects"])


@contextmanager
def started(state: Path, name: str = STAND_IN) -> Iterator[Store]:
    """Yield a store that runs while the block does, and leaves nothing."""
    store = Store(state, name)
    try:
        store.start()
        yield store
    finally:
        store.remove()

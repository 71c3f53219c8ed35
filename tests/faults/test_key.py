"""The key of whoever copies is withdrawn in the middle of it, at a real store, which is the one that judges."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.real.minio import MINIO
from tests.faults.bucket import Stored
from tests.faults.installation import Installation
from tests.faults.sources import MADE
from tests.object_store import Store
from tests.waiting import wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    state = tmp_path / "state"
    state.mkdir()
    store = Store(state, MINIO.name)
    try:
        store.start()
        yield store
    finally:
        store.remove()


def admin(store: Store) -> Any:
    from minio.credentials.providers import StaticProvider
    from minio.minioadmin import MinioAdmin

    owner = StaticProvider(store.environment["OBJECT_STORE_ACCESS_KEY"], store.environment["OBJECT_STORE_SECRET_KEY"])
    return MinioAdmin(endpoint=store.address.removeprefix("http://"), credentials=owner, secure=False)


def test_a_key_that_is_withdrawn_amid_a_copy(installation: Installation) -> None:
    source, change = MADE["directory"](installation, "a-directory")
    stored = Stored(installation.store.owner, source.name)
    for number in (0, 1):
        change(number)
        source.back_up(number)
    before = stored.points()
    change(2)
    writer = installation.store.environment["OBJECT_STORE_BACKUP_WRITER_ACCESS_KEY"]
    # The second part waits at the fault layer until the key is gone.
    with installation.faults({"kind": "delay", "method": "PUT", "path": "partNumber=2", "seconds": 15}):
        running = source.start(2, "copy")
        wait_until(installation.struck, "the second part")
        admin(installation.store).user_disable(writer)
        (ended,) = running.ends()
    assert (ended.error, ended.again) == ("AuthenticationFailed", False)
    assert stored.points() == before
    assert [broken for point in before for broken in stored.broken(point)] == []
    (ended,) = source.tries(2, "verify")
    assert (ended.error, ended.again) == ("AuthenticationFailed", False)
    admin(installation.store).user_enable(writer)
    source.back_up(2)
    source.back_up(3)
    assert stored.verified()[-1] == source.point(3)
    assert stored.unreferenced() == []

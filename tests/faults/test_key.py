"""The key of whoever copies is withdrawn in the middle of it, at a real store, which is the one that judges."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.real.minio import MINIO
from tests.faults.installation import Installation
from tests.faults.sources import begun
from tests.object_store import Store, started
from tests.waiting import wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with started(tmp_path / "state", MINIO.name) as store:
        yield store


def admin(store: Store) -> Any:
    from minio.credentials.providers import StaticProvider
    from minio.minioadmin import MinioAdmin

    owner = StaticProvider(store.environment["OBJECT_STORE_ACCESS_KEY"], store.environment["OBJECT_STORE_SECRET_KEY"])
    return MinioAdmin(endpoint=store.address.removeprefix("http://"), credentials=owner, secure=False)


def test_a_key_that_is_withdrawn_amid_a_copy(installation: Installation) -> None:
    source, stored, _ = begun(installation, "directory")
    before = stored.points()
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

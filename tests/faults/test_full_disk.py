"""The disk under a real store is full: nothing is called backed up, what was is whole, and room is all it takes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sandbox.real.table import SERVERS
from tests.faults.bucket import Stored
from tests.faults.installation import Installation
from tests.faults.sources import begun
from tests.object_store import SYSTEM, Store
from tests.waiting import wait_until

pytestmark = pytest.mark.faults

SIZE = 1200
"""MiB; MinIO takes no disk below 900."""
ROOM = 2 * 1024 * 1024
"""What is left of it when it is full: less than the next point takes."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A state folder in which the store's data lie on a small disk of their own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder = tmp_path / "state" / SYSTEM
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        reason = f"no small disk can be mounted here: {mounted.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=list(SERVERS[SYSTEM]))
def store(request: pytest.FixtureRequest, disk: Path) -> Iterator[Store]:
    store = Store(disk.parent, str(request.param))
    try:
        store.start()
        yield store
    finally:
        # The folder itself is the disk, and stays until it is unmounted.
        store.stop()


def has_room(stored: Stored) -> bool:
    """Ask by writing: MinIO looks at its disk from time to time only."""
    from minio.error import S3Error

    try:
        stored.write(f"{stored.source}/proofs/room", bytes(ROOM + 1))
    except S3Error:
        return False
    stored.remove(f"{stored.source}/proofs/room")
    return True


def test_a_full_disk_is_told_and_nothing_is_lost(installation: Installation, disk: Path) -> None:
    source, stored, _ = begun(installation, "directory")
    before = stored.points()
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - ROOM)
    (ended,) = source.tries(2, "copy", "verify", "prune", "drill")
    assert (ended.step, ended.again) == ("copy", True), ended
    assert "not ours" not in ended.error
    assert stored.points() == before
    assert [broken for point in before for broken in stored.broken(point)] == []
    ballast.unlink()
    wait_until(partial(has_room, stored), "room that the store knows of")
    source.back_up(2)
    assert stored.verified()[-1] == source.point(2)
    source.back_up(3)
    assert stored.unreferenced() == []

"""Whoever may write into the bucket, and knows the public keys, gets nothing outside and nothing called proven."""

import json
import os
import tarfile
from io import BytesIO
from itertools import product

import pyrage
import pytest
import zstandard

from tests.faults.bucket import Stored
from tests.faults.installation import Installation, Sampled
from tests.faults.sources import directory
from tests.folders import deepen

pytestmark = pytest.mark.faults

BOMB = 2 * 1024**3
NAMES = ("/outside", "../outside", "below/../../outside", "below/" + "n" * 40_000, "/".join(["deep"] * 8_000))


def sealed(installation: Installation, plain: BytesIO) -> bytes:
    """Compress and encrypt as a copy does."""
    packed = BytesIO()
    zstandard.ZstdCompressor().copy_stream(plain, packed)
    extra = json.loads(installation.variables["AIRFLOW_CONN_BACKUP_KEYS"])["extra"]
    recipients = [pyrage.x25519.Recipient.from_str(one) for one in extra["recipients"]]
    return bytes(pyrage.encrypt(packed.getvalue(), recipients))


class Zeros(BytesIO):
    """A lot of nothing."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._left = size

    def read(self, size: int | None = -1, /) -> bytes:
        taken = min(self._left, 1 << 20)
        self._left -= taken
        return bytes(taken)


@pytest.fixture
def source(installation: Installation) -> Sampled:
    made, change = directory(installation, "a-directory")
    change(0)
    made.back_up(0)
    return made


def outside(installation: Installation) -> set[str]:
    """Return what lies beside the scratch folders of drills."""
    return {str(path) for path in installation.room.rglob("*") if path.name == "outside"}


def largest(stored: Stored) -> str:
    return max(stored.sums(stored.points()[-1]), key=lambda key: stored.sizes()[key])


def test_what_unpacks_to_more_than_was_stored_is_stopped(installation: Installation, source: Sampled) -> None:
    stored = Stored(installation.store.owner, source.name)
    key = largest(stored)
    before = os.statvfs(installation.temporary).f_bavail
    stored.write(key, sealed(installation, Zeros(BOMB)))
    (ended,) = source.tries(0, "drill")
    assert ended.error == "Corrupt"
    assert key in ended.said
    assert list(installation.temporary.iterdir()) == []
    assert before - os.statvfs(installation.temporary).f_bavail < BOMB / os.statvfs(installation.temporary).f_frsize


def archive(name: str, kind: bytes) -> BytesIO:
    tar = BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "../outside"
        archive.addfile(info)
    return BytesIO(tar.getvalue())


def test_an_archive_that_leaves_its_folder_is_refused(installation: Installation, source: Sampled) -> None:
    """It is refused while it is read, before its sum could tell: whoever wrote it could have written the sums as well."""
    stored = Stored(installation.store.owner, source.name)
    key = largest(stored)
    for name, kind in product(NAMES, (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE)):
        stored.write(key, sealed(installation, archive(name, kind)))
        (ended,) = source.tries(0, "drill")
        assert ended.error in ("HostileArchive", "Corrupt"), (name[:30], kind, ended)
        assert outside(installation) == set()
        assert list(installation.temporary.iterdir()) == []


def test_a_planted_point_of_another_source_is_named_and_takes_nothing_along(
    installation: Installation, source: Sampled
) -> None:
    other, change = directory(installation, "another")
    change(5)
    other.does(5, "copy", "verify")
    theirs, ours = (Stored(installation.store.owner, one.name) for one in (other, source))
    before = ours.kept()
    for key, body in theirs.kept().items():
        ours.write(key.replace("another/", "a-directory/", 1), body)
    (ended,) = source.tries(0, "drill")
    assert ended.error == "BadManifest"
    assert other.point(5) in ended.said
    # It is newer than any point of ours; still none of ours goes for it.
    source.does(1, "copy")
    source.does(1, "prune")
    assert before.keys() <= ours.sizes().keys()


def test_a_link_that_leads_outside_comes_back_as_a_link(installation: Installation) -> None:
    folder = installation.room / "links"
    folder.mkdir()
    (folder / "away").symlink_to("/etc")
    (folder / "up").symlink_to("../../..")
    source = installation.enter("links", "directory", {"path": str(folder)})
    source.back_up(0)
    assert list(installation.temporary.iterdir()) == []


def test_a_path_too_long_to_be_opened_is_named(installation: Installation) -> None:
    """40 kB of folders below each other, which no system call takes at once."""
    folder = installation.room / "deep"
    folder.mkdir()
    deepen(folder, 200)
    source = installation.enter("deep", "directory", {"path": str(folder)})
    ended = source.tries(0, "copy", "verify", "drill")
    assert [one.error for one in ended if "not ours" in one.error] == []

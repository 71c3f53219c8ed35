"""Backups of a server by Debian's PostgreSQL: whole programs, pg_verifybackup among them, and settings outside the data."""

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_ops.backups.kinds.postgres import CLUSTER, Postgres
from platform_ops.backups.kinds.postgres_files import FILES, PostgresFiles
from platform_ops.common.errors import PlatformError
from platform_ops.systems.postgres.base_backup import MANIFEST, differences
from platform_ops.systems.postgres.cluster import Cluster
from platform_ops.systems.postgres.programs import Programs
from tests.postgres_server import (
    SUPERUSER,
    Source,
    catalogued,
    debian_source,
    folder,
    look,
    postgres_programs,
    take,
    target,
)
from tests.programs import debian_postgres
from tests.restore_text import STOPPED, follow, restoring, run

__all__ = ["debian_source", "folder", "postgres_programs", "target"]

QUERY = "SELECT count(*) FROM t"
SHOP = """
CREATE ROLE clerk LOGIN PASSWORD 'nobody-will-guess';
CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 5000) n;
ALTER TABLE t OWNER TO clerk; CREATE INDEX ON t (n);
"""


@pytest.fixture(scope="session")
def bin_folder() -> Path:
    return debian_postgres()


@pytest.fixture
def shop(debian_source: Source) -> Source:
    debian_source.make("shop", SHOP)
    return debian_source


def physical() -> PostgresFiles:
    return PostgresFiles(catalogued("shop", query=QUERY, method="physical"))


def test_a_dump_is_restored_proven_and_held_against_what_was_there(shop: Source, target: Path) -> None:
    subject = Postgres(catalogued("shop", query=QUERY))
    point = take(subject)
    subject.restore(point, target)
    assert subject.compare(point, target) == []
    with Cluster(target / CLUSTER, Programs()).running(SUPERUSER) as server:
        Source(server).sql("DELETE FROM t WHERE n = 7", "shop")
    assert len(subject.compare(point, target)) == 2


def test_a_dump_comes_back_by_its_text(shop: Source, target: Path, bin_folder: Path) -> None:
    subject = Postgres(catalogued("shop", query=QUERY))
    point = take(subject)
    for name, body in point.parts.items():
        (target / name).write_bytes(body)
    cluster = Cluster(target / CLUSTER, Programs())
    cluster.create(SUPERUSER)
    with cluster.running(SUPERUSER) as server:
        block = restoring(point.manifest, subject.commands(point.manifest))
        follow(block, target, {"PGHOST": server.host, "LC_ALL": "C"}, [bin_folder])
    assert subject.compare(point, target) == []


def test_a_base_backup_is_restored_and_proven(shop: Source, target: Path) -> None:
    subject = physical()
    point = take(subject)
    subject.restore(point, target)
    assert verified(target / CLUSTER) == ""
    assert subject.compare(point, target) == []


def test_a_base_backup_comes_back_by_its_text(shop: Source, target: Path, bin_folder: Path) -> None:
    subject = physical()
    point = take(subject)
    statements = f"\\connect shop\n{QUERY}"
    assert look(point, subject.commands(point.manifest), target, bin_folder, statements) == "5000"


def test_the_text_of_a_spoilt_base_backup_ends_at_pg_verifybackup(shop: Source, target: Path, bin_folder: Path) -> None:
    subject = physical()
    point = take(subject)
    table = shop.sql("SELECT pg_relation_filepath('t')", "shop")
    with tarfile.open(fileobj=io.BytesIO(point.parts[FILES])) as archive:
        at = archive.getmember(table).offset_data + 5000
    body = bytearray(point.parts[FILES])
    body[at] ^= 1
    (target / FILES).write_bytes(body)
    ran = run(restoring(point.manifest, subject.commands(point.manifest)), target, path=[bin_folder])
    assert ran.stderr.splitlines()[-1] == STOPPED
    assert f'checksum mismatch for file "{table}"' in ran.stderr


def verified(cluster: Path) -> str:
    """Return what pg_verifybackup complains of."""
    program = Programs().path("pg_verifybackup")
    ran = subprocess.run([program, cluster], env={"LC_ALL": "C"}, capture_output=True, text=True, check=False)
    assert (ran.returncode == 0) == (ran.stderr == "")
    return ran.stderr


def flipped(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": flipped,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "removed": Path.unlink,
}
ADDED = ("planted", "base/1/planted", "pg_tblspc/planted")


def test_whatever_pg_verifybackup_finds_is_found_by_us_too(shop: Source, target: Path) -> None:
    subject = physical()
    table = shop.sql("SELECT pg_relation_filepath('t')", "shop")
    subject.restore(take(subject), target)
    cluster = target / CLUSTER
    assert (verified(cluster), list(differences(cluster))) == ("", [])
    for name in (table, "PG_VERSION", "global/pg_control", "pg_xact/0000", "backup_label", "base/1/pg_filenode.map"):
        body = (cluster / name).read_bytes()
        for how, damage in DAMAGE.items():
            damage(cluster / name)
            assert name in verified(cluster), how
            assert name in " ".join(differences(cluster)), how
            (cluster / name).write_bytes(body)
    for name in ADDED:
        (cluster / name).write_bytes(b"x")
        assert name in verified(cluster)
        assert name in " ".join(differences(cluster))
        (cluster / name).unlink()
    manifest = (cluster / MANIFEST).read_bytes()
    for other in (manifest.replace(b"PG_VERSION", b"PG_VERSIOM", 1), manifest[:-10], b""):
        (cluster / MANIFEST).write_bytes(other)
        assert verified(cluster)
        assert list(differences(cluster))
    (cluster / MANIFEST).write_bytes(manifest)
    assert (verified(cluster), list(differences(cluster))) == ("", [])


def test_a_log_that_is_not_whole_is_found_by_the_start(shop: Source, target: Path) -> None:
    subject = physical()
    point = take(subject)
    subject.restore(point, target)
    cluster = target / CLUSTER
    first = min(path for path in (cluster / "pg_wal").iterdir() if path.is_file())
    first.write_bytes(bytes(first.stat().st_size))
    assert verified(cluster)
    with pytest.raises(PlatformError, match="does not start"):
        subject.compare(point, target)

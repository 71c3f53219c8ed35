"""Base backups, by PostgreSQL's own programs against a server of the tests' own."""

from pathlib import Path

import pytest

from platform_ops.backups.kinds.postgres_files import CLUSTER, FILES, PostgresFiles
from platform_ops.backups.kinds.table import KINDS
from platform_ops.common.errors import TryAgain
from platform_ops.systems.postgres.cluster import Cluster
from platform_ops.systems.postgres.errors import DatabaseMissing, ServerGone
from platform_ops.systems.postgres.programs import Programs
from tests.postgres_server import SUPERUSER, Collected, Source, catalogued, end_server, look, take
from tests.restore_text import follow, restoring

QUERY = "SELECT count(*) FROM t"


def kind(*databases: str, query: str = QUERY) -> PostgresFiles:
    made = KINDS["postgres"](catalogued(*databases, query=query, method="physical"))
    assert isinstance(made, PostgresFiles)
    return made


@pytest.fixture
def shop(postgres: Source) -> Source:
    postgres.make("shop", "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 500) n")
    # What the old server needs must not be needed here.
    postgres.sql("ALTER SYSTEM SET shared_preload_libraries = 'nowhere'")
    postgres.sql("ALTER SYSTEM SET archive_command = 'false'")
    return postgres


def test_what_is_restored_is_proven_file_by_file_and_started(shop: Source, target: Path) -> None:
    subject = kind("shop")
    point = take(subject)
    assert list(point.parts) == [FILES]
    subject.restore(point, target)
    assert not (target / CLUSTER / "postmaster.pid").exists()
    assert subject.compare(point, target) == []
    assert not (target / CLUSTER / "postmaster.pid").exists()
    with Cluster(target / CLUSTER, Programs()).running(SUPERUSER) as server:
        assert Source(server).sql(QUERY, "shop") == "500"
    # What the old server was set to is still there for whoever takes the folder for a new one.
    assert "nowhere" in (target / CLUSTER / "postgresql.auto.conf").read_text()


def test_files_that_are_not_as_they_were_are_named(shop: Source, target: Path) -> None:
    subject = kind("shop")
    point = take(subject)
    subject.restore(point, target)
    table = shop.sql("SELECT pg_relation_filepath('t')", "shop")
    folder = target / CLUSTER
    body = bytearray((folder / table).read_bytes())
    body[5000] ^= 1
    (folder / table).write_bytes(body)
    (folder / "PG_VERSION").unlink()
    (folder / "global/planted").write_text("x")
    (folder / "pg_xact/0000").write_bytes(b"")
    assert sorted(subject.compare(point, target)) == sorted(
        [
            f"'{table}' has other bytes.",
            "'PG_VERSION' is missing.",
            "'global/planted' was not sent by the server.",
            "'pg_xact/0000' has 0 bytes instead of 8192.",
        ]
    )
    assert not (folder / "platform-ops.conf").exists(), "nothing is started of what is spoilt"


def test_a_manifest_edited_by_hand_is_no_manifest(shop: Source, target: Path) -> None:
    subject = kind("shop")
    point = take(subject)
    subject.restore(point, target)
    manifest = target / CLUSTER / "backup_manifest"
    manifest.write_text(manifest.read_text().replace("PG_VERSION", "PG_OTHER", 1))
    (told,) = subject.compare(point, target)
    assert told == "backup_manifest can't be read: its checksum is not that of its lines."


def test_what_can_not_be_read_after_the_start_is_a_difference(shop: Source, target: Path) -> None:
    subject = kind("shop", query="SELECT 1 / count(*) FROM t WHERE n > 500")
    point = take(subject)
    subject.restore(point, target)
    (told,) = subject.compare(point, target)
    assert told.startswith("Database 'shop' can't be read: ")
    assert "division by zero" in told


def test_a_server_that_ends_during_the_copy_is_a_reason_to_try_again(mortal_source: Source) -> None:
    mortal_source.make("shop")
    with kind("shop").read() as reading:
        (part,) = reading.parts
        with pytest.raises(ServerGone) as raised:
            part.write(Collected(at_first=lambda: end_server(mortal_source.server.host)))
    assert isinstance(raised.value, TryAgain)


def test_a_missing_database_is_told_before_anything_is_copied(shop: Source) -> None:
    with pytest.raises(DatabaseMissing), kind("nowhere").read():
        pass


@pytest.fixture
def verify_backup(target: Path) -> None:
    """Stand for ``pg_verifybackup``: the package's own crashes. What it would say, the tests against Debian's show."""
    (target / "pg_verifybackup").write_text("#!/bin/sh\ntest -f $1/backup_manifest\n")
    (target / "pg_verifybackup").chmod(0o755)


@pytest.mark.usefixtures("verify_backup")
def test_the_text_beside_the_point_restores_it_by_stock_tools(shop: Source, target: Path, bin_folder: Path) -> None:
    subject = kind("shop")
    point = take(subject)
    (target / FILES).write_bytes(point.parts[FILES])
    block = restoring(point.manifest, subject.commands(point.manifest))
    follow(block, target, {"LC_ALL": "C"}, [target, bin_folder])
    assert "trust" in (target / "restored" / "pg_hba.conf").read_text(), "its own settings stay"
    (target / "restored").rename(target / CLUSTER)
    Cluster(target / CLUSTER, Programs()).take_over()
    assert subject.compare(point, target) == []


@pytest.mark.usefixtures("verify_backup")
def test_the_text_starts_a_server_whose_settings_lay_elsewhere(
    debian_source: Source, target: Path, bin_folder: Path
) -> None:
    debian_source.make("shop", "CREATE TABLE t AS SELECT n FROM generate_series(1, 500) n")
    subject = kind("shop")
    point = take(subject)
    told = look(point, subject.commands(point.manifest), target, bin_folder, f"\\connect shop\n{QUERY}")
    assert told == "500"
    assert (target / "restored" / "pg_hba.conf").read_text() == "local all all peer\n"

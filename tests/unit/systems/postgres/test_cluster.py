"""A cluster of our own ends with the block, and with the process that started it."""

import subprocess
import sys
from pathlib import Path

import pytest

from platform_ops.systems.postgres.cluster import LOG, Cluster
from platform_ops.systems.postgres.errors import ClusterFailed
from platform_ops.systems.postgres.programs import Programs
from platform_ops.systems.postgres.session import Session
from tests.waiting import wait_until


class Trouble(Exception):
    pass


def test_it_is_stopped_cleanly_at_the_end_of_the_block_and_keeps_its_data(
    postgres_programs: Programs, target: Path
) -> None:
    cluster = Cluster(target / "c", postgres_programs)
    cluster.create("some one")

    def fail() -> None:
        with cluster.running("some one") as server, Session(server, "template1") as session:
            assert session.value("SHOW listen_addresses") == ""
            raise Trouble

    with pytest.raises(Trouble):
        fail()
    assert not (target / "c/postmaster.pid").exists()
    assert "database system is shut down" in (target / "c" / LOG).read_text()
    with cluster.running("some one") as server, Session(server, "template1") as session:
        assert session.value("SELECT current_user") == "some one"


def test_a_killed_process_leaves_no_server_and_is_in_nobodys_way(
    postgres_programs: Programs, bin_folder: Path, target: Path
) -> None:
    Cluster(target / "c", postgres_programs).create("keeper")
    script = (
        "import sys; from pathlib import Path; from platform_ops.systems.postgres.cluster import Cluster; "
        "from platform_ops.systems.postgres.programs import Programs\n"
        "with Cluster(Path(sys.argv[1]), Programs(sys.argv[2])).running('keeper'): print('up', flush=True); input()"
    )
    command = [sys.executable, "-c", script, str(target / "c"), str(bin_folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": "plugins"}, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        other = Cluster(target / "d", postgres_programs)
        other.create("keeper")
        with other.running("keeper"):
            process.kill()
            process.wait()
            wait_until(lambda: not (target / "c/postmaster.pid").exists(), "the end of the server")


def test_a_cluster_that_does_not_start_says_why(postgres_programs: Programs, target: Path) -> None:
    cluster = Cluster(target / "c", postgres_programs)
    cluster.create("keeper")
    with (target / "c/postgresql.conf").open("a") as settings:
        settings.write("shared_preload_libraries = 'nowhere'\n")
    with pytest.raises(ClusterFailed, match='could not access file "nowhere"'), cluster.running("keeper"):
        pass


def test_a_folder_too_deep_for_a_socket_is_refused_before_anything_is_made(
    postgres_programs: Programs, target: Path
) -> None:
    deep = target / ("x" * 100)
    with pytest.raises(ClusterFailed, match="Choose a shorter target"):
        Cluster(deep, postgres_programs).create("keeper")
    assert not deep.exists()


def test_what_initdb_does_not_take_is_told(postgres_programs: Programs, target: Path) -> None:
    with pytest.raises(ClusterFailed, match="pg_"):
        Cluster(target / "c", postgres_programs).create("pg_mine")

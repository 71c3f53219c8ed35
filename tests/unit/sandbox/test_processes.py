"""Processes are found by pid and start time, stopped with all they started, and nobody else's are touched."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from sandbox import processes
from sandbox.processes import AbandonedError, Record, SandboxError
from tests.waiting import wait_until


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    processes.stop(tmp_path, [path.stem for path in tmp_path.glob("run/*.json")], seconds=0)


@pytest.fixture
def foreigner() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else's, in a session of its own."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def launch(state: Path, script: str, name: str = "server", **options: object) -> Record:
    return processes.launch(state, name, ["sh", "-c", script], {"PATH": os.defpath}, **options)  # type: ignore[arg-type]


def said(record: Record, word: str) -> bool:
    """True as soon as the process's output has the word."""
    return word in Path(record.log).read_text()


def wait_for(record: Record, word: str) -> None:
    wait_until(lambda: said(record, word), word)


def session_of(record: Record) -> list[int]:
    return processes._session(record.pid)


def rewrite(state: Path, record: Record, **changes: object) -> None:
    (state / "run" / f"{record.name}.json").write_text(json.dumps(asdict(record) | changes))


def test_a_started_process_is_on_record_and_a_stopped_one_is_not(state: Path) -> None:
    record = launch(state, "exec sleep 60")
    assert processes.running(state, "server") == record
    assert processes.stop(state, ["server"], seconds=5) == ["server"]
    assert processes.running(state, "server") is None
    assert processes.recorded(state, "server") is None
    assert not session_of(record)
    assert record.pid not in processes._children, "nobody waited for it"


def test_stopping_what_was_never_started_is_no_error(state: Path) -> None:
    assert processes.stop(state, ["server"], seconds=5) == []


def test_the_process_leads_a_session_of_its_own(state: Path) -> None:
    record = launch(state, "exec sleep 60")
    assert os.getsid(record.pid) == record.pid


def test_a_pid_that_was_given_out_again_is_left_alone(state: Path, foreigner: subprocess.Popen[bytes]) -> None:
    record = launch(state, "exec sleep 60")
    processes.stop(state, ["server"], seconds=5)
    # Far off: the foreigner may well have started one clock tick before ours.
    rewrite(state, record, pid=foreigner.pid, started=record.started + 100_000)
    assert processes.running(state, "server") is None
    assert processes.stop(state, ["server"], seconds=5) == []
    assert foreigner.poll() is None


def test_a_record_of_an_earlier_boot_is_left_alone(state: Path) -> None:
    record = launch(state, "exec sleep 60")
    rewrite(state, record, boot="another")
    assert processes.running(state, "server") is None
    assert processes.stop(state, ["server"], seconds=5) == []
    assert processes.alive(record)
    rewrite(state, record)


def test_what_does_not_listen_is_killed_at_the_deadline(state: Path) -> None:
    record = launch(state, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    wait_for(record, "ready")
    assert processes.stop(state, ["server"], seconds=0.2) == ["server"]
    assert not session_of(record)


def test_a_process_group_of_its_own_inside_the_session_is_stopped_too(state: Path) -> None:
    child = "import os, time; os.setpgid(0, 0); print('ready', flush=True); time.sleep(60)"
    record = launch(state, f'{shlex.quote(sys.executable)} -c "{child}" & wait')
    wait_for(record, "ready")
    assert len(session_of(record)) == 2
    processes.stop(state, ["server"], seconds=0.2)
    assert not session_of(record)


def test_what_a_dead_server_left_behind_is_stopped_without_delay(state: Path) -> None:
    record = launch(state, "trap '' TERM; sleep 60 & echo ready; wait")
    wait_for(record, "ready")
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: not processes.alive(record), "the end of the process")
    assert session_of(record)
    began = time.monotonic()
    assert processes.stop(state, ["server"], seconds=30) == ["server"]
    assert time.monotonic() - began < 10
    assert not session_of(record)


def test_a_strange_session_under_a_dead_servers_number_is_left_alone(state: Path) -> None:
    """A daemon of somebody else's leaves a session whose leader has ended, as ours does when it crashes."""
    record = launch(state, "sleep 60 > /dev/null 2>&1 & echo ready; exit 0")
    wait_for(record, "ready")
    members = session_of(record)
    assert processes.stop(state, ["server"], seconds=1) == []
    assert session_of(record)
    for pid in members:
        os.kill(pid, signal.SIGKILL)


def test_a_server_that_dies_shows_the_end_of_this_starts_output(state: Path) -> None:
    first = launch(state, "echo from an earlier start; exit 1")
    wait_for(first, "earlier")
    processes.stop(state, ["server"], seconds=1)
    record = launch(state, "echo the port is taken; exit 1")
    with pytest.raises(SandboxError, match="server ended while it started") as caught:
        processes.wait_until(record, lambda: False, seconds=10)
    assert "the port is taken" in str(caught.value)
    assert "earlier" not in str(caught.value)


def test_a_server_that_never_gets_ready_is_named_at_the_deadline(state: Path) -> None:
    record = launch(state, "exec sleep 60")
    with pytest.raises(SandboxError, match="server was not ready after 0 s"):
        processes.wait_until(record, lambda: False, seconds=0.05)


def test_waiting_ends_when_it_has_become_pointless(state: Path) -> None:
    record = launch(state, "exec sleep 60")
    abandoned = threading.Event()
    abandoned.set()
    with pytest.raises(AbandonedError):
        processes.wait_until(record, lambda: False, seconds=60, abandoned=abandoned)


def test_a_second_command_waits_for_the_first(state: Path) -> None:
    with processes.alone(state):
        entered = threading.Event()

        def second() -> None:
            with processes.alone(state):
                entered.set()

        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(10)
    thread.join()


def test_nothing_of_the_callers_settings_and_credentials_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AIRFLOW__CORE__EXECUTOR",
        "AIRFLOW_CONN_X",
        "HTTPS_PROXY",
        "GITLAB_TOKEN",
        "PYTHONPATH",
        "PGPASSWORD",
    ):
        monkeypatch.setenv(name, "the caller's")
    monkeypatch.setenv("HOME", "/home/ada")
    environment = processes.clean_environment({"A": "1"})
    assert "the caller's" not in environment.values()
    assert environment["HOME"] == "/home/ada"
    assert environment["A"] == "1"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)

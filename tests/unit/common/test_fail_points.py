"""What a process does at a fail point; those that die are processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from platform_ops.common.fail_points import FOLDER, REACHED, NoFailPoint, asks, changes
from platform_ops.common.http import Transport
from sandbox.processes import ROOT


def client() -> httpx.Client:
    return httpx.Client(transport=Transport(httpx.MockTransport(lambda _: httpx.Response(503))))


@changes("store.write")
def write() -> int:
    return client().put("http://store.example.com/x").status_code


@asks
def ask() -> int:
    return client().post("http://store.example.com/x").status_code


@changes("store.write")
def read() -> int:
    return client().get("http://store.example.com/x").status_code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def reached(folder: Path) -> list[str]:
    path = folder / REACHED
    return path.read_text().splitlines() if path.exists() else []


def test_without_a_folder_nothing_is_noted(tmp_path: Path) -> None:
    assert FOLDER not in os.environ
    assert client().put("http://store.example.com/x").status_code == 503


def test_a_change_reaches_its_three_stages(folder: Path) -> None:
    assert write() == 503
    assert reached(folder) == ["store.write.before", "store.write.answered", "store.write.returned"]


def test_a_call_without_an_answer_is_not_answered(folder: Path) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    @changes("store.write")
    def fail() -> None:
        httpx.Client(transport=Transport(httpx.MockTransport(refuse))).put("http://store.example.com/x")

    with pytest.raises(httpx.ConnectError):
        fail()
    assert reached(folder) == ["store.write.before"]


def test_reading_reaches_nothing_on_the_way(folder: Path) -> None:
    ask()
    assert reached(folder) == []
    read()
    assert reached(folder) == ["store.write.returned"]


def test_a_change_without_a_name_is_refused_in_the_sandbox(folder: Path) -> None:
    with pytest.raises(NoFailPoint):
        client().post("http://store.example.com/x")


def test_a_question_inside_a_change_leaves_the_name_to_the_change(folder: Path) -> None:
    @changes("store.write")
    def both() -> None:
        ask()
        client().put("http://store.example.com/x")

    both()
    assert reached(folder) == ["store.write.before", "store.write.answered", "store.write.returned"]


@pytest.mark.parametrize(("stage", "printed"), [("before", ""), ("answered", "asked\n"), ("returned", "asked\n")])
def test_a_process_dies_once_at_an_armed_point(folder: Path, stage: str, printed: str) -> None:
    program = (
        "import httpx\n"
        "from platform_ops.common.fail_points import changes\n"
        "from platform_ops.common.http import Transport\n"
        "def answer(_):\n    print('asked', flush=True)\n    return httpx.Response(200)\n"
        "@changes('store.write')\n"
        "def write():\n    httpx.Client(transport=Transport(httpx.MockTransport(answer))).put('http://x/')\n"
        "write()\n"
        "print('alive')\n"
    )
    (folder / f"store.write.{stage}").touch()
    command = [sys.executable, "-c", program]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "plugins")}
    first = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, printed)
    second = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (second.returncode, second.stdout) == (0, "asked\nalive\n")

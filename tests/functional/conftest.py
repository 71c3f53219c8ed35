"""One sandbox with a running Airflow for all functional tests, in a folder and on ports of its own."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import contract
from sandbox.processes import ROOT
from tests.functional.world import World

SERVICES = (
    "red-tests", "bad-scan", "never-ready", "refusal", "expiry", "own-work", "tampering", "twin-a", "twin-b", "hasty",
    "bad-input", "wrong-token", "no-jenkins", "no-harbor", "bad-manifest", "no-cluster", "no-evidence", "unproven", "withdrawn", "page",
    "given-up", "orphan", "late-evidence", "in-progress", "deploys", "left-running",
)  # fmt: skip
"""A service for each test that breaks something, so that no test waits for another's repair."""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue with the sample services and those of the tests."""
    folder = tmp_path_factory.mktemp("home of the tests")
    shutil.copytree(ROOT / "include", folder / "include")
    services = folder / "include" / "services"
    template = (services / "storefront.yaml").read_text()
    for name in SERVICES:
        text = template.replace("storefront", name)
        # Long enough to be asked, short enough to be waited for.
        (services / f"{name}.yaml").write_text(text.replace("24h", "3s") if name == "expiry" else text)
    return folder


@pytest.fixture(scope="session")
def world(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The sandbox, up."""
    state = tmp_path_factory.mktemp("state of the tests")
    try:
        _sandbox("up", state, "--base-port", str(_free_base_port()), "--home", str(home))
        sandbox = World(state)
        yield sandbox
        sandbox.close()
    finally:
        _sandbox("down", state)


def _sandbox(command: str, state: Path, *options: str) -> None:
    """Run the sandbox's own command, as everybody does."""
    command_line = [sys.executable, "-m", "sandbox", command, "--state", str(state), *options]
    done = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _free_base_port() -> int:
    span = max(contract.PORTS.values()) + 1
    for base in range(30000, 60000, 50):
        if all(_is_free(base + offset) for offset in range(span)):
            return base
    pytest.fail("No eleven free ports in a row.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "functional" in item.path.parts:
            item.add_marker(pytest.mark.functional)

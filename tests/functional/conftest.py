"""One sandbox with a running Airflow for all functional tests, in a folder and on ports of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.processes import ROOT
from sandbox.real import table
from tests.functional.world import World
from tests.ports import free_base_port
from tests.programs import needed

REAL = os.environ.get("SANDBOX_REAL", "")
"""A real server instead of a stand-in, as `--real` takes it; `make test-real` sets it."""


@pytest.fixture(scope="session")
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue with the sample services and those of the tests that run.

    A module's SERVICES names one for each of its tests that breaks something, so that no test waits for another's
    repair; each with what differs from the storefront's entry, as texts to replace.
    """
    folder = tmp_path_factory.mktemp("home of the tests")
    shutil.copytree(ROOT / "include", folder / "include")
    services = folder / "include" / "services"
    template = (services / "storefront.yaml").read_text()
    for module in {item.module for item in request.session.items if isinstance(item, pytest.Function)}:
        for name, changes in getattr(module, "SERVICES", {}).items():
            text = template.replace("storefront", name)
            for old, new in changes.items():
                assert old in text, f"{module.__name__}: {old!r} is not in the storefront's entry"
                text = text.replace(old, new)
            (services / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="session")
def world(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The sandbox, up."""
    state = tmp_path_factory.mktemp("state of the tests")
    real = []
    if REAL:
        system, server = table.asked(REAL)
        needed(table.SERVERS[system][server].program)
        real = ["--real", REAL]
    try:
        _sandbox("up", state, "--base-port", str(free_base_port()), "--home", str(home), *real)
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "functional" in item.path.parts:
            item.add_marker(pytest.mark.functional)
            # A module's SYSTEMS names those whose real servers it shall be run against too.
            if (
                REAL
                and isinstance(item, pytest.Function)
                and REAL.partition("=")[0] in getattr(item.module, "SYSTEMS", ())
            ):
                item.add_marker(pytest.mark.real)

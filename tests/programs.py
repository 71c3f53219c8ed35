"""Programs that the project does not install: found, or built, or the test is skipped with the reason."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from sandbox.processes import SandboxError
from sandbox.real import programs
from sandbox.real.age import AGE
from sandbox.real.programs import Program

BUILT = {"age": AGE}
"""Tools that can be built where they are not installed."""


def needed(program: Program) -> Path:
    """Return where a program lies; build it where it is not there yet."""
    try:
        return programs.get(program, print)
    except SandboxError as absent:
        _without(str(absent))


def stock_tool(name: str) -> Path:
    """Return a standard tool: the machine's own, else one that is built."""
    found = shutil.which(name)
    if found:
        return Path(found)
    if name not in BUILT:
        _without(f"no {name} on this machine: install the package {name}")
    return needed(BUILT[name])


def debian_postgres() -> Path:
    """Return the folder of the programs of Debian's newest PostgreSQL."""
    found = Path("/usr/lib/postgresql").glob("*/bin/pg_verifybackup")
    newest = max(found, key=lambda path: float(path.parts[-3]), default=None)
    if newest is None:
        _without("no PostgreSQL of Debian on this machine: install the package postgresql")
    return newest.parent


def _without(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)

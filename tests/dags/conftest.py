"""One parse of every DAG file, for all tests of this folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    # Airflow's own API imports Starlette's test client, which asks for httpx2; it need not, it works with httpx.
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    import starlette.testclient  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``file`` once for each DAG file; the file's name is the DAG's id."""
    if "file" in metafunc.fixturenames:
        files = sorted((ROOT / "dags").rglob("*.py"))
        metafunc.parametrize("file", files, ids=[file.stem for file in files], scope="session")


@pytest.fixture(scope="session")
def parse() -> Callable[[], Any]:
    """Parse the whole folder anew."""
    from airflow.dag_processing.dagbag import DagBag

    return lambda: DagBag(dag_folder=ROOT / "dags")


@pytest.fixture(scope="session")
def bag(parse: Callable[[], Any]) -> Any:
    """All DAGs."""
    return parse()


@pytest.fixture(scope="session")
def dag(bag: Any, file: Path) -> Any:
    """The DAG of one file."""
    assert not bag.import_errors
    return bag.dags[file.stem]

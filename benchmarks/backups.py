"""A directory: a full backup, its restore and a second backup, against restic and rclone at the same MinIO."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import pyrage

from benchmarks import trees
from benchmarks.figures import Figure, Result, middle
from benchmarks.peers import Ran, Rclone, Restic, ours, run, versions
from benchmarks.stores import Store, minio_in
from platform_ops.backups.kinds.directory_packs import SETTLES_NS

TURNS = 3
FULL, RESTORED, SECOND, PLAIN = 0.5, 1 / 1.5, 1.5, 1.0
"""Our seconds for one of restic's (full, restore, second backup) and of rclone's plain copy, at most."""
UPLOADED = 3.0
"""Bytes a second backup stores for each changed one, at most."""
TRANSFERS = ("--transfers", "8", "--checkers", "8")
"""As many at once as we have (`in_order.WORKERS`)."""
MIB = 1024 * 1024

Seconds = dict[str, list[float]]


@dataclass
class Bench:
    """What the turns share, and what they found.

    :ivar took: seconds by program and work.
    :ivar stored: bytes stored, likewise.
    """

    store: Store
    folder: Path
    pieces: trees.Pieces
    took: Seconds = field(default_factory=lambda: defaultdict(list))
    stored: Seconds = field(default_factory=lambda: defaultdict(list))

    @property
    def tree(self) -> Path:
        """Return where the tree lies."""
        return self.folder / "tree"

    @property
    def archive(self) -> Path:
        """Return a plain tar of it."""
        return self.folder / "tree.tar"

    def peer(self, name: str, ran: Ran) -> None:
        """Note what a peer took."""
        self.took[name].append(ran.seconds)

    def size(self, name: str, bucket: str) -> int:
        """Note how many bytes a bucket holds, and return them."""
        found = self.store.size(bucket)
        self.stored[name].append(found / MIB)
        return found

    def our(self, name: str, order: dict[str, Any]) -> dict[str, Any]:
        """Do a piece of our work and note what it took."""
        found, ran = ours(order, backup_store=self.store)
        self.took[name].append(found["seconds"])
        self.took["ours, start"].append(ran.seconds - found["seconds"])
        return found


def measure(files: int = trees.FILES, size: int = trees.SIZE, turns: int = TURNS) -> Result:
    """Back up, restore, change and back up again, all programs in turns, each turn into new buckets.

    Nothing is deleted before the end: for minutes ext4 looks for each new file past the numbers of deleted ones
    (`recently_deleted` of fs/ext4/ialloc.c), which took up to half of a restore's time.
    """
    with tempfile.TemporaryDirectory(prefix="platform-ops-bench-") as folder, minio_in(Path(folder) / "minio") as store:
        bench = Bench(store, Path(folder), trees.Pieces(seed=1))
        trees.make(bench.tree, bench.pieces, files, size)
        run(["tar", "--create", "--file", bench.archive, "--directory", bench.tree, "."], {})
        # As nightly: what was changed within a minute is read again by the next backup.
        time.sleep(SETTLES_NS / 1e9)
        for turn in range(turns):
            _turn(bench, turn)
        # Last, as MinIO is busy for a while with as many objects.
        for turn in range(turns):
            _plain_turn(bench, turn)
        return _result(bench, turns)


def _turn(bench: Bench, turn: int) -> None:
    store, mine, theirs = bench.store, f"ours-{turn}", f"restic-{turn}"
    for bucket in (mine, theirs):
        store.make(bucket)
    work = bench.folder / f"turn {turn}"
    (work / "ours").mkdir(parents=True)
    restic = Restic(store, theirs, work)
    restic("init")
    holder, copier = (pyrage.x25519.Identity.generate() for _ in range(2))
    order = {"kind": "directory", "source": "tree", "what": {"path": str(bench.tree)}, "bucket": mine,
             "recipients": [str(holder.to_public())], "key": str(copier), "identity": str(holder)}  # fmt: skip

    point = bench.our("ours, full", order | {"work": "copy"})["point"]
    bench.peer("restic, full", restic("backup", "--quiet", bench.tree))
    before = {name: bench.size(f"{name}, full", bucket) for name, bucket in (("ours", mine), ("restic", theirs))}

    bench.our("ours, restore", order | {"work": "restore", "point": point, "target": str(work / "ours")})
    bench.peer("restic, restore", restic("restore", "--quiet", "--target", work / "restic", "latest"))
    # What the files cost this machine, whoever writes them.
    (work / "tar").mkdir()
    bench.peer("tar, restore", run(["tar", "--extract", "--file", bench.archive, "--directory", work / "tar"], {}))

    changed = trees.change(bench.tree, bench.pieces, turn)
    bench.our("ours, second", order | {"work": "copy"})
    bench.peer("restic, second", restic("backup", "--quiet", bench.tree))
    for name, bucket in (("ours", mine), ("restic", theirs)):
        added = bench.size(f"{name}, both", bucket) - before[name]
        bench.stored[f"{name}, of each changed byte"].append(added / changed)


def _plain_turn(bench: Bench, turn: int) -> None:
    bucket = f"rclone-{turn}"
    bench.store.make(bucket)
    for work in ("full", "second"):
        if work == "second":
            trees.change(bench.tree, bench.pieces, TURNS + turn)
        ran = Rclone(store=bench.store)("copy", *TRANSFERS, bench.tree, f"store:{bucket}")
        bench.peer(f"rclone, {work}", ran)
        bench.size(f"rclone, {work}", bucket)


def _result(bench: Bench, turns: int) -> Result:
    took, stored = bench.took, {name: median(values) for name, values in bench.stored.items()}

    def ratio(work: str, peer: str, program: str = "ours") -> float:
        return median(took[f"{program}, {work}"]) / median(took[f"{peer}, {work}"])

    of = f"median of {turns}"
    figures = (
        Figure(f"full backup, {of}", median(took["ours, full"]), "s"),
        Figure("full backup against restic", ratio("full", "restic"), "x", FULL),
        Figure("full backup against a plain copy by rclone", ratio("full", "rclone"), "x", PLAIN),
        Figure(f"restore, {of}", median(took["ours, restore"]), "s"),
        Figure("restore against restic", ratio("restore", "restic"), "x", RESTORED),
        Figure("restore against tar, from a plain file", ratio("restore", "tar"), "x"),
        Figure("restic's restore against tar", ratio("restore", "tar", "restic"), "x"),
        Figure(f"second backup, one file in a hundred changed, {of}", median(took["ours, second"]), "s"),
        Figure("second backup against restic", ratio("second", "restic"), "x", SECOND),
        Figure("bytes stored for each changed byte", stored["ours, of each changed byte"], "x", UPLOADED),
        Figure("bytes stored for each changed byte by restic", stored["restic, of each changed byte"], "x"),
        Figure("start of our process, which a task has behind it", median(took["ours, start"]), "s"),
    )
    head = ("program", "full, s", "restore, s", "second, s", "stored, MiB")
    rows = [
        (name, *(_cell(took, f"{name}, {work}") for work in _WORK), f"{stored[f'{name}, full']:.0f}") for name in _NAMES
    ]
    rows.append(("tar, from a plain file", "", _cell(took, "tar, restore"), "", ""))
    peers = ("The peers:", ("peer", "version", "from"), versions())
    return Result("Backups of a directory", figures, (("Seconds, with their span:", head, rows), peers))


def _cell(took: Seconds, name: str) -> str:
    return middle(took[name]) if name in took else ""


_NAMES = ("ours", "restic", "rclone")
_WORK = ("full", "restore", "second")

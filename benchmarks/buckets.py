"""A bucket: from one MinIO to another, against rclone and s5cmd; and a million objects that have not changed."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import pyrage

from benchmarks import million
from benchmarks.backups import TRANSFERS
from benchmarks.figures import Figure, Result, middle
from benchmarks.peers import Rclone, S5cmd, ours
from benchmarks.stores import Store, minio_in
from benchmarks.trees import Pieces

TURNS = 3
SMALL, LARGE = 10_000, 20
KIB = 1024
SMALL_SIZES = (4 * KIB, 64 * KIB)
LARGE_SIZE = 32 * KIB * KIB
BUCKET = "shop"
SLOWER = 1.0
"""Our seconds for one of a peer's, at most."""
OBJECTS = 1_000_000
PLAN_MIB = 500.0
_MAKERS = 8

Seconds = dict[str, list[float]]
Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]


def measure(small: int = SMALL, large: int = LARGE, objects: int = OBJECTS, turns: int = TURNS) -> Result:
    """Copy a bucket with each program in turns, each time into a new one; then plan a copy of the million."""
    took: Seconds = defaultdict(list)
    with (
        tempfile.TemporaryDirectory(prefix="platform-ops-bench-") as name,
        minio_in((folder := Path(name)) / "one") as one,
        minio_in(folder / "two") as two,
    ):
        _fill(one, small, large)
        for turn in range(turns):
            _turn(one, two, folder, turn, took)
        copied = {name: median(values) for name, values in took.items()}
        planned, table = _million(two, objects)
    figures = (
        *(Figure(f"{name}, median of {turns}", seconds, "s") for name, seconds in copied.items()),
        *(
            Figure(f"{name} against {peer}", copied[name] / copied[peer], "x", SLOWER)
            for name in copied
            if name.startswith("ours")
            for peer in (RCLONE, S5CMD)
        ),
        *planned,
    )
    rows = [(name, middle(values)) for name, values in took.items()]
    title = f"Seconds of {small} small and {large} large objects, with their span:"
    return Result("Backups of a bucket", figures, ((title, ("program", "s"), rows), table))


RCLONE, S5CMD = "rclone sync", "s5cmd, by way of a folder"


def order_of(bucket: str, into: str, *, encrypted: bool) -> dict[str, Any]:
    """Return what a child is told of a bucket's source."""
    holder, copier = (pyrage.x25519.Identity.generate() for _ in range(2))
    keys = {"recipients": [str(holder.to_public())], "key": str(copier)} if encrypted else {"recipients": [], "key": ""}
    return {"kind": "bucket", "source": bucket, "what": {"bucket": bucket}, "bucket": into} | keys


def _turn(one: Store, two: Store, folder: Path, turn: int, took: Seconds) -> None:
    """Copy the bucket with each program; s5cmd knows one server at a time, so it goes by way of a folder."""
    into = {name: f"{name}-{turn}" for name in ("encrypted", "plain", "rclone", "s5cmd")}
    for bucket in into.values():
        two.make(bucket)
    for name in ("encrypted", "plain"):
        order = order_of(BUCKET, into[name], encrypted=name == "encrypted") | {"work": "copy"}
        found, _ = ours(order, source_store=one, backup_store=two)
        took[f"ours, {name}"].append(found["seconds"])
    ran = Rclone(one=one, two=two)("sync", *TRANSFERS, f"one:{BUCKET}", f"two:{into['rclone']}")
    took[RCLONE].append(ran.seconds)
    between = folder / f"between {turn}"
    down = S5cmd(one)("cp", f"s3://{BUCKET}/*", f"{between}/")
    up = S5cmd(two)("cp", f"{between}/", f"s3://{into['s5cmd']}/")
    took[S5CMD].append(down.seconds + up.seconds)


def _fill(store: Store, small: int, large: int) -> None:
    store.make(BUCKET)
    client = store.client

    def put(key: str, body: bytes) -> None:
        client.put_object(BUCKET, key, BytesIO(body), len(body))

    with ThreadPoolExecutor(_MAKERS) as pool:
        for _ in pool.map(lambda pair: put(*pair), _objects(small, large)):
            pass


def _objects(small: int, large: int) -> Iterator[tuple[str, bytes]]:
    """Yield key and bytes: text and binaries by turns."""
    pieces = Pieces(seed=2)
    least, most = SMALL_SIZES
    for number in range(small):
        size = least + number * (most - least) // small
        yield f"small/{number:05}", pieces.text(size) if number % 2 else pieces.binary(size)
    for number in range(large):
        yield f"large/{number:05}", pieces.text(LARGE_SIZE) if number % 2 else pieces.binary(LARGE_SIZE)


def _million(
    store: Store, objects: int
) -> tuple[tuple[Figure, ...], tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Copy a bucket of which nothing has changed, and have rclone compare one such bucket with another."""
    for bucket in (million.BUCKET, million.COPY, million.BACKUPS):
        store.make(bucket)
    order = order_of(million.BUCKET, million.BACKUPS, encrypted=True) | {"objects": objects}
    with million.listing(store, objects) as server:
        stores = {"source_store": server, "backup_store": server}
        ours(order | {"work": "pretend"}, **stores)
        found, mine = ours(order | {"work": "copy"}, **stores)
        theirs = Rclone(one=server)(
            "sync", "--dry-run", "--checksum", *TRANSFERS, f"one:{million.BUCKET}", f"one:{million.COPY}"
        )
    state = found["state"]
    if (state["objects"], state["read"], state["added"]) != (objects, 0, 0):
        raise AssertionError(f"the bucket was not taken for unchanged: {state} {found['notes']}")
    what = f"{objects:,} unchanged objects"
    figures = (
        Figure(f"memory of a copy of {what}, at the peak", mine.peak, "MiB", PLAN_MIB),
        Figure(f"copy of {what}", found["seconds"], "s"),
        Figure("rclone sync --dry-run --checksum of as many", theirs.seconds, "s"),
    )
    rows: list[tuple[str, ...]] = [
        ("ours", f"{found['seconds']:.1f}", f"{mine.peak:.0f}", "lists bucket and contents, reads and writes the list"),
        ("rclone", f"{theirs.seconds:.1f}", f"{theirs.peak:.0f}", "lists two buckets, folder by folder"),
    ]
    return figures, (f"{what}:", ("program", "s", "memory, MiB", "what it does"), rows)

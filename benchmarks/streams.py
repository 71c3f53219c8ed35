"""A stream longer than any memory: what the process that stores it has, and how often it says how far it is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyrage

from benchmarks.figures import Figure, Result
from benchmarks.million import POINT
from benchmarks.peers import ours
from benchmarks.stores import minio_in

SIZE = 20_000_000_000
MEMORY_MIB = 300.0
GROWTH = 1.3
"""Memory at the peak of the last quarter for that of the first one, at most: parts grow by 16 MiB for each 500."""
QUIET_SECONDS = 6.0
"""Every five seconds, and the time of one part on its way to the store."""
BUCKET = "streams"


def measure(size: int = SIZE) -> Result:
    """Store a stream of bytes that do not compress, encrypted, at MinIO."""
    key = str(pyrage.x25519.Identity.generate().to_public())
    order = {"work": "stream", "kind": "directory", "source": "stream", "what": {"path": "/"}, "bucket": BUCKET,
             "point": POINT, "recipients": [key], "size": size}  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="platform-ops-bench-") as folder, minio_in(Path(folder) / "minio") as store:
        store.make(BUCKET)
        found, ran = ours(order, backup_store=store)
    first, *_, last = found["quarters"]
    figures = (
        Figure(f"memory of a stream of {size / 1e9:.0f} GB, at the peak", ran.peak, "MiB", MEMORY_MIB),
        Figure("memory of its first quarter, at the peak", first, "MiB"),
        Figure("memory of its last quarter, at the peak", last, "MiB"),
        Figure("last quarter for the first one", last / first, "x", GROWTH),
        Figure("longest time without a word of progress", found["longest"], "s", QUIET_SECONDS),
        Figure("each second", size / 1e6 / found["seconds"], "MB"),
    )
    return Result("A long stream", figures)

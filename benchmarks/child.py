"""One piece of our own work, in a process of its own as in a task.

`python -m benchmarks.child` reads from its input what it is to do, as JSON, and prints what it measured.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import million
from benchmarks.generated import Bytes, Memory
from platform_ops.backups import copying
from platform_ops.backups.contents import INDEX, Stored, hash_of, write_index, write_line
from platform_ops.backups.drilling import Opened
from platform_ops.backups.kinds.bucket import OBJECTS, Bucket
from platform_ops.backups.kinds.bucket_plan import line_of
from platform_ops.backups.kinds.directory import Directory
from platform_ops.backups.kinds.shape import Kind
from platform_ops.backups.points import Contents, Manifest, point_id
from platform_ops.backups.progress import Progress
from platform_ops.backups.sources import Retention, Source, Tier
from platform_ops.backups.store import Points
from platform_ops.backups.streams import Writer, parse_identity
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.models import Listed

Found = dict[str, Any]


def source_of(order: Found) -> Source:
    """Make the catalogue entry that an order tells of."""
    return Source(
        name=order["source"],
        kind=order["kind"],
        owner="bench@example.com",
        connection="source_store",
        what=order["what"],
        tier=Tier.NIGHTLY,
        retention=Retention(7, 0, 0, 0),
        store_connection="backup_store",
        bucket=order["bucket"],
        encryption_connection="backup_keys",
        lock=timedelta(0),
        rpo=timedelta(days=1),
        rto=timedelta(hours=1),
        drill_every=timedelta(days=7),
    )


def _kind(source: Source) -> Kind:
    return Bucket(source) if source.kind == "bucket" else Directory(source)


def copy(order: Found) -> Found:
    """Make a point."""
    source = source_of(order)
    points, point = Points.of(source), point_id(datetime.now(UTC), secrets.token_hex(4))
    progress = Progress(print)
    options = {"run_id": "bench", "recipients": order["recipients"], "key": order["key"], "told": progress.add}
    manifest, _, notes = copying.copy(source, _kind(source), points, point, **options)
    return {"point": point, "state": dict(manifest.state), "notes": notes}


def restore(order: Found) -> Found:
    """Restore a point into an empty folder."""
    source = source_of(order)
    points = Points.of(source)
    manifest, _ = points.manifest(order["point"])
    _kind(source).restore(Opened(points, manifest, order["identity"]), Path(order["target"]))
    return {}


def stream(order: Found) -> Found:
    """Store a stream that nobody has in one piece; tell its memory by quarters, and the pauses between two reports."""
    points, size = Points.of(source_of(order)), int(order["size"])
    said = [time.monotonic()]

    def say(sentence: str) -> None:
        said.append(time.monotonic())
        print(sentence, flush=True)

    progress, memory = Progress(say, size), Memory()

    def told(count: int) -> None:
        progress.add(count)
        memory.reached(progress.done / size)

    with memory:
        points.write(order["point"], "place", "stream", Bytes(size).write, order["recipients"], told)
    said.append(time.monotonic())
    gaps = [later - earlier for earlier, later in pairwise(said)]
    return {"quarters": memory.quarters, "longest": max(gaps)}


def pretend(order: Found) -> Found:
    """Make the point that a copy of the million objects would have left."""
    source, objects = source_of(order), int(order["objects"])
    points = Points.of(source)
    recipients, place, now = order["recipients"], "01234567", datetime.now(UTC)
    readers = (*recipients, str(parse_identity(order["key"]).to_public()))

    def write_objects(out: Writer) -> None:
        for number in range(objects):
            listed = Listed(million.key(number), "", million.SIZE, million.etag(number), million.MODIFIED)
            name = million.content(million.content_of(number, objects))
            write_line(out, line_of(listed) | {"sha256": hash_of(name), "content": name, "put": _PUT})

    stored = (Stored(million.content(number), million.SIZE, million.STORED_SIZE, "0" * 64) for number in range(objects))
    members = (
        points.write(million.POINT, place, f"{OBJECTS}.zst.age", write_objects, readers, lambda _: None),
        points.write(million.POINT, place, f"{INDEX}.zst", partial(write_index, stored), (), lambda _: None),
    )
    state = {"address": BucketHook("source_store").address, "bucket": million.BUCKET}
    contents = Contents(objects, objects * million.SIZE, objects * million.STORED_SIZE)
    point = Manifest(source.name, source.kind, million.POINT, place, "bench", now, now, now, state, members, {},
                     tuple(recipients), contents=contents)  # fmt: skip
    points.commit(point)
    return {}


_PUT = {"ContentType": "application/octet-stream"}
WORK = {"copy": copy, "restore": restore, "stream": stream, "pretend": pretend}


def main() -> None:
    """Do what the input says."""
    order = json.load(sys.stdin)
    began = time.perf_counter()
    found = WORK[order["work"]](order)
    print(json.dumps(found | {"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()

"""Where the documents lie: one object for each end of a run, written once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from platform_ops.evidence.document import BUCKET, canonical, key, sha256
from platform_ops.systems.object_store.hook import ObjectStoreHook


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that lies in the bucket.

    :param adopted: an equal one lay there already.
    """

    number: int
    key: str
    sha256: str
    url: str
    adopted: bool


def keep(store: ObjectStoreHook, dag_id: str, run_id: str, document: Callable[[int], dict[str, Any]]) -> Kept:
    """Store a run's document under the next free number, unless the newest one is equal.

    :param document: makes the document with a number.
    """
    for number in count(max(1, _newest(store, dag_id, run_id))):
        made, name = document(number), key(dag_id, run_id, number)
        if store.put_new(BUCKET, name, canonical(made)):
            return Kept(number, name, sha256(made), store.url(BUCKET, name), adopted=False)
        if store.read(BUCKET, name) == canonical(made):
            return Kept(number, name, sha256(made), store.url(BUCKET, name), adopted=True)
    raise AssertionError  # pragma: no cover


def _newest(store: ObjectStoreHook, dag_id: str, run_id: str) -> int:
    names = (name.rpartition("/")[2].removesuffix(".json") for name in store.keys(BUCKET, f"runs/{dag_id}/{run_id}/"))
    return max((int(name) for name in names if name.isdecimal()), default=0)

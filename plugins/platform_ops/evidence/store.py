"""Where the documents lie: one object for each end of a run, written once."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.records import RunRecord
from platform_ops.evidence.document import BUCKET, canonical, key, sha256, step_names, tells_of, with_reports
from platform_ops.systems.object_store.hook import ObjectStoreHook


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that lies in the bucket.

    :param adopted: it lay there already.
    """

    number: int
    key: str
    sha256: str
    url: str
    adopted: bool
    document: dict[str, Any]


def find_newest(store: ObjectStoreHook, dag_id: str, run_id: str) -> Kept | None:
    """Return the run's newest document, of whichever end of the run it is; None when what lies there is no document."""
    number = _newest(store, dag_id, run_id)
    return _read(store, dag_id, run_id, number) if number else None


def documents(store: ObjectStoreHook, dag_id: str, run_id: str) -> Iterator[Kept]:
    """Yield the documents of all ends of a run, the first first."""
    for number in range(1, _newest(store, dag_id, run_id) + 1):
        if kept := _read(store, dag_id, run_id, number):
            yield kept


def runs(store: ObjectStoreHook, dag_id: str) -> list[str]:
    """Return the runs of a DAG that left documents."""
    folder = f"runs/{dag_id}/"
    return list(dict.fromkeys(name.removeprefix(folder).rpartition("/")[0] for name in store.keys(BUCKET, folder)))


def _read(store: ObjectStoreHook, dag_id: str, run_id: str, number: int) -> Kept | None:
    name = key(dag_id, run_id, number)
    body = store.read(BUCKET, name)
    try:
        document = json.loads(body) if body else None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return None
    return Kept(number, name, sha256(document), store.url(BUCKET, name), adopted=True, document=document)


def find_end(store: ObjectStoreHook, run: RunRecord, *, without: Collection[str] = ()) -> Kept | None:
    """Return the run's newest document if it is of this end of the run: it tells of the same tries of its steps.

    :param without: tasks that are no steps.
    """
    kept = find_newest(store, run.dag_id, run.run_id)
    return kept if kept and tells_of(kept.document, run, without) else None


def as_recorded(api: AirflowApi, store: ObjectStoreHook, run: RunRecord) -> tuple[RunRecord, Kept] | None:
    """Return an ended run with the reports that its newest document holds, and that: one call, however many steps.

    :param run: needs no tasks.
    :return: None when the document is of another end of the run, or there is none.
    """
    kept = find_newest(store, run.dag_id, run.run_id)
    names = step_names(kept.document) if kept else ()
    if kept is None or not names:
        return None
    (found,) = api.with_tasks([run], names)
    told = with_reports(found, kept.document)
    return (told, kept) if told else None


def keep(store: ObjectStoreHook, dag_id: str, run_id: str, document: Callable[[int], dict[str, Any]]) -> Kept:
    """Store a run's document under the next free number, unless the newest one is equal.

    :param document: makes the document with a number.
    """
    for number in count(max(1, _newest(store, dag_id, run_id))):
        made, name = document(number), key(dag_id, run_id, number)
        if store.put_new(BUCKET, name, canonical(made)):
            return Kept(number, name, sha256(made), store.url(BUCKET, name), adopted=False, document=made)
        if store.read(BUCKET, name) == canonical(made):
            return Kept(number, name, sha256(made), store.url(BUCKET, name), adopted=True, document=made)
    raise AssertionError  # pragma: no cover


def _newest(store: ObjectStoreHook, dag_id: str, run_id: str) -> int:
    names = (name.rpartition("/")[2].removesuffix(".json") for name in store.keys(BUCKET, f"runs/{dag_id}/{run_id}/"))
    return max((int(name) for name in names if name.isdecimal()), default=0)

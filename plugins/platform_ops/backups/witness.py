"""Whether a point is the one its run made: its manifest is held against the run's evidence.

``verified.json`` lies beside the manifest, and whoever holds the key that writes points could change both. Evidence is
written by another account, into a bucket that this key does not reach. What there is no evidence of may be sound all
the same, and on the worst day must be restored: it is never an error, and always said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException

from platform_ops.backups.errors import NotProven
from platform_ops.backups.names import BACK_UP
from platform_ops.backups.points import Manifest, is_of_run
from platform_ops.common.errors import PlatformError
from platform_ops.evidence.document import BUCKET
from platform_ops.evidence.store import documents, runs
from platform_ops.systems.object_store.hook import ObjectStoreHook

HELD = "Its manifest is the one in the evidence of its run."
_NOT_HELD = "Its manifest was not held against evidence: "
_NO_EVIDENCE = "there is none of it, because its run still goes on, or could not store its evidence."


def witness(manifest: Manifest, sha256: str) -> str:
    """Hold a manifest against the evidence; return what a person should know of that.

    :param sha256: of the manifest.
    :raises NotProven: its run made another one.
    """
    try:
        told = _told(ObjectStoreHook(), manifest)
    except (PlatformError, AirflowException, ValueError) as error:
        return f"{_NOT_HELD}the evidence store could not be asked: {error}"
    return judge(manifest, sha256, told)


def judge(manifest: Manifest, sha256: str, told: Mapping[str, Iterable[str]]) -> str:
    """Compare a manifest's sha256 with those that its run reported.

    :param told: where each piece of evidence lies, and the sums it tells of.
    :raises NotProven: one is another.
    """
    for where, sums in told.items():
        if other := next((one for one in sums if one != sha256), None):
            raise NotProven(
                f"The manifest of point {manifest.point} of {manifest.source} has the sha256 {sha256[:12]}…, and the "
                f"evidence {BUCKET}/{where} says {other[:12]}…: somebody changed the point and the note that it was "
                "verified. Restore an older point, and find out who."
            )
    return HELD if told else _NOT_HELD + _NO_EVIDENCE


def _told(store: ObjectStoreHook, manifest: Manifest) -> dict[str, list[str]]:
    for run in _runs(store, manifest):
        # Every end of it: one that was cleared later adopted what lay there by then.
        found = {kept.key: sums for kept in documents(store, BACK_UP, run) if (sums := _sums(kept.document, manifest))}
        if found:
            return found
    return {}


def _runs(store: ObjectStoreHook, manifest: Manifest) -> Iterator[str]:
    """Yield the runs that may have made the point; the manifest's own word for it is only where to look first."""
    if is_of_run(manifest.point, manifest.run):
        yield manifest.run
    yield from (run for run in runs(store, BACK_UP) if is_of_run(manifest.point, run))


def _sums(document: Mapping[str, Any], manifest: Manifest) -> list[str]:
    """Return the sums that the steps of a run reported of a point's manifest."""
    facts = (step.get("facts") or {} for step in document.get("steps") or ())
    return [
        str(one["manifest_sha256"])
        for one in facts
        if (one.get("source"), one.get("point")) == (manifest.source, manifest.point) and "manifest_sha256" in one
    ]

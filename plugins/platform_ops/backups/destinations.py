"""Where a restore goes to: a folder on the worker, or a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

from platform_ops.backups.drilling import Opened
from platform_ops.backups.errors import NoPoint
from platform_ops.backups.kinds.bucket_target import BucketTarget
from platform_ops.backups.kinds.shape import Kind, Selection, Selective
from platform_ops.backups.placing import NAMED, InTheWay, Placement
from platform_ops.backups.wishes import BUCKET, BadWish
from platform_ops.systems.object_store.buckets import BucketHook
from platform_ops.systems.object_store.errors import BucketNotFound
from platform_ops.systems.object_store.models import Known


@dataclass(frozen=True, slots=True)
class Done:
    """What a restore has done.

    :param reused: whether an earlier try had done all of it.
    :param kept: sentence about what was in the way; empty where nothing was.
    :param aside: the folders that hold it.
    """

    reused: bool
    kept: str = ""
    aside: tuple[str, ...] = ()


class Destination(Protocol):
    """Where a point, or a part of it, is restored to."""

    @property
    def target(self) -> str:
        """Return what the form names, with its links followed."""

    @property
    def place(self) -> str:
        """Return where what is restored ends up; it may be a part of the target."""

    def free(self) -> int | None:
        """Return the bytes that are free there; None where nobody knows."""

    def select(self, opened: Opened) -> Selection:
        """Say how much is restored."""

    def look(self, opened: Opened) -> InTheWay:
        """Return what is in the way.

        :raises BadWish: nothing may be put there, or not without saying so.
        """

    def told(self, way: InTheWay) -> str:
        """Return sentences about what is in the way, and what comes of it."""

    def restore(self, opened: Opened, who: str) -> Done:
        """Restore; what is in the way is kept. A later try goes on, or finds that all is done.

        :param who: is told to others who want to restore there meanwhile.
        """

    def compare(self, opened: Opened, who: str) -> list[str]:
        """Return a sentence for each difference; without one, what helped to restore is removed."""


class FolderDestination:
    """A folder on the worker.

    :param subset: what the kind calls the part; empty for all of it.
    :param overwrite: whether what is in the way may be moved aside.
    """

    def __init__(self, kind: Kind, placement: Placement, subset: str, *, overwrite: bool) -> None:
        self._kind = kind
        self._part = kind if subset and isinstance(kind, Selective) else None
        self._placement = placement
        self._subset = subset
        self._overwrite = overwrite

    @property
    def target(self) -> str:
        """Return the folder."""
        return str(self._placement.target)

    @property
    def place(self) -> str:
        """Return where what is restored ends up."""
        return str(self._placement.place)

    def free(self) -> int | None:
        """Return the bytes that are free beside the folder."""
        return self._placement.free()

    def select(self, opened: Opened) -> Selection:
        """Say how much is restored."""
        if self._part:
            return self._part.select(opened, self._subset)
        return Selection(int(opened.manifest.state.get("files") or 0), opened.manifest.plain_size)

    def look(self, opened: Opened) -> InTheWay:  # noqa: ARG002
        """Return what is in the folder."""
        return self._placement.check(overwrite=self._overwrite)

    def told(self, way: InTheWay) -> str:
        """Return what would be moved aside."""
        if not way.count:
            return "Nothing is in the way."
        return f"{way.count} entries are in the way and would be moved aside: {', '.join(way.names)}."

    def restore(self, opened: Opened, who: str) -> Done:
        """Restore beside the folder, and rename what was restored into place."""
        with self._placement.hold(who):
            if self._placement.is_done():
                return self._done(reused=True)
            self._placement.check(overwrite=self._overwrite)
            staging = self._placement.stage()
            if self._part:
                self._part.restore_some(opened, staging, self._subset)
            else:
                self._kind.restore(opened, staging)
            self._placement.put()
        return self._done(reused=False)

    def _done(self, *, reused: bool) -> Done:
        aside = tuple(str(path) for path in self._placement.aside())
        return Done(reused, f" What was in the way is kept at {' and '.join(aside)}." if aside else "", aside)

    def compare(self, opened: Opened, who: str) -> list[str]:
        """Hold what lies there against the point."""
        target = self._placement.target
        if self._part:
            wrong = self._part.compare_some(opened, target, self._subset)
        else:
            wrong = self._kind.compare(opened, target)
        if not wrong:
            with self._placement.hold(who):
                self._placement.forget()
        return wrong


class BucketDestination:
    """A bucket that exists; what it holds is never deleted, and written over only where it keeps versions.

    :param hook: of its store, as an account that may write there.
    :param subset: how the keys begin that are restored; empty for all of them.
    :param overwrite: whether the bucket may hold something.
    """

    def __init__(self, hook: BucketHook, bucket: str, subset: str, *, overwrite: bool) -> None:
        self._hook = hook
        self._bucket = bucket
        self._subset = subset
        self._overwrite = overwrite

    @property
    def target(self) -> str:
        """Return the bucket."""
        return f"{BUCKET}{self._bucket}"

    @property
    def place(self) -> str:
        """Return the bucket."""
        return self.target

    def free(self) -> int | None:
        """Return None: a store does not say."""
        return None

    @cached_property
    def _to(self) -> BucketTarget:
        versions = self._keeps_versions()
        if self._overwrite and not versions:
            raise BadWish(
                f"{self.target} keeps no versions, so what is written over would be lost. Enable its versioning, "
                "or name an empty bucket and leave out overwrite."
            )
        return BucketTarget(self._hook, self._bucket, versions=versions, prefix=self._subset, alone=not self._overwrite)

    def _keeps_versions(self) -> bool:
        account = f"the account of {self._hook.object_store_conn_id}"
        try:
            versioning = self._hook.setting(self._bucket, "versioning")
        except BucketNotFound as error:
            raise BadWish(
                f"There is no bucket {self._bucket} at {self._hook.address}, or it is hidden from {account}. Make it, "
                "with versioning where all versions shall come back."
            ) from error
        if versioning.state is Known.REFUSED:
            raise BadWish(
                f"Whether {self.target} keeps versions is not shown to {account}. Grant it s3:GetBucketVersioning."
            )
        # One that has suspended it writes over what it has.
        return versioning.state is Known.SET and "<Status>Enabled" in versioning.text

    def select(self, opened: Opened) -> Selection:
        """Count the objects that are restored, and their bytes.

        :raises NoPoint: the point has none.
        """
        found = self._to.select(opened)
        if self._subset and not found.bytes and not found.files:
            raise NoPoint(
                f"Point {opened.manifest.point} of {opened.manifest.source} has no key that begins with "
                f"{self._subset[:200]!r}."
            )
        return found

    def look(self, opened: Opened) -> InTheWay:
        """Return the keys that hold something already; what an earlier try has written is not in the way."""
        found = self._to.in_the_way(opened)
        names = tuple(islice(found, NAMED))
        if names and not self._overwrite:
            raise BadWish(
                f"The target {self.target} is not empty: {', '.join(names)}{' …' * (len(names) == NAMED)}. Name an "
                "empty bucket, or say overwrite where it keeps versions: what is there then stays below the restored."
            )
        return InTheWay(len(names) + sum(1 for _ in found), names)

    def told(self, way: InTheWay) -> str:
        """Return what would be written over."""
        which = (
            "All versions are restored."
            if self._to.versions
            else "The target keeps no versions: the newest of each key is restored."
        )
        if not way.count:
            return f"{which} Nothing is in the way."
        return f"{which} {way.count} keys get newer versions, and keep those they have: {', '.join(way.names)}."

    def restore(self, opened: Opened, who: str) -> Done:  # noqa: ARG002
        """Write what is missing."""
        way = self.look(opened)
        written = self._to.restore(opened)
        kept = f" What {way.count} keys had before is kept as their older versions." if way.count else ""
        return Done(not written, kept)

    def compare(self, opened: Opened, who: str) -> list[str]:  # noqa: ARG002
        """Hold what the bucket has against the point."""
        return self._to.compare(opened)

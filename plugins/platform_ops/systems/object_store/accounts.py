"""What the accounts of backups may do at an S3 store, asked without changing anything but one object of the writer's.

S3 has no question for it. But it judges the account before it looks for an upload or a version, so a part for an upload
that nobody began, and the deletion of a version that nobody wrote, do nothing either way: AccessDenied says that the
account may not, every other refusal that it could.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice

import urllib3

from platform_ops.common.errors import AuthenticationFailed, FailNow
from platform_ops.common.fail_points import asks
from platform_ops.common.permissions import Finding, State
from platform_ops.systems.object_store.buckets import BucketHook, keeps_versions
from platform_ops.systems.object_store.errors import BucketNotFound
from platform_ops.systems.object_store.models import Known, Listed
from platform_ops.systems.object_store.permissions import (
    ABORT,
    ANY_PUT,
    BUCKETS,
    ELSEWHERE_PUT,
    EVIDENCE,
    FIND,
    PROBE,
    PROOF,
    PROOF_PROBE,
    READ_AGAIN,
    SCRATCH,
    SETTINGS_OF_POINTS,
    SOURCE_GET,
    SOURCE_LIST,
    SOURCE_PUT,
    SOURCE_TAGS,
    TARGET_PUT,
    UPLOADS,
    VERSIONS,
    WRITE,
    WRITE_ONCE,
)

_NO_UPLOAD = "no-upload"
_NO_VERSION = "00000000-0000-4000-8000-000000000000"
_DO = "the policy of our key"


class _Account(BucketHook):
    """What all of them are asked."""

    @asks
    def _may_put(self, bucket: str, key: str) -> bool:
        """Send a part of an upload that was never begun."""
        return self._may(lambda: self.client._upload_part(bucket, key, b"", None, _NO_UPLOAD, 1), bucket)  # noqa: SLF001

    @asks
    def _may_delete_versions(self, bucket: str, prefix: str = "") -> bool:
        asked = {"versionId": _NO_VERSION}
        return self._may(
            lambda: self.client._execute("DELETE", bucket, f"{prefix}{PROBE}", query_params=asked),  # noqa: SLF001
            bucket,
        )

    @asks
    def _may_abort(self, bucket: str) -> bool:
        return self._may(lambda: self.client._abort_multipart_upload(bucket, PROBE, _NO_UPLOAD), bucket)  # noqa: SLF001

    def _may(self, call: Callable[[], object], bucket: str) -> bool:
        def tried() -> None:
            with self._errors(f"a trial at bucket {bucket}"):
                call()

        try:
            return self._allowed(tried)
        except (AuthenticationFailed, BucketNotFound):
            raise
        except FailNow:
            return True

    def _check_points(self, bucket: str) -> Iterator[Finding]:
        where = f"on bucket {bucket}"
        yield FIND.judge(allowed=self._allowed(lambda: next(self.keys(bucket, PROBE), None)), where=where, do=_DO)
        yield READ_AGAIN.judge(allowed=self._allowed(lambda: self.read(bucket, PROBE)), where=where, do=_DO)


class BackupWriter(_Account):
    """The account that makes points and prunes them.

    :param never: bucket of the evidence, which it must not reach.
    """

    def __init__(self, object_store_conn_id: str, *, never: str, pool: urllib3.PoolManager | None = None) -> None:
        super().__init__(object_store_conn_id, pool=pool)
        self._never = never

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """List, read, write and try in each bucket, and try to reach the evidence.

        :param places: buckets.
        """
        found = super().check_permissions(places)
        try:
            reaches = self._may_put(self._never, PROBE)
        except BucketNotFound:
            # Another store than that of the evidence, or it is hidden from this key.
            reaches = False
        return (*found, EVIDENCE.judge(allowed=reaches, where=f"on bucket {self._never}", do=_DO))

    def _check_bucket(self, bucket: str) -> Iterator[Finding]:
        where, written = f"on bucket {bucket}", list[bool]()
        yield from self._check_points(bucket)
        may_write = self._allowed(lambda: written.append(self.put_new(bucket, PROBE, b"{}\n")))
        yield WRITE.judge(allowed=may_write, where=where, do=_DO)
        if may_write:
            again = written[0] and self.put_new(bucket, PROBE, b"{}\n")
            yield WRITE_ONCE.judge(allowed=not again, where=where, do="a store that honours If-None-Match")
        lists = self._allowed(lambda: self.abort_uploads(bucket, PROBE, lambda _: False))
        yield UPLOADS.judge(allowed=lists, where=where, do=_DO)
        yield ABORT.judge(allowed=self._may_abort(bucket), where=where, do=_DO)
        for setting, permission in SETTINGS_OF_POINTS.items():
            shown = self.setting(bucket, setting).state is not Known.REFUSED
            yield permission.judge(allowed=shown, where=where, do=_DO)
        yield VERSIONS.judge(allowed=self._may_delete_versions(bucket), where=where, do=_DO)


class BackupReader(_Account):
    """The account that drills and restores."""

    def _check_bucket(self, bucket: str) -> Iterator[Finding]:
        where = f"on bucket {bucket}"
        if bucket == SCRATCH:
            lists = self._allowed(self.buckets)
            yield BUCKETS.judge(allowed=lists, where="at the store", do=_DO)
            return
        yield from self._check_points(bucket)
        yield PROOF.judge(allowed=self._may_put(bucket, PROOF_PROBE), where=where, do=_DO)
        yield ANY_PUT.judge(allowed=self._may_put(bucket, PROBE), where=where, do=_DO)
        yield VERSIONS.judge(allowed=self._may_delete_versions(bucket), where=where, do=_DO)


class SourceBucket(_Account):
    """The account that reads a bucket that is backed up."""

    def _check_bucket(self, bucket: str) -> Iterator[Finding]:
        """Ask of a bucket, or of what is below a prefix of it, named after a slash."""
        name, _, prefix = bucket.partition("/")
        where, first = f"on {bucket}", list[Listed]()

        def find() -> None:
            versions = keeps_versions(self.setting(name, "versioning"))
            first.extend(islice(self.versions(name, prefix, all_versions=versions), 1))

        yield SOURCE_LIST.judge(allowed=self._allowed(find), where=where, do=_DO)
        if first and not first[0].marker:
            yield SOURCE_GET.judge(allowed=self._allowed(lambda: self._open(name, first[0])), where=where, do=_DO)
            yield SOURCE_TAGS.judge(allowed=self._allowed(lambda: self.tags(name, first[0])), where=where, do=_DO)
        yield SOURCE_PUT.judge(allowed=self._may_put(name, f"{prefix}{PROBE}"), where=where, do=_DO)
        yield VERSIONS.judge(allowed=self._may_delete_versions(name, prefix), where=where, do=_DO)

    def _open(self, bucket: str, entry: Listed) -> None:
        with self.open_version(bucket, entry):
            pass


class RestoreTarget(_Account):
    """The account that writes into the buckets to which a bucket is restored; which those are, the form says."""

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """See that the store knows the key, and try to reach what it must leave alone.

        :param places: buckets of sources and of points.
        """
        # Whether it may or not: a store that says so knows the key.
        self._allowed(self.buckets)
        sentence = "The store knows the key. Whether it may write where something is restored to shows at the restore."
        return (Finding(TARGET_PUT, State.UNKNOWN, sentence), *super().check_permissions(places))

    def _check_bucket(self, bucket: str) -> Iterator[Finding]:
        try:
            reaches = self._may_put(bucket, PROBE)
        except BucketNotFound:
            # Another store than that of the bucket, or it is hidden from this key.
            reaches = False
        yield ELSEWHERE_PUT.judge(allowed=reaches, where=f"on bucket {bucket}", do=_DO)

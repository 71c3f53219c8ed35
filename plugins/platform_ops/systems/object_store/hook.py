"""Read and write whole objects, with the minio client on our transport."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from hashlib import md5
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook

from platform_ops.common.connections import base_url, tls_verify
from platform_ops.common.errors import AuthenticationFailed, PlatformError, Unreachable, error_for_status
from platform_ops.common.fail_points import changes
from platform_ops.common.http import url_path, urllib3_pool
from platform_ops.common.permissions import CheckedConnection, Finding, State
from platform_ops.systems.object_store.errors import BucketNotFound, ObjectChanged, ObjectNotFound
from platform_ops.systems.object_store.listing import Marker, parse_page
from platform_ops.systems.object_store.models import Listed, Readable
from platform_ops.systems.object_store.permissions import DELETE, GET, LIST, ONCE, PROBE, PUT

if TYPE_CHECKING:
    import urllib3

SIGNED_FOR = timedelta(minutes=2)
PART_BYTES = 16 * 1024 * 1024
GROWS_EVERY = 500
"""After so many parts they grow by the first one's size: S3 takes 10,000, which makes 1.6 TiB."""
_BYTES = {"Content-Type": "application/octet-stream"}
_PROBE_BODY = b'{"written by": "check_connections, to learn whether it may write"}'


class ObjectStoreHook(CheckedConnection, BaseHook):
    """An S3 store: ``host`` is its address, login the access key, password the secret key, extra may name a region.

    :param pool: replaces the network in tests.
    """

    conn_name_attr = "object_store_conn_id"
    default_conn_name = "object_store_default"
    conn_type = "object_store"
    hook_name = "S3 object store"

    def __init__(
        self, object_store_conn_id: str = default_conn_name, *, pool: urllib3.PoolManager | None = None
    ) -> None:
        super().__init__()
        self.object_store_conn_id = object_store_conn_id
        self._given_pool = pool

    @cached_property
    def _connection(self) -> Any:
        return self.get_connection(self.object_store_conn_id)

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        return self._given_pool or urllib3_pool(verify=tls_verify(self._connection))

    @cached_property
    def address(self) -> str:
        """Return the store's base URL."""
        return base_url(self._connection)

    @cached_property
    def client(self) -> Any:
        """Return the minio client."""
        from minio import Minio

        parts = urlsplit(self.address)
        return Minio(
            parts.netloc,
            access_key=self._connection.login,
            secret_key=self._connection.password,
            secure=parts.scheme == "https",
            # Without a region the client would ask the server for the bucket's before every first call.
            region=str(self._connection.extra_dejson.get("region", "us-east-1")),
            http_client=self._pool,
        )

    def read(self, bucket: str, key: str) -> bytes | None:
        """Return an object's bytes; None when the bucket has no such key.

        :raises BucketNotFound: there is no such bucket.
        """
        from minio.error import S3Error

        with self._errors(f"object {bucket}/{key}"):
            try:
                response = self.client.get_object(bucket, key)
            except S3Error as error:
                if error.code == "NoSuchKey":
                    return None
                raise
            try:
                body: bytes = response.read()
                return body
            finally:
                response.close()
                response.release_conn()

    @changes("object_store.put_new")
    def put_new(self, bucket: str, key: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write an object unless its key exists; False when it does.

        minio 7.2's `put_object` has no way to send If-None-Match, so the write goes through an address that the
        same client signs; headers beyond `host` are not part of a presigned signature.

        :raises BucketNotFound: there is no such bucket.
        """
        what = f"object {bucket}/{key}"
        with self._errors(what):
            address = self.client.get_presigned_url("PUT", bucket, key, expires=SIGNED_FOR)
            headers = {
                "If-None-Match": "*",
                "Content-Type": content_type,
                # A bucket with a default retention takes no object without it (AWS, Object Lock considerations).
                "Content-MD5": b64encode(md5(body, usedforsecurity=False).digest()).decode(),
            }
            answer = self._pool.request("PUT", address, body=body, headers=headers, redirect=False)
        if answer.status == 412:
            return False
        if answer.status >= 300:
            code = _tag(answer.data, "Code")
            kind = BucketNotFound if code == "NoSuchBucket" else error_for_status(answer.status)
            raise kind(
                f"The object store answered {answer.status} {code} to the write of {what}.", facts={"code": code}
            )
        return True

    @changes("object_store.put")
    def put(self, bucket: str, key: str, body: bytes, content_type: str = "application/json") -> None:
        """Write an object, over what may be there.

        :raises BucketNotFound: there is no such bucket.
        """
        from minio.helpers import MIN_PART_SIZE

        with self._errors(f"object {bucket}/{key}"):
            # In one request, as long as S3 takes it: when an upload in parts breaks, minio tells of its abort instead.
            size = max(len(body), MIN_PART_SIZE)
            self.client.put_object(bucket, key, BytesIO(body), len(body), content_type, part_size=size)

    @changes("object_store.put_stream")
    def put_stream(self, bucket: str, key: str, body: Readable, headers: Mapping[str, str] = _BYTES) -> None:
        """Write an object of any key and unknown length, in parts; an error of the reader leaves no object.

        minio's `put_object` refuses keys that S3 allows, and its parts are all of one size.

        :param headers: Content-Type, x-amz-meta-…, x-amz-tagging and the like.
        :raises BucketNotFound: there is no such bucket.
        """
        from minio.datatypes import Part

        part = _filled(body, PART_BYTES)
        with self._errors(f"object {bucket}/{key}"):
            if len(part) < PART_BYTES:
                self.client._put_object(bucket, key, part, dict(headers))  # noqa: SLF001
                return
            upload = self.client._create_multipart_upload(bucket, key, dict(headers))  # noqa: SLF001
            try:
                parts: list[Part] = []
                while part:
                    etag = self.client._upload_part(bucket, key, part, None, upload, len(parts) + 1)  # noqa: SLF001
                    parts.append(Part(len(parts) + 1, etag))
                    # Else there would be two parts in memory.
                    part.clear()
                    part = _filled(body, PART_BYTES * (1 + len(parts) // GROWS_EVERY))
                self.client._complete_multipart_upload(bucket, key, upload, parts)  # noqa: SLF001
            except Exception:
                # What broke it is the error to tell; there may be nothing left to abort, or nobody who answers.
                with suppress(PlatformError), self._errors(f"the upload of {bucket}/{key}"):
                    self.client._abort_multipart_upload(bucket, key, upload)  # noqa: SLF001
                raise

    @contextmanager
    def stream(self, bucket: str, key: str) -> Iterator[Readable]:
        """Open an object for reading from its beginning.

        :raises ObjectNotFound: there is no such object.
        """
        from minio.error import S3Error

        what = f"object {bucket}/{key}"
        with self._errors(what):
            try:
                response = self.client.get_object(bucket, key)
            except S3Error as error:
                if error.code == "NoSuchKey":
                    raise ObjectNotFound(f"There is no {what}.") from error
                raise
            try:
                yield response
            finally:
                response.close()
                response.release_conn()

    @changes("object_store.remove")
    def remove(self, bucket: str, key: str) -> None:
        """Delete an object; fine when it is gone.

        :raises AuthenticationFailed: we may not, or a lock holds it.
        """
        with self._errors(f"the deletion of object {bucket}/{key}"):
            self.client.remove_object(bucket, key)

    @changes("object_store.abort_uploads")
    def abort_uploads(self, bucket: str, prefix: str, which: Callable[[str], bool] = lambda _: True) -> int:
        """Abort the uploads below a prefix that were begun and never completed; return how many.

        minio 7.2 has no public way to list them. MinIO itself lists those of a whole key only, so there the prefix has
        to be one; the rest it drops by itself, a day after they were begun.

        :param which: takes a key and says whether its upload is to be aborted.
        """
        with self._errors(f"unfinished uploads to {bucket} below {prefix}"):
            found = self.client._list_multipart_uploads(bucket, prefix=prefix).uploads  # noqa: SLF001
            listed = [upload for upload in found if which(upload.object_name)]
            for upload in listed:
                self.client._abort_multipart_upload(bucket, upload.object_name, upload.upload_id)  # noqa: SLF001
            return len(listed)

    def folders(self, bucket: str, prefix: str) -> Iterator[str]:
        """Yield the names directly below a prefix that have something below them, in order.

        In a bucket with versions MinIO and versitygw also list those below which everything was deleted.
        """
        with self._errors(f"folders of {bucket} below {prefix}"):
            for found in self.client.list_objects(bucket, prefix=prefix):
                if found.is_dir and any(True for _ in self.keys(bucket, found.object_name)):
                    yield found.object_name.removeprefix(prefix).rstrip("/")

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        """Yield the keys below a prefix, in order."""
        return (key for key, _ in self.sizes(bucket, prefix))

    def sizes(self, bucket: str, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield key and size of what lies below a prefix, in the order of keys.

        :raises Unreachable: a page was cut; what was yielded is then not the whole.
        """
        return ((one.key, one.size) for one in self._listed(bucket, prefix, all_versions=False))

    def _listed(self, bucket: str, prefix: str, *, all_versions: bool) -> Iterator[Listed]:
        """Yield what lies below a prefix; minio's own `list_objects` takes four times as long to read a page."""
        asked = {"versions": ""} if all_versions else {"list-type": "2"}
        # Stores with policies on prefixes judge these two, so they are sent when they are empty too.
        asked |= {"prefix": prefix, "delimiter": "", "encoding-type": "url", "max-keys": "1000"}
        where, at = f"bucket {bucket}", Marker()
        while True:
            with self._errors(f"the list of the objects of {where}"):
                answer = self.client._execute("GET", bucket, query_params=asked | at)  # noqa: SLF001
            page = parse_page(answer.data, where)
            yield from page.entries
            if page.next is None:
                return
            if page.next == at:
                raise ObjectChanged(
                    f"The list of the objects of {where} does not come to an end: a page leads to itself."
                )
            at = page.next

    def url(self, bucket: str, key: str) -> str:
        """Return the address of an object; opening it takes a signature."""
        return self.address + url_path(bucket) + url_path(*key.split("/"))

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """List, read and write in each bucket; the one object written is the same for all times.

        :param places: buckets.
        :raises AuthenticationFailed: the key is unknown, or its secret wrong.
        :raises BucketNotFound: there is no such bucket.
        :raises Unreachable: the store does not answer.
        """
        if not places:
            with self._errors("the list of buckets"):
                self.client.list_buckets()
        return tuple(finding for bucket in places for finding in self._check_bucket(bucket))

    def _check_bucket(self, bucket: str) -> Iterator[Finding]:
        where, do = f"on bucket {bucket}", "the policy of our key"
        yield LIST.judge(allowed=self._allowed(lambda: next(self.keys(bucket, PROBE), None)), where=where, do=do)
        yield GET.judge(allowed=self._allowed(lambda: self.read(bucket, PROBE)), where=where, do=do)
        written = []
        may_write = self._allowed(lambda: written.append(self.put_new(bucket, PROBE, _PROBE_BODY)))
        yield PUT.judge(allowed=may_write, where=where, do=do)
        if may_write:
            again = written[0] and self.put_new(bucket, PROBE, _PROBE_BODY)
            yield ONCE.judge(allowed=not again, where=where, do="a store that honours If-None-Match")
        yield self._check_delete(bucket)

    @staticmethod
    def _allowed(call: Callable[[], object]) -> bool:
        """Say whether a call is allowed; a refusal that concerns the key itself is raised."""
        try:
            call()
        except AuthenticationFailed as refused:
            if refused.facts.get("code") != "AccessDenied":
                raise
            return False
        return True

    def _check_delete(self, bucket: str) -> Finding:
        """Judge whether evidence could be removed: S3 has no trial of a deletion, so only a lock is a proof."""
        try:
            with self._errors(f"retention of bucket {bucket}"):
                mode = self.client.get_object_lock_config(bucket).mode
        except PlatformError:
            mode = None
        if mode == "COMPLIANCE":
            sentence = (
                f"Bucket {bucket} has a retention in compliance mode: a deletion hides an object, no version goes."
            )
            return Finding(DELETE, State.OK, sentence)
        sentence = (
            f"S3 can't say whether {DELETE.name} is granted on bucket {bucket}, and it shows us no default retention "
            "in compliance mode. Look at the policy of our key, or set that retention."
        )
        return Finding(DELETE, State.UNKNOWN, sentence)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        from xml.etree.ElementTree import ParseError

        from minio.error import InvalidResponseError, S3Error, ServerError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except S3Error as error:
            kind = BucketNotFound if error.code == "NoSuchBucket" else error_for_status(error.response.status)
            message = f"The object store answered {error.code} for {what}: {error.message}"
            raise kind(message, facts={"code": error.code}) from error
        except ServerError as error:
            kind = error_for_status(error.status_code)
            raise kind(f"The object store answered {error.status_code} for {what}.") from error
        # minio takes an answer that was cut off or spoilt on its way for XML.
        except (HTTPError, InvalidResponseError, ParseError, UnicodeDecodeError) as error:
            raise Unreachable(
                f"The object store at {self.address} gave no usable answer for {what}: {type(error).__name__}. "
                "Check that it runs and that the connection's address is right."
            ) from error


def _filled(body: Readable, size: int) -> bytearray:
    """Read one part; only the last is shorter."""
    part = bytearray()
    while len(part) < size and (data := body.read(size - len(part))):
        part += data
    return part


def _tag(xml: bytes, name: str) -> str:
    """Return the text of one element of an S3 error, which is flat."""
    head, found, rest = xml.decode(errors="replace").partition(f"<{name}>")
    return rest.partition("<")[0] if found else head[:60]

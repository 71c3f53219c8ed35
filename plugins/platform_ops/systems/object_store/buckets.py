"""Whole buckets: every version with what belongs to it, the bucket's own settings, scratch buckets that come and go."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import md5
from typing import Any
from urllib.parse import quote

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.common.fail_points import changes
from platform_ops.systems.object_store.errors import BucketNotFound, ObjectChanged, ObjectNotFound
from platform_ops.systems.object_store.hook import ObjectStoreHook
from platform_ops.systems.object_store.listing import parse_tags, without_repeats
from platform_ops.systems.object_store.models import BucketRules, Known, Listed, OpenObject, Setting
from platform_ops.systems.object_store.rules import read_rules

SETTINGS = {
    "policy": "policy",
    "lifecycle": "lifecycle",
    "versioning": "versioning",
    "lock": "object-lock",
    "cors": "cors",
}
"""What a bucket can be asked for, and how S3's addresses call it."""
_NONE = frozenset(
    {
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
        "NoSuchCORSConfiguration",
        "ObjectLockConfigurationNotFoundError",
    }
)
_NOT_SUPPORTED = frozenset({"NotImplemented", "MethodNotAllowed"})
_WITHOUT_ID = frozenset({"", "null"})
"""Version ids that stand for what was written before a bucket kept versions."""


class BucketHook(ObjectStoreHook):
    """An S3 store, asked for whole buckets.

    Keys go through as they are: minio's own methods refuse those with a segment ``..``, which S3 allows.
    """

    def versions(self, bucket: str, prefix: str = "", *, all_versions: bool = True) -> Iterator[Listed]:
        """Yield what a bucket holds, by key, the newest version of a key first.

        :param all_versions: False where the bucket keeps none.
        :raises Unreachable: a page was cut; what was yielded is then not the whole.
        """
        return without_repeats(self._listed(bucket, prefix, all_versions=all_versions))

    @contextmanager
    def open_version(self, bucket: str, entry: Listed) -> Iterator[OpenObject]:
        """Open a version for reading, on condition that it is still the one that was listed.

        :raises ObjectChanged: it is another by now.
        :raises ObjectNotFound: it is gone.
        """
        from minio.error import S3Error

        what = f"object {bucket}/{entry.key}"
        asked = {} if entry.version in _WITHOUT_ID else {"versionId": entry.version}
        headers = {"If-Match": f'"{entry.etag}"'} if entry.etag else {}
        with self._errors(what):
            try:
                answer = self.client._execute(  # noqa: SLF001
                    "GET", bucket, entry.key, headers=headers, query_params=asked, preload_content=False
                )
            except S3Error as error:
                if error.code in ("NoSuchKey", "NoSuchVersion"):
                    raise ObjectNotFound(f"There is no {what} any more.") from error
                if error.code == "PreconditionFailed":
                    raise ObjectChanged(f"The {what} is no longer the one that was listed.") from error
                raise
            try:
                found = {name.lower(): value for name, value in answer.headers.items()}
                opened = OpenObject(_AsStored(answer), found)
                # A store that does not know If-Match answers with what it has.
                if entry.etag and opened.etag and opened.etag != entry.etag:
                    raise ObjectChanged(f"The {what} is no longer the one that was listed.")
                yield opened
            finally:
                answer.close()
                answer.release_conn()

    def tags(self, bucket: str, entry: Listed, opened: OpenObject | None = None) -> dict[str, str]:
        """Return the tags of a version; none where the store knows no tags.

        :param opened: the version as it was read; the store is not asked when that answer says that there are none.
        """
        from minio.error import S3Error

        if opened is not None and opened.has_no_tags:
            return {}
        asked = {"tagging": ""} | ({} if entry.version in _WITHOUT_ID else {"versionId": entry.version})
        with self._errors(f"the tags of object {bucket}/{entry.key}"):
            try:
                answer = self.client._execute("GET", bucket, entry.key, query_params=asked)  # noqa: SLF001
            except S3Error as error:
                if error.code == "NoSuchTagSet" or error.code in _NOT_SUPPORTED:
                    return {}
                if error.code in ("NoSuchKey", "NoSuchVersion"):
                    raise ObjectNotFound(f"There is no object {bucket}/{entry.key} any more.") from error
                raise
            return parse_tags(answer.data)

    def setting(self, bucket: str, name: str) -> Setting:
        """Return one of a bucket's settings.

        :param name: one of ``SETTINGS``.
        :raises BucketNotFound: there is no such bucket.
        """
        from minio.error import InvalidResponseError, S3Error, ServerError

        with self._errors(f"the {name} of bucket {bucket}"):
            try:
                answer = self.client._execute("GET", bucket, query_params={SETTINGS[name]: ""})  # noqa: SLF001
            except S3Error as error:
                if error.code in _NONE:
                    return Setting(Known.NONE)
                if error.code in _NOT_SUPPORTED or error.response.status in (405, 501):
                    return Setting(Known.NOT_SUPPORTED)
                if error.code == "AccessDenied":
                    return Setting(Known.REFUSED)
                raise
            except (ServerError, InvalidResponseError) as error:
                # Without a body in XML, the client tells the status in its sentence only.
                if any(f"code: {status}" in str(error) or f"code {status}" in str(error) for status in (405, 501)):
                    return Setting(Known.NOT_SUPPORTED)
                raise
            return Setting(Known.SET, answer.data.decode())

    def rules(self, bucket: str, prefix: str = "") -> BucketRules:
        """Return what a bucket says of the life of what lies below a prefix.

        :raises AuthenticationFailed: it does not say so to this key.
        :raises BucketNotFound: there is no such bucket.
        """
        found = {name: self.setting(bucket, name) for name in ("versioning", "lock", "lifecycle")}
        if hidden := [name for name, setting in found.items() if setting.state is Known.REFUSED]:
            raise AuthenticationFailed(
                f"The object store does not show {', '.join(hidden)} of bucket {bucket} to our key. Give it leave to "
                "read them, as docs/connections.md says.",
                facts={"code": "AccessDenied"},
            )
        with self._errors(f"the settings of bucket {bucket}"):
            return read_rules(found["versioning"].text, found["lock"].text, found["lifecycle"].text, prefix)

    @changes("object_store.set_setting")
    def set_setting(self, bucket: str, name: str, text: str) -> None:
        """Give a bucket a setting.

        :param name: one of ``SETTINGS``.
        :param text: as ``setting`` returns it.
        """
        body = text.encode()
        headers = {"Content-MD5": b64encode(md5(body, usedforsecurity=False).digest()).decode()}
        with self._errors(f"the {name} of bucket {bucket}"):
            self.client._execute(  # noqa: SLF001
                "PUT", bucket, body=body, headers=headers, query_params={SETTINGS[name]: ""}
            )

    @changes("object_store.remove_version")
    def remove_version(self, bucket: str, key: str, version: str = "") -> None:
        """Delete a version; without one the object itself, which in a bucket that keeps versions leaves a marker."""
        asked = {"versionId": version} if version else {}
        with self._errors(f"the deletion of object {bucket}/{key}"):
            self.client._execute("DELETE", bucket, key, query_params=asked)  # noqa: SLF001

    def buckets(self) -> list[str]:
        """Return the names of the buckets this key may see."""
        with self._errors("the list of buckets"):
            return [bucket.name for bucket in self.client.list_buckets()]

    @changes("object_store.make_bucket")
    def make_bucket(self, bucket: str) -> None:
        """Make a bucket."""
        with self._errors(f"the making of bucket {bucket}"):
            self.client.make_bucket(bucket)

    def empty(self, bucket: str) -> None:
        """Delete every version of every object of a bucket."""
        all_versions = keeps_versions(self.setting(bucket, "versioning"))
        for entry in self.versions(bucket, all_versions=all_versions):
            self.remove_version(bucket, entry.key, entry.version)

    def remove_bucket(self, bucket: str) -> None:
        """Delete a bucket with all that is in it; fine when it is gone."""
        try:
            self.empty(bucket)
            self._remove_empty(bucket)
        except BucketNotFound:
            return

    @changes("object_store.remove_bucket")
    def _remove_empty(self, bucket: str) -> None:
        with self._errors(f"the deletion of bucket {bucket}"):
            self.client.remove_bucket(bucket)


class _AsStored:
    """Reads an answer without undoing its Content-Encoding, which belongs to the object."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def read(self, size: int = -1, /) -> bytes:
        data: bytes = self._answer.read(None if size < 0 else size, decode_content=False)
        return data


def keeps_versions(versioning: Setting) -> bool:
    """Say whether a bucket has versions: once it kept them, it can only suspend it."""
    return versioning.state is Known.SET and "<Status>" in versioning.text


def write_headers(put: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of a write from the parameters of S3's PutObject, which a point keeps."""
    # The client adds a Content-Type of its own unless it finds one in this spelling.
    headers = {_HEADERS[name].title(): str(value) for name, value in put.items() if name in _HEADERS}
    headers |= {f"x-amz-meta-{name}": str(value) for name, value in put.get("Metadata", {}).items()}
    return headers


def read_parameters(headers: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters with which S3's PutObject would write an object that was read with these headers."""
    put: dict[str, Any] = {name: headers[header] for name, header in _HEADERS.items() if header in headers}
    own = {name.removeprefix("x-amz-meta-"): value for name, value in headers.items() if name.startswith("x-amz-meta-")}
    if own:
        put["Metadata"] = own
    if tags:
        put["Tagging"] = "&".join(f"{quote(name, safe='')}={quote(tags[name], safe='')}" for name in sorted(tags))
    return put


_HEADERS = {
    "ContentType": "content-type",
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "Expires": "expires",
    "WebsiteRedirectLocation": "x-amz-website-redirect-location",
    "Tagging": "x-amz-tagging",
}
"""PutObject's parameters, and the headers they travel in."""

"""An S3 store in memory, behind the pool that the real clients use: every request and answer is S3's own."""

import hashlib
import io
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit
from xml.sax.saxutils import escape

import urllib3

MUTATING = ("PUT", "POST", "DELETE")
SETTINGS = ("policy", "lifecycle", "versioning", "object-lock", "cors")
ABSENT = {
    "policy": "NoSuchBucketPolicy",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "cors": "NoSuchCORSConfiguration",
}
KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")


class Killed(BaseException):
    """The process died: nothing of it goes on."""


@dataclass
class Version:
    """A version of an object."""

    body: bytes
    headers: dict[str, str]
    id: str
    modified: datetime
    marker: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    etag: str = ""


@dataclass
class Bucket:
    """Versions of keys, the newest first, and settings as they were written."""

    keys: dict[str, list[Version]] = field(default_factory=lambda: defaultdict(list))
    settings: dict[str, bytes] = field(default_factory=dict)

    @property
    def versioned(self) -> bool:
        return b"<Status>Enabled" in self.settings.get("versioning", b"")


class Refusal(Exception):
    """What the store answers instead."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class S3(urllib3.PoolManager):
    """The store and the way to it.

    :ivar kill_at: the how manyth change kills the process; ``after`` it is done, else before.
    :ivar spoil: takes method, path and query of a request before it is served; may raise or change something.
    :ivar unsupported: settings that are answered with 501.
    :ivar trusted: False for a store whose ETags are all alike.
    :ivar server: what it calls itself; ``MinIO`` tells of tags when an object is read, as it does.
    """

    def __init__(self, *buckets: str, page: int = 1000) -> None:
        super().__init__()
        self.buckets: dict[str, Bucket] = {name: Bucket() for name in buckets}
        self.page = page
        self.uploads: dict[str, tuple[str, str, dict[str, str], dict[int, bytes]]] = {}
        self.now = datetime(2026, 11, 25, tzinfo=UTC)
        self.sent: list[tuple[str, str, str]] = []
        self.changes = 0
        self.kill_at = 0
        self.after = False
        self.dead = False
        self.spoil: Callable[[str, str, str], object] = lambda *_: None
        self.unsupported: frozenset[str] = frozenset()
        self.trusted = True
        self.server = "S3"
        self._count = 0
        self._lock = threading.RLock()

    # What tests look at and spoil

    def put(self, bucket: str, key: str, body: bytes, tags: dict[str, str] | None = None, **headers: str) -> Version:
        """Write an object as its owner would."""
        named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        version = self._write(self.buckets[bucket], key, body, {"content-type": "text/plain"} | named)
        version.tags = tags or {}
        return version

    def newest(self, bucket: str, key: str) -> Version:
        """Return the newest version of a key."""
        return self.buckets[bucket].keys[key][0]

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys that are there."""
        found = self.buckets[bucket].keys
        return sorted(key for key in found if key.startswith(prefix) and found[key] and not found[key][0].marker)

    def count(self, method: str, pattern: str) -> int:
        """Return how many requests were sent."""
        return sum(sent[0] == method and bool(re.search(pattern, "?".join(sent[1:]))) for sent in self.sent)

    # The wire

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        parts = urlsplit(url)
        headers = {name.lower(): value for name, value in (options.get("headers") or {}).items()}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = options.get("body") or b""
        body = bytes(body) if isinstance(body, bytes | bytearray) else body.read()
        try:
            # Without the lock: it may have others come in between.
            self.spoil(method, unquote(parts.path), parts.query)
            with self._lock:
                status, found, content = self._serve(method, parts, query, headers, body)
        except Refusal as refusal:
            status, found = refusal.status, {"content-type": "application/xml"}
            content = f"<Error><Code>{refusal.code}</Code><Message>why</Message><Resource>/</Resource></Error>".encode()
        return urllib3.HTTPResponse(
            body=io.BytesIO(b"" if method == "HEAD" else content),
            headers={"content-length": str(len(content)), "server": self.server} | found,
            status=status,
            preload_content=options.get("preload_content", True),
            request_method=method,
        )

    def _serve(self, method: str, parts: Any, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        """Answer, or let the process die before or after."""
        self.sent.append((method, unquote(parts.path), parts.query))
        if self.dead:
            raise Killed
        if method not in MUTATING:
            return self._answer(method, parts.path, query, headers, body)
        self.changes += 1
        if self.changes != self.kill_at:
            return self._answer(method, parts.path, query, headers, body)
        self.dead = True
        if self.after:
            with suppress(Refusal):
                self._answer(method, parts.path, query, headers, body)
        raise Killed

    def revive(self) -> None:
        """Let another process go on."""
        self.kill_at, self.dead = 0, False

    def _answer(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes) -> Any:
        name, _, raw = path.lstrip("/").partition("/")
        if not name:
            listed = "".join(f"<Bucket><Name>{one}</Name></Bucket>" for one in sorted(self.buckets))
            return _xml(f"<ListAllMyBucketsResult><Buckets>{listed}</Buckets></ListAllMyBucketsResult>")
        if raw:
            if name not in self.buckets:
                raise Refusal(404, "NoSuchBucket")
            return self._object(method, self.buckets[name], name, unquote(raw), query, headers, body)
        return self._bucket(method, name, query, body)

    def _bucket(self, method: str, name: str, query: dict[str, str], body: bytes) -> Any:
        if method == "PUT" and not query:
            self.buckets[name] = Bucket()
            return 200, {}, b""
        if name not in self.buckets:
            raise Refusal(404, "NoSuchBucket")
        bucket = self.buckets[name]
        setting = next((one for one in SETTINGS if one in query), None)
        if setting:
            return self._setting(method, bucket, setting, body)
        if method == "DELETE":
            if any(bucket.keys.values()):
                raise Refusal(409, "BucketNotEmpty")
            del self.buckets[name]
            return 204, {}, b""
        if "uploads" in query:
            found = "".join(
                f"<Upload><Key>{quote(key)}</Key><UploadId>{upload}</UploadId></Upload>"
                for upload, (where, key, _, _) in self.uploads.items()
                if where == name and key.startswith(query.get("prefix", ""))
            )
            return _xml(
                f"<ListMultipartUploadsResult><EncodingType>url</EncodingType>{found}</ListMultipartUploadsResult>"
            )
        return _xml(
            self._list_versions(bucket, name, query) if "versions" in query else self._list(bucket, name, query)
        )

    def _setting(self, method: str, bucket: Bucket, setting: str, body: bytes) -> Any:
        if setting in self.unsupported:
            raise Refusal(501, "NotImplemented")
        if method == "PUT":
            bucket.settings[setting] = body
            return 200, {}, b""
        if setting == "versioning" and setting not in bucket.settings:
            return _xml("<VersioningConfiguration/>")
        if setting not in bucket.settings:
            raise Refusal(404, ABSENT[setting])
        return 200, {"content-type": "application/xml"}, bucket.settings[setting]

    def _list(self, bucket: Bucket, name: str, query: dict[str, str]) -> str:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = bytes.fromhex(query.get("continuation-token", "")).decode()
        shown, folders = [], []
        for key in sorted(bucket.keys):
            versions = bucket.keys[key]
            if not versions or versions[0].marker or not key.startswith(prefix):
                continue
            folder = prefix + key[len(prefix) :].partition(delimiter)[0] + delimiter if delimiter else ""
            if delimiter and delimiter in key[len(prefix) :]:
                if folder > after and folder not in folders:
                    folders.append(folder)
            elif key > after:
                shown.append(key)
        every = sorted([*shown, *folders])
        page = every[: self.page]
        inner = "".join(
            f"<CommonPrefixes><Prefix>{quote_plus(one)}</Prefix></CommonPrefixes>"
            if one in folders
            else f"<Contents><Key>{quote_plus(one)}</Key>{self._fields(bucket.keys[one][0])}</Contents>"
            for one in page
        )
        more = len(every) > len(page)
        token = f"<NextContinuationToken>{page[-1].encode().hex()}</NextContinuationToken>" if more else ""
        return _result("ListBucketResult", name, inner + token, more=more)

    def _list_versions(self, bucket: Bucket, name: str, query: dict[str, str]) -> str:
        prefix = query.get("prefix", "")
        every = [(key, one) for key in sorted(bucket.keys) if key.startswith(prefix) for one in bucket.keys[key]]
        marker, version = query.get("key-marker", ""), query.get("version-id-marker", "")
        start = 0
        if marker:
            start = next((i for i, (key, one) in enumerate(every) if key == marker and one.id == version), -1) + 1
            start = start or next((i for i, (key, _) in enumerate(every) if key > marker), len(every))
        page = every[start : start + self.page]
        inner = "".join(
            f"<{kind}><Key>{quote_plus(key)}</Key><VersionId>{one.id}</VersionId>"
            f"<IsLatest>{str(one is bucket.keys[key][0]).lower()}</IsLatest>{self._fields(one)}</{kind}>"
            for key, one in page
            for kind in ["DeleteMarker" if one.marker else "Version"]
        )
        more = start + len(page) < len(every)
        if more:
            key, one = page[-1]
            inner += (
                f"<NextKeyMarker>{quote_plus(key)}</NextKeyMarker><NextVersionIdMarker>{one.id}</NextVersionIdMarker>"
            )
        return _result("ListVersionsResult", name, inner, more=more)

    def _fields(self, one: Version) -> str:
        stamp = one.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        size = "" if one.marker else f"<Size>{len(one.body)}</Size><ETag>&quot;{one.etag}&quot;</ETag>"
        return f"<LastModified>{stamp}</LastModified>{size}"

    def _object(
        self,
        method: str,
        bucket: Bucket,
        name: str,
        key: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> Any:
        if "uploads" in query or "uploadId" in query:
            return self._upload(method, bucket, name, key, query, headers, body)
        if method == "PUT":
            there = bucket.keys.get(key)
            if headers.get("if-none-match") == "*" and there and not there[0].marker:
                raise Refusal(412, "PreconditionFailed")
            version = self._write(bucket, key, body, headers)
            return 200, {"etag": f'"{version.etag}"'}, b""
        if method == "DELETE":
            return self._delete(bucket, key, query)
        one = self._find(bucket, key, query)
        if "tagging" in query:
            tags = "".join(f"<Tag><Key>{escape(k)}</Key><Value>{escape(v)}</Value></Tag>" for k, v in one.tags.items())
            return _xml(f"<Tagging><TagSet>{tags}</TagSet></Tagging>")
        asked = headers.get("if-match", "").strip('"')
        if asked and asked != one.etag:
            raise Refusal(412, "PreconditionFailed")
        tagged = {"x-amz-tagging-count": str(len(one.tags))} if self.server == "MinIO" and one.tags else {}
        return 200, one.headers | tagged | {"etag": f'"{one.etag}"'}, one.body

    def _find(self, bucket: Bucket, key: str, query: dict[str, str]) -> Version:
        versions = bucket.keys.get(key) or []
        if "versionId" in query:
            found = next((one for one in versions if one.id == query["versionId"]), None)
            if found is None:
                raise Refusal(404, "NoSuchVersion")
            return found
        if not versions or versions[0].marker:
            raise Refusal(404, "NoSuchKey")
        return versions[0]

    def _delete(self, bucket: Bucket, key: str, query: dict[str, str]) -> Any:
        if "versionId" in query:
            bucket.keys[key] = [one for one in bucket.keys[key] if one.id != query["versionId"]]
        elif bucket.versioned and bucket.keys[key]:
            bucket.keys[key].insert(0, Version(b"", {}, self._next_id(), self.now, marker=True))
        else:
            bucket.keys.pop(key, None)
        return 204, {}, b""

    def _upload(
        self,
        method: str,
        bucket: Bucket,
        name: str,
        key: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes,
    ) -> Any:
        if "uploads" in query:
            upload = f"upload{len(self.uploads)}x{self._next_id()}"
            self.uploads[upload] = (name, key, headers, {})
            return _xml(f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        if method == "DELETE":
            self.uploads.pop(query["uploadId"], None)
            return 204, {}, b""
        if query["uploadId"] not in self.uploads:
            raise Refusal(404, "NoSuchUpload")
        _, _, begun, parts = self.uploads[query["uploadId"]]
        if method == "PUT":
            parts[int(query["partNumber"])] = body
            return 200, {"etag": f'"{hashlib.md5(body).hexdigest()}"'}, b""
        whole = b"".join(parts[number] for number in sorted(parts))
        self._write(bucket, key, whole, begun, f"{hashlib.md5(whole).hexdigest()}-{len(parts)}")
        del self.uploads[query["uploadId"]]
        return _xml("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>")

    def _write(self, bucket: Bucket, key: str, body: bytes, headers: dict[str, str], etag: str = "") -> Version:
        kept = {name: value for name, value in headers.items() if name in KEPT or name.startswith("x-amz-meta-")}
        tags = dict(parse_qsl(headers.get("x-amz-tagging", ""), keep_blank_values=True))
        number = self._next_id() if bucket.versioned else "null"
        etag = (etag or hashlib.md5(body).hexdigest()) if self.trusted else "0" * 8
        version = Version(body, kept, number, self.now, tags=tags, etag=etag)
        bucket.keys[key] = [version, *(bucket.keys[key] if bucket.versioned else ())]
        return version

    def _next_id(self) -> str:
        self._count += 1
        return f"v{self._count:06}"

    def later(self, **time: float) -> None:
        """Let time go by."""
        self.now += timedelta(**time)


def _xml(text: str) -> Any:
    return 200, {"content-type": "application/xml"}, text.encode()


def _result(kind: str, name: str, inner: str, *, more: bool) -> str:
    truncated = str(more).lower()
    return (
        f'<{kind} xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{name}</Name><EncodingType>url</EncodingType>'
        f"<IsTruncated>{truncated}</IsTruncated>{inner}</{kind}>"
    )

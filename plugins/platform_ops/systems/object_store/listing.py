"""What a store answers to the question for the objects of a bucket: one page at a time, and never a half one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree as ET

from platform_ops.common.errors import Refused, Unreachable
from platform_ops.systems.object_store.models import Listed

Marker = dict[str, str]
_SIZE = re.compile(r"[0-9]{1,19}")


class BadKey(Refused):
    """A key is no text, so no client can ask for it."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing.

    :param next: query parameters of the page after it; None for the last.
    """

    entries: list[Listed]
    next: Marker | None


def parse_page(body: bytes, where: str) -> Page:
    """Read a page of ListObjectsV2 or ListObjectVersions, in the order in which the store has it.

    :param where: the bucket, for messages.
    :raises Unreachable: the answer is no whole page.
    """
    try:
        # Expat bounds what entities expand to (2.4.1 and newer), and the store is one we log in to.
        root = ET.fromstring(body)  # noqa: S314
    except ET.ParseError as error:
        raise Unreachable(f"The list of the objects of {where} is cut or no XML: {error}. Try again.") from error
    top: dict[str, str] = {}
    entries = []
    for element in root:
        name = local_name(element.tag)
        if name in ("Contents", "Version", "DeleteMarker"):
            entries.append(element)
        else:
            top[name] = element.text or ""
    truncated = top.get("IsTruncated", "").lower()
    if truncated not in ("true", "false"):
        raise Unreachable(f"The list of the objects of {where} does not say whether it is whole. Try again.")
    encoded = top.get("EncodingType") == "url"
    return Page(
        _in_order([(_listed(element, encoded=encoded, where=where), _is_latest(element)) for element in entries]),
        _next(top, encoded=encoded, where=where) if truncated == "true" else None,
    )


def _in_order(found: list[tuple[Listed, bool]]) -> list[Listed]:
    """Return the versions by key, the newest first: moto lists all deletions of a page after all versions.

    What a store has in order stays as it is.
    """
    found.sort(key=lambda one: (one[1], one[0].modified), reverse=True)
    found.sort(key=lambda one: one[0].key)
    return [entry for entry, _ in found]


def _is_latest(element: ET.Element) -> bool:
    return any(local_name(child.tag) == "IsLatest" and child.text == "true" for child in element)


def _next(top: dict[str, str], *, encoded: bool, where: str) -> Marker:
    if token := top.get("NextContinuationToken"):
        return {"continuation-token": token}
    if marker := top.get("NextKeyMarker"):
        version = top.get("NextVersionIdMarker")
        at = {"key-marker": _text(marker, encoded=encoded, where=where)}
        return at | ({"version-id-marker": version} if version else {})
    raise Unreachable(f"The list of the objects of {where} goes on, but does not say where. Try again.")


def _listed(element: ET.Element, *, encoded: bool, where: str) -> Listed:
    found = {local_name(child.tag): child.text or "" for child in element}
    marker = local_name(element.tag) == "DeleteMarker"
    key, size = found.get("Key", ""), "0" if marker else found.get("Size", "")
    if not key or not _SIZE.fullmatch(size):
        raise Unreachable(
            f"The list of the objects of {where} has an entry with key {key[:100]!r} and size {size[:20]!r}. Try again."
        )
    return Listed(
        key=_text(key, encoded=encoded, where=where),
        version=found.get("VersionId", ""),
        size=int(size),
        etag=found.get("ETag", "").strip('"'),
        modified=found.get("LastModified", ""),
        marker=marker,
    )


def _text(text: str, *, encoded: bool, where: str) -> str:
    """Return a key; XML has no control characters, so stores are asked to encode keys as in a form."""
    if not encoded:
        return text
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeDecodeError as error:
        raise BadKey(
            f"{where} has a key that is no UTF-8, {text[:100]!r}: no client can ask for it. Rename it, or leave it out."
        ) from error


def parse_tags(body: bytes) -> dict[str, str]:
    """Read the tags of an object; minio's own reader refuses some that S3 allows."""
    tags = {}
    for element in ET.fromstring(body).iter():  # noqa: S314 - as above
        if local_name(element.tag) == "Tag":
            found = {local_name(child.tag): child.text or "" for child in element}
            tags[found["Key"]] = found["Value"]
    return tags


def local_name(tag: str) -> str:
    """Return an XML name without its namespace: not all stores have one."""
    return tag.rpartition("}")[2]


def without_repeats(entries: Iterator[Listed]) -> Iterator[Listed]:
    """Leave out what is listed twice: versitygw repeats a version where one page ends and the next begins."""
    key, seen = "", set[tuple[str, bool]]()
    for entry in entries:
        if entry.key != key:
            key, seen = entry.key, set()
        if (entry.version, entry.marker) not in seen:
            seen.add((entry.version, entry.marker))
            yield entry

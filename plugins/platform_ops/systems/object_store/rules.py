"""What a bucket's settings say of the life of what lies in it; minio's own readers refuse filters that S3 allows."""

from __future__ import annotations

from datetime import timedelta
from xml.etree import ElementTree as ET

from platform_ops.systems.object_store.listing import local_name
from platform_ops.systems.object_store.models import BucketRules


def read_rules(versioning: str, lock: str, lifecycle: str, prefix: str) -> BucketRules:
    """Return what three settings say of what lies below a prefix.

    :param versioning: this and the others in XML as the store has them; empty for none.
    :raises xml.etree.ElementTree.ParseError: one is no XML.
    """
    return BucketRules(
        versioning=bool(versioning) and _root(versioning).findtext("Status") == "Enabled",
        lock=_lock(_root(lock)) if lock else None,
        expires=_expires(_root(lifecycle), prefix) if lifecycle else None,
    )


def _root(text: str) -> ET.Element:
    # Expat bounds what entities expand to, and the store is one we log in to.
    root = ET.fromstring(text)  # noqa: S314
    for element in root.iter():
        element.tag = local_name(element.tag)
    return root


def _lock(root: ET.Element) -> timedelta | None:
    retention = root.find("Rule/DefaultRetention")
    if retention is None:
        return None
    return timedelta(days=int(retention.findtext("Days") or 0) + 365 * int(retention.findtext("Years") or 0))


def _expires(root: ET.Element, prefix: str) -> timedelta | None:
    found = []
    for rule in root.iter("Rule"):
        expiration = rule.find("Expiration")
        if rule.findtext("Status") != "Enabled" or expiration is None or not _concerns(rule, prefix):
            continue
        if days := expiration.findtext("Days"):
            found.append(timedelta(days=int(days)))
        elif expiration.findtext("Date"):
            # From its date on, what is written goes at once.
            found.append(timedelta(0))
    return min(found, default=None)


def _concerns(rule: ET.Element, prefix: str) -> bool:
    """Say whether a rule takes something below a prefix; what we write there has no tags."""
    if rule.find(".//Tag") is not None:
        return False
    begins = next((one.text for one in rule.iter("Prefix") if one.text), "")
    return begins.startswith(prefix) or prefix.startswith(begins)

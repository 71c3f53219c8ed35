"""Errors of the object store's room.

BucketNotFound (NotFound)      no such bucket, or hidden from this key
ObjectNotFound (NotFound)      no such object
ObjectChanged (TryAgain)       an object is no longer the one that was listed
"""

from __future__ import annotations

from platform_ops.common.errors import NotFound, TryAgain


class BucketNotFound(NotFound):
    """The bucket does not exist or is hidden from this key."""


class ObjectNotFound(NotFound):
    """The object does not exist."""


class ObjectChanged(TryAgain):
    """An object is no longer the one that was listed."""

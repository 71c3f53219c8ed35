"""The object store's buckets as the seed makes them, and its own hand in them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx

from platform_ops.evidence.document import BUCKET
from sandbox.accounts import BACKUPS
from sandbox.processes import SandboxError


def client(environment: Mapping[str, str]) -> Any:
    """Return a client of the account that may do everything."""
    from minio import Minio

    return Minio(
        environment["OBJECT_STORE_URL"].removeprefix("http://"),
        access_key=environment["OBJECT_STORE_ACCESS_KEY"],
        secret_key=environment["OBJECT_STORE_SECRET_KEY"],
        secure=False,
        region="us-east-1",
    )


def make(environment: Mapping[str, str], *, lock_backups: bool) -> None:
    """Make the buckets that are not there.

    :param lock_backups: give that of backups a retention; moto would then ask for an MD5 that minio's `put_object`
        does not send over plain HTTP.
    """
    from minio.commonconfig import ENABLED
    from minio.objectlockconfig import ObjectLockConfig
    from minio.versioningconfig import VersioningConfig

    store = client(environment)
    for bucket, locked in ((BUCKET, True), (BACKUPS, lock_backups)):
        if store.bucket_exists(bucket):
            continue
        store.make_bucket(bucket, object_lock=locked)
        if locked:
            store.set_object_lock_config(bucket, ObjectLockConfig("COMPLIANCE", 1, "Days"))
        else:
            store.set_bucket_versioning(bucket, VersioningConfig(ENABLED))


def put(environment: Mapping[str, str], key: str, body: bytes) -> None:
    """Write a JSON document into the bucket of evidence.

    :raises SandboxError: the store refused.
    """
    # minio's put_object leaves out the checksum, over plain HTTP, that a bucket with a retention asks for.
    address = client(environment).get_presigned_url("PUT", BUCKET, key, expires=timedelta(minutes=1))
    checksum = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    headers = {"Content-MD5": checksum, "Content-Type": "application/json"}
    answer = httpx.put(address, content=body, headers=headers, trust_env=False)
    if answer.is_error:
        raise SandboxError(f"The object store answered {answer.status_code} to {key}: {answer.text[:400]}")

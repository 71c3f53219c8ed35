"""The object store's accounts beside the main one, each with what it may do, in the words of S3's policies.

The real servers are told these policies; the stand-in reads them itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BACKUPS = "backups"
"""The bucket of the points of backups."""

_BUCKET = f"arn:aws:s3:::{BACKUPS}"


@dataclass(frozen=True, slots=True)
class Right:
    """What is allowed, or denied whatever else allows it.

    :param on: pattern of the resources.
    """

    actions: tuple[str, ...]
    on: str
    effect: str = "Allow"


# MinIO takes s3:DeleteObject for a leave to delete versions too, unless that is denied by name (cmd/auth-handler.go).
LOSE_NOTHING = Right(("s3:DeleteObjectVersion",), f"{_BUCKET}/*", "Deny")

WRITER = (
    # What check_policy asks of the bucket, and what is there already.
    Right(
        (
            "s3:ListBucket",
            "s3:GetBucketVersioning",
            "s3:GetBucketObjectLockConfiguration",
            "s3:GetLifecycleConfiguration",
            "s3:ListBucketMultipartUploads",
        ),
        _BUCKET,
    ),
    # A deletion without a version only hides an object.
    Right(
        ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
        f"{_BUCKET}/*",
    ),
    LOSE_NOTHING,
)
"""Makes points, verifies and prunes them."""

READER = (
    Right(("s3:ListBucket",), _BUCKET),
    Right(("s3:GetObject",), f"{_BUCKET}/*"),
    # A drill leaves its proof, and writes nothing else.
    Right(("s3:PutObject",), f"{_BUCKET}/*/proofs/*.json"),
    # Buckets are restored into a bucket that comes and goes.
    Right(("s3:ListAllMyBuckets",), "arn:aws:s3:::*"),
    Right(("s3:*",), "arn:aws:s3:::drill-*"),
    LOSE_NOTHING,
)
"""Restores and drills."""

_POLICIES = {"BACKUP_WRITER": WRITER, "BACKUP_READER": READER}


@dataclass(frozen=True, slots=True)
class Account:
    """An account.

    :param rights: a denial counts more than what is allowed.
    """

    access_key: str
    secret_key: str
    rights: tuple[Right, ...]

    def policy(self, **more: Any) -> list[dict[str, Any]]:
        """Return the statements of its policy.

        :param more: what each of them has beside.
        """
        return [
            {"Effect": right.effect, "Action": list(right.actions), "Resource": [right.on]} | more
            for right in self.rights
        ]


def accounts(environment: Mapping[str, str]) -> tuple[Account, ...]:
    """Return the accounts of a contract."""
    return tuple(
        Account(environment[f"OBJECT_STORE_{role}_ACCESS_KEY"], environment[f"OBJECT_STORE_{role}_SECRET_KEY"], rights)
        for role, rights in _POLICIES.items()
    )

"""What S3 calls each request, and whether an account's policy allows it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from urllib.parse import unquote

from sandbox.accounts import Account
from sandbox.stand_ins.object_store_signature import S3Error, Sent

OF_BUCKETS = {
    "versioning": "s3:GetBucketVersioning",
    "object-lock": "s3:GetBucketObjectLockConfiguration",
    "lifecycle": "s3:GetLifecycleConfiguration",
    "uploads": "s3:ListBucketMultipartUploads",
    "versions": "s3:ListBucketVersions",
}
OF_LISTS = frozenset({"list-type", "prefix", "delimiter", "max-keys", "start-after", "continuation-token",
                      "encoding-type", "fetch-owner", "marker"})  # fmt: skip
OF_OBJECTS = {
    "GET": "s3:GetObject",
    "HEAD": "s3:GetObject",
    "PUT": "s3:PutObject",
    "POST": "s3:PutObject",
    "DELETE": "s3:DeleteObject",
}
OF_UPLOADS = frozenset({"uploads", "uploadId", "partNumber"})


def require(account: Account, sent: Sent) -> None:
    """Let a request pass that the account's policy allows.

    :raises S3Error: it does not.
    """
    resource = f"arn:aws:s3:::{unquote(sent.path).strip('/')}"
    asked = action(sent)
    told = {right.effect for right in account.rights if asked in right.actions and fnmatchcase(resource, right.on)}
    if told != {"Allow"}:
        raise S3Error(403, "AccessDenied", "Access Denied.")


def action(sent: Sent) -> str:
    """Return the action a request needs (Service Authorization Reference, Amazon S3); empty for what we don't know."""
    asked = {name for name, _ in sent.parameters() if not name.startswith("X-Amz-")}
    bucket, _, key = unquote(sent.path).strip("/").partition("/")
    if not key:
        return _of_bucket(sent.method, asked) if bucket else ""
    if "x-amz-copy-source" in sent.headers or asked - OF_UPLOADS - {"versionId"}:
        return ""
    if sent.method == "DELETE" and "uploadId" in asked:
        return "s3:AbortMultipartUpload"
    name = OF_OBJECTS.get(sent.method, "")
    return f"{name}Version" if "versionId" in asked else name


def _of_bucket(method: str, asked: set[str]) -> str:
    if method not in ("GET", "HEAD"):
        return ""
    special = next((OF_BUCKETS[name] for name in sorted(asked) if name in OF_BUCKETS), "")
    return special or ("s3:ListBucket" if asked <= OF_LISTS else "")

"""What our key needs at the object store, in the words of S3's policies."""

from __future__ import annotations

from platform_ops.common.permissions import Permission

LIST = Permission("s3:ListBucket", "the ends of a run are counted; without it a missing proof looks like a refusal")
GET = Permission("s3:GetObject", "proofs are read before production takes an image")
PUT = Permission("s3:PutObject", "evidence and proofs are written")
ONCE = Permission("writes on condition", "of two writers of one document exactly one must succeed (If-None-Match)")
DELETE = Permission("s3:DeleteObject", "evidence could be removed", wanted=False)
PERMISSIONS = (LIST, GET, PUT, ONCE, DELETE)

PROBE = "checks/write.json"
"""The one object a check writes, at the first check of a bucket; later ones are refused because it exists."""

PROOF_PROBE = "checks/proofs/write.json"
SCRATCH = "drill-*"
"""Stands for the buckets that drills of buckets make and delete."""

FIND = Permission("s3:ListBucket", "points are found by listing")
READ_AGAIN = Permission("s3:GetObject", "what was stored is read again")
WRITE = Permission("s3:PutObject", "points are written")
WRITE_ONCE = Permission("writes on condition", "of two copies of one point exactly one may stand (If-None-Match)")
UPLOADS = Permission("s3:ListBucketMultipartUploads", "what killed copies have begun is found")
ABORT = Permission("s3:AbortMultipartUpload", "what killed copies have begun is removed")
_POLICY = "check_policy holds the bucket against the catalogue"
SETTINGS_OF_POINTS = {
    "versioning": Permission("s3:GetBucketVersioning", _POLICY),
    "lock": Permission("s3:GetBucketObjectLockConfiguration", _POLICY),
    "lifecycle": Permission("s3:GetLifecycleConfiguration", _POLICY),
}
VERSIONS = Permission("s3:DeleteObjectVersion", "whoever takes the account over could lose you the data", wanted=False)
EVIDENCE = Permission(
    "s3:PutObject on the evidence", "a point and what it is held against could be changed together", wanted=False
)
BACKUP_WRITER = (
    FIND,
    READ_AGAIN,
    WRITE,
    WRITE_ONCE,
    UPLOADS,
    ABORT,
    *SETTINGS_OF_POINTS.values(),
    VERSIONS,
    EVIDENCE,
)

PROOF = Permission("s3:PutObject on proofs", "drills leave what they found")
BUCKETS = Permission("s3:ListAllMyBuckets", "what killed drills of buckets have left is found")
ANY_PUT = Permission("s3:PutObject", "points could be changed where they are only read", wanted=False)
BACKUP_READER = (FIND, READ_AGAIN, PROOF, BUCKETS, ANY_PUT, VERSIONS)

SOURCE_LIST = Permission("s3:ListBucket, s3:ListBucketVersions", "every version of every object is copied")
SOURCE_GET = Permission("s3:GetObject, s3:GetObjectVersion", "every version of every object is copied")
SOURCE_TAGS = Permission("s3:GetObjectTagging, s3:GetObjectVersionTagging", "tags are copied too")
SOURCE_PUT = Permission("s3:PutObject", "what is backed up could be changed", wanted=False)
SOURCE_BUCKET = (SOURCE_LIST, SOURCE_GET, SOURCE_TAGS, SOURCE_PUT, VERSIONS)

TARGET_PUT = Permission("s3:PutObject on what is restored to", "objects are restored")
ELSEWHERE_PUT = Permission(
    "s3:PutObject on sources and points", "a wrong name in the form could cost an object", wanted=False
)
RESTORE_TARGET = (TARGET_PUT, ELSEWHERE_PUT)

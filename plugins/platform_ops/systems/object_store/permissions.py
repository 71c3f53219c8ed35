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

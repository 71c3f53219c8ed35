"""What our account needs at Argo CD, in the words of its policies: resource/action."""

from __future__ import annotations

from platform_ops.common.permissions import VALID, Permission

WANTED = (
    Permission("applications/get", "sync_application follows the sync, verify_running reads its state"),
    Permission("applications/sync", "sync_application brings an application to its commit and can end that"),
)
UNWANTED = (
    Permission("applications/create", "anything could be deployed", wanted=False),
    Permission("applications/update", "an application could be led to another repository", wanted=False),
    Permission("applications/delete", "services could be removed", wanted=False),
    Permission("applications/override", "something else than git could be synced", wanted=False),
)
PERMISSIONS = (*WANTED, VALID, *UNWANTED)

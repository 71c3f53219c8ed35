"""What our account needs at a git repository."""

from __future__ import annotations

from platform_ops.common.permissions import VALID, Permission

FETCH = Permission("fetch", "releases read what runs where")
PUSH = Permission("push", "pin_image writes the one commit of a release")
OTHERS = Permission("other repositories", "a stolen token could change more than what runs where", wanted=False)
PERMISSIONS = (FETCH, PUSH, VALID, OTHERS)

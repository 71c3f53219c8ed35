"""The monotonic rule: how a commit relates to what GitOps pins, and what that means for its release."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from platform_ops.common.errors import Refused, Superseded
from platform_ops.delivery.pins import Pin
from platform_ops.delivery.services import Environment


class Standing(StrEnum):
    """Where a commit stands beside the pinned one."""

    FIRST = "first release"
    PINNED = "pinned already"
    AHEAD = "ahead of what is pinned"
    BEHIND = "behind what is pinned"
    APART = "on another line of history"


class Diverged(Refused):
    """Neither commit contains the other, and this environment does not change lines."""


def standing(pin: Pin | None, commit: str, is_ancestor: Callable[[str, str], bool]) -> Standing:
    """Compare a commit with the pinned one.

    :param is_ancestor: says whether its second commit contains its first; a commit that no longer exists
        contains nothing and is contained by nothing.
    """
    if pin is None:
        return Standing.FIRST
    if pin.commit == commit:
        return Standing.PINNED
    if is_ancestor(pin.commit, commit):
        return Standing.AHEAD
    if is_ancestor(commit, pin.commit):
        return Standing.BEHIND
    return Standing.APART


def may_go_on(stand: Standing, pin: Pin | None, commit: str, environment: str, digest: str | None) -> None:
    """Let a release go on, or say why not.

    :param digest: our digest once it is known: a newer commit that pins the same digest supersedes nothing.
    :raises Superseded: a newer commit is pinned.
    :raises Diverged: rc and prod only move forward along one line; dev follows its branch.
    """
    if pin is None or stand in (Standing.FIRST, Standing.PINNED, Standing.AHEAD):
        return
    facts = {"pinned": {"commit": pin.commit, "digest": pin.digest}}
    if stand is Standing.BEHIND:
        if digest == pin.digest:
            return
        raise Superseded(
            f"{environment} already pins {pin.commit[:12]}, which contains {commit[:12]}. Nothing is left to do.",
            facts=facts,
        )
    if environment != Environment.DEV:
        raise Diverged(
            f"{environment} pins {pin.commit[:12]}; {commit[:12]} neither contains it nor is contained in it. "
            "Merge the two lines, or go back with rollback_service.",
            facts=facts,
        )

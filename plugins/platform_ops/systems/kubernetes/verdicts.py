"""When a rollout of one digest is done, and which of its pods cannot come up."""

from __future__ import annotations

from dataclasses import dataclass

from platform_ops.systems.kubernetes.models import DEADLINE_EXCEEDED, Pod, Rollout, Trouble, TroubleKind

LASTING = frozenset({TroubleKind.IMAGE_PULL, TroubleKind.CRASH_LOOP, TroubleKind.QUOTA})
"""Troubles that don't go away by waiting."""


@dataclass(frozen=True, slots=True)
class RolloutState:
    """What is left to do until a Deployment runs one digest everywhere.

    :param right: ready pods on the digest.
    :param wrong: pods on another digest; those on their way out are not counted.
    """

    done: bool
    right: int
    wrong: int
    troubles: tuple[Trouble, ...]


def judge_rollout(rollout: Rollout, digest: str) -> RolloutState:
    """Say how far the rollout of a digest is."""
    staying = [pod for pod in rollout.pods if not pod.terminating]
    right = sum(pod.ready and pod.digest == digest for pod in staying)
    wrong = sum(pod.digest != digest and (pod.ready or pod.digest is not None) for pod in staying)
    counts_agree = rollout.desired == rollout.updated == rollout.ready == right
    done = rollout.observed and rollout.desired >= 1 and counts_agree and wrong == 0
    troubles = [pod.trouble for pod in staying if pod.trouble]
    if rollout.trouble:
        troubles.insert(0, rollout.trouble)
    return RolloutState(done, right, wrong, tuple(troubles))


def new_pods(rollout: Rollout, digest: str) -> tuple[Pod, ...]:
    """Return the staying pods that run the digest or shall run it."""
    return tuple(
        pod for pod in rollout.pods if not pod.terminating and digest in (pod.digest, pod.image.rpartition("@")[2])
    )


def common_trouble(rollout: Rollout, digest: str) -> TroubleKind | None:
    """Return the lasting trouble that all new pods share, or that keeps them from being created."""
    if rollout.trouble and rollout.trouble.kind in LASTING:
        return rollout.trouble.kind
    kinds = {pod.trouble.kind if pod.trouble else None for pod in new_pods(rollout, digest)}
    kind = kinds.pop() if len(kinds) == 1 else None
    return kind if kind in LASTING else None


def gave_up(rollout: Rollout, digest: str) -> bool:
    """Say whether the Deployment's own deadline passed for the new pods."""
    return rollout.observed and rollout.condition == DEADLINE_EXCEEDED and bool(new_pods(rollout, digest))

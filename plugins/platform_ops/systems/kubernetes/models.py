"""What the Kubernetes room returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
"""Reason of the condition Progressing once a Deployment gave up (k8s.io/kubernetes/pkg/controller/deployment)."""


class TroubleKind(StrEnum):
    """Why a pod does not serve."""

    IMAGE_PULL = "image_pull"
    CRASH_LOOP = "crash_loop"
    NOT_READY = "not_ready"
    QUOTA = "quota"
    UNSCHEDULABLE = "unschedulable"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong, in words for a person who does not know Kubernetes by heart."""

    kind: TroubleKind
    message: str


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a Deployment.

    :param image: as the specification names it.
    :param digest: of the image it really runs; None before it was pulled.
    :param terminating: it is on its way out or has ended, and counts no more.
    """

    name: str
    image: str
    digest: str | None
    ready: bool
    terminating: bool
    restarts: int
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a Deployment has come.

    :param observed: the controller has seen the newest specification; else its counts are old.
    :param condition: reason of the condition Progressing.
    :param trouble: one that keeps pods from being created at all.
    """

    desired: int
    updated: int
    ready: int
    observed: bool
    pods: tuple[Pod, ...]
    condition: str | None
    trouble: Trouble | None = None

"""Errors of the Kubernetes room.

DeploymentNotFound (NotFound)   no such Deployment, or hidden from this token
RolloutFailed (FailNow)         the new pods cannot start
└── NeverReady                  they run, but did not report ready before the Deployment's own deadline
RolloutUnsettled (Busy)         the rollout changed while it was judged
"""

from __future__ import annotations

from platform_ops.common.errors import Busy, FailNow, NotFound


class DeploymentNotFound(NotFound):
    """No such Deployment, or hidden from this token."""


class RolloutFailed(FailNow):
    """The new pods cannot start."""


class NeverReady(RolloutFailed):
    """The new pods did not report ready in time."""


class RolloutUnsettled(Busy):
    """The rollout changed while it was judged."""

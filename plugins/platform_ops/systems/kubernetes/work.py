"""A rollout of one digest, watched until every pod runs it or clearly never will."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from platform_ops.common.remote_work import Handle, Probe
from platform_ops.common.report import Link, StepReport
from platform_ops.systems.kubernetes.errors import NeverReady, RolloutFailed, RolloutUnsettled
from platform_ops.systems.kubernetes.hook import KubernetesHook
from platform_ops.systems.kubernetes.models import Rollout, Trouble
from platform_ops.systems.kubernetes.verdicts import RolloutState, common_trouble, gave_up, judge_rollout, new_pods


def _now() -> datetime:
    return datetime.now(UTC)


class DigestRollout:
    """Watches a Deployment; it starts nothing, Argo CD has applied the change.

    :param trouble_seconds: how long all new pods must show the same trouble before we give up.
    :param clock: the time now, with its zone.
    """

    def __init__(
        self,
        *,
        kubernetes_conn_id: str,
        namespace: str,
        deployment: str,
        digest: str,
        trouble_seconds: float = 20,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.kubernetes_conn_id = kubernetes_conn_id
        self.namespace = namespace
        self.deployment = deployment
        self.digest = digest
        self.trouble_seconds = trouble_seconds
        self._clock = clock

    @cached_property
    def hook(self) -> KubernetesHook:
        """Return the cluster's hook."""
        return KubernetesHook(self.kubernetes_conn_id)

    def _rollout(self) -> Rollout:
        return self.hook.rollout(self.namespace, self.deployment)

    def find(self) -> Handle:
        """Join: the rollout is always there."""
        return {}

    def start(self) -> Handle:
        """Start nothing."""
        return {}

    def probe(self, handle: Handle) -> Probe:
        """Look at the pods; the handle remembers since when all new ones show the same trouble."""
        rollout = self._rollout()
        state = judge_rollout(rollout, self.digest)
        detail = f"{state.right} of {rollout.desired} pods of {self.deployment} run the new image and are ready"
        if state.done:
            return Probe("ended", detail, {})
        if gave_up(rollout, self.digest):
            return Probe("ended", f"{detail}; the deployment's deadline has passed", {})
        kind = common_trouble(rollout, self.digest)
        if kind is None:
            return Probe("running", detail, {})
        now = self._clock()
        since = handle["since"] if handle.get("trouble") == kind.value else now.isoformat()
        handle = {"trouble": kind.value, "since": since}
        lasts = now - datetime.fromisoformat(since) >= timedelta(seconds=self.trouble_seconds)
        return Probe("ended" if lasts else "running", f"{detail}; {self._reasons(rollout, state)[0].message}", handle)

    def is_done(self) -> bool:
        """Say whether every pod runs the digest and is ready."""
        return judge_rollout(self._rollout(), self.digest).done

    def judge(self, handle: Handle) -> StepReport:  # noqa: ARG002
        """Report the pods, or raise what keeps them from running.

        :raises RolloutFailed: all new pods share a trouble that lasts.
        :raises NeverReady: the Deployment's own deadline passed.
        :raises RolloutUnsettled: the rollout changed since the last look.
        """
        rollout = self._rollout()
        state = judge_rollout(rollout, self.digest)
        facts = self._facts(rollout)
        if state.done:
            short = self.digest[:19]
            summary = f"All {rollout.desired} pods of {self.deployment} in {self.namespace} run {short} and are ready."
            return StepReport(summary, facts=facts)
        facts["troubles"] = [asdict(trouble) for trouble in self._reasons(rollout, state)]
        reasons = " ".join(trouble["message"] for trouble in facts["troubles"][:3])
        count = f"{state.right} of {rollout.desired} pods of {self.deployment} in namespace {self.namespace} are ready"
        if gave_up(rollout, self.digest):
            message = f"Only {count} with the new image when the deployment's deadline passed. {reasons}".rstrip()
            raise NeverReady(message, facts=facts)
        if common_trouble(rollout, self.digest):
            raise RolloutFailed(f"The new image does not come up; {count}. {reasons}".rstrip(), facts=facts)
        raise RolloutUnsettled(f"{count}: this changed while it was judged; it is looked at again.", facts=facts)

    def _reasons(self, rollout: Rollout, state: RolloutState) -> list[Trouble]:
        """Return the troubles of the new pods first; an old pod's trouble is not this release's."""
        own = [pod.trouble for pod in new_pods(rollout, self.digest) if pod.trouble]
        whole = [rollout.trouble] if rollout.trouble else []
        return [*whole, *own] or list(state.troubles)

    def _facts(self, rollout: Rollout) -> dict[str, Any]:
        pods = [
            {"name": p.name, "digest": p.digest, "ready": p.ready, "image": p.image, "restarts": p.restarts}
            for p in rollout.pods
            if not p.terminating
        ]
        return {"digest": self.digest, "desired": rollout.desired, "ready": rollout.ready, "pods": pods}

    def cancel(self, handle: Handle) -> None:
        """Do nothing: the rollout is Argo CD's, and stopping to look stops nothing."""

    def link(self, handle: Handle) -> Link | None:  # noqa: ARG002
        """Return nothing: a cluster has no page of its own."""
        return None

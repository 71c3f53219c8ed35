"""What goes on in the cluster by itself: the deployment controller and quotas; its pods are the kubelet's."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import uuid
from collections.abc import Callable

from sandbox.stand_ins.kubernetes_kubelet import Kubelet, Registry, condition, is_ready, set_conditions
from sandbox.stand_ins.kubernetes_store import RESOURCES, Object, Store

HISTORY = 10


def _share(value: int | str, of: int, rounding: Callable[[float], int]) -> int:
    return rounding(of * int(value[:-1]) / 100) if isinstance(value, str) and value.endswith("%") else int(value)


class Cluster:
    """Moves the store forward in time.

    :param clock: seconds since the epoch.
    """

    def __init__(self, store: Store, registry: Registry, clock: Callable[[], float]) -> None:
        self.store = store
        self.clock = clock
        self.wake = threading.Event()
        self.kubelet = Kubelet(store, registry, clock)

    def run(self) -> None:
        """Step whenever something is due or was changed."""
        while True:
            due = self.step()
            self.wake.wait(min(max(due - self.clock(), 0.01), 30.0))
            self.wake.clear()

    def step(self) -> float:
        """Do what is due now; return when something will be."""
        with self.store.lock:
            now = self.clock()
            pulls = [
                (pod["metadata"]["uid"], container["image"], pod["metadata"].get("labels", {}).get("simulate"))
                for pod in self.store.every("pods")
                for container in pod["spec"]["containers"][:1]
                if self.kubelet.life(pod)["stage"] == "pull" and self.kubelet.life(pod)["at"] <= now
            ]
        pulled = {
            uid: self.kubelet.pull(image, simulate) for uid, image, simulate in pulls
        }  # not under the lock: it is slow
        with self.store.lock:
            now = self.clock()
            for pod in list(self.store.every("pods")):
                self.kubelet.move(pod, pulled.get(pod["metadata"]["uid"]), now)
            for quota in self.store.every("resourcequotas"):
                self._count_quota(quota)
            due = [self._reconcile(deployment, now) for deployment in list(self.store.every("deployments"))]
            due += [
                life["at"] for pod in self.store.every("pods") if (life := self.kubelet.life(pod))["at"] is not None
            ]
            self.kubelet.forget_events()
            self.store.save()
        return min(due, default=now + 30.0)

    def _count_quota(self, quota: Object) -> None:
        used = str(len(list(self.store.every("pods", quota["metadata"]["namespace"]))))
        status = {"hard": quota["spec"].get("hard", {}), "used": {"pods": used}}
        if quota.get("status") != status:
            quota["status"] = status
            self.store.touch(quota)

    def _replica_set(self, deployment: Object, now: float) -> Object:
        metadata, spec = deployment["metadata"], deployment["spec"]
        code = hashlib.sha256(json.dumps(spec["template"], sort_keys=True).encode()).hexdigest()[:10]
        name = f"{metadata['name']}-{code}"
        known = self.store.find("replicasets", metadata["namespace"], name)
        if known is not None:
            return known
        labels = {**spec["template"]["metadata"].get("labels", {}), "pod-template-hash": code}
        template = json.loads(json.dumps(spec["template"]))
        template["metadata"]["labels"] = labels
        body = {
            "metadata": {"name": name, "labels": labels, "ownerReferences": [_owner(deployment)]},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
            "status": {"replicas": 0},
        }
        self.store.count("rollouts")
        return self.store.create(RESOURCES["replicasets"], metadata["namespace"], body, now)

    def _pods_of(self, owner: Object) -> list[Object]:
        uid = owner["metadata"]["uid"]
        return [
            pod
            for pod in self.store.every("pods", owner["metadata"]["namespace"])
            if "deletionTimestamp" not in pod["metadata"]
            and any(reference["uid"] == uid for reference in pod["metadata"].get("ownerReferences", ()))
        ]

    def _reconcile(self, deployment: Object, now: float) -> float:
        """Bring pods towards the specification; return when to look again by the clock alone."""
        namespace, desired = deployment["metadata"]["namespace"], deployment["spec"]["replicas"]
        current = self._replica_set(deployment, now)
        sets = [
            item
            for item in self.store.every("replicasets", namespace)
            if any(o["uid"] == deployment["metadata"]["uid"] for o in item["metadata"].get("ownerReferences", ()))
        ]
        old_sets = [item for item in sets if item is not current]
        old = [pod for item in old_sets for pod in self._pods_of(item)]
        new = self._pods_of(current)
        strategy = deployment["spec"].get("strategy", {})
        rolling = strategy.get("rollingUpdate") or {}
        surge = _share(rolling.get("maxSurge", "25%"), desired, math.ceil)
        spare = _share(rolling.get("maxUnavailable", "25%"), desired, math.floor)
        if surge == spare == 0:
            spare = 1
        if strategy.get("type") == "Recreate":
            room, goers = (0 if old else desired - len(new)), old
        else:
            room = min(desired - len(new), desired + surge - len(old) - len(new))
            goers = self._may_go(old, new, desired, spare)
        for pod in [*goers, *new[max(desired, 0) :]]:
            self.kubelet.terminate(pod)
        refusal = ""
        for _ in range(room):
            refusal = refusal or self._create_pod(current, now)
        for item in sets:
            self._report_set(item, refusal if item is current else "", now)
        for item in [item for item in old_sets if not self._pods_of(item)][:-HISTORY]:
            self.store.remove(RESOURCES["replicasets"], namespace, item["metadata"]["name"])
        return self._report(deployment, current, old_sets, refusal, spare, now)

    @staticmethod
    def _may_go(old: list[Object], new: list[Object], desired: int, spare: int) -> list[Object]:
        """Return the old pods that may stop: first the unready ones, then ready ones that are no longer needed."""
        unready_new = sum(not is_ready(pod) for pod in new)
        unready = [pod for pod in old if not is_ready(pod)]
        ready = [pod for pod in old if is_ready(pod)]
        cleanup = max(len(old) + len(new) - (desired - spare) - unready_new, 0)
        surplus = max(len(ready) + len(new) - unready_new - (desired - spare), 0)
        return unready[:cleanup] + ready[:surplus]

    def _create_pod(self, owner: Object, now: float) -> str:
        """Create one pod; return the refusal when a quota is used up."""
        namespace = owner["metadata"]["namespace"]
        name = f"{owner['metadata']['name']}-{uuid.uuid4().hex[:5]}"
        used = len(list(self.store.every("pods", namespace)))
        for quota in self.store.every("resourcequotas", namespace):
            limit = quota["spec"].get("hard", {}).get("pods")
            if limit is not None and used >= int(limit):
                refusal = (
                    f'pods "{name}" is forbidden: exceeded quota: {quota["metadata"]["name"]}, '
                    f"requested: pods=1, used: pods={used}, limited: pods={limit}"
                )
                self.kubelet.event(owner, "FailedCreate", f"Error creating: {refusal}", now)
                return refusal
        template = json.loads(json.dumps(owner["spec"]["template"]))
        template["metadata"] = {**template.get("metadata", {}), "name": name, "ownerReferences": [_owner(owner)]}
        pod = self.store.create(RESOURCES["pods"], namespace, template, now)
        pod["spec"]["nodeName"] = "node-1"
        self.store.count("pods")
        self.kubelet.life(pod)
        return ""

    def _report_set(self, item: Object, refusal: str, now: float) -> None:
        pods = self._pods_of(item)
        ready = sum(map(is_ready, pods))
        status: Object = {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
        status |= {
            "observedGeneration": item["metadata"]["generation"],
            "conditions": item["status"].get("conditions", []),
        }
        if refusal and not any(c["type"] == "ReplicaFailure" for c in status["conditions"]):
            set_conditions(
                status, [condition("ReplicaFailure", true=True, now=now, reason="FailedCreate", message=refusal)]
            )
        elif not refusal:
            status["conditions"] = []
        if status != item["status"] or item["spec"]["replicas"] != len(pods):
            item["status"] = status
            item["spec"]["replicas"] = len(pods)
            self.store.touch(item)

    def _report(
        self, deployment: Object, current: Object, old_sets: list[Object], refusal: str, spare: int, now: float
    ) -> float:
        desired = deployment["spec"]["replicas"]
        new, old = self._pods_of(current), [pod for item in old_sets for pod in self._pods_of(item)]
        ready = sum(map(is_ready, [*new, *old]))
        name = current["metadata"]["name"]
        memory = self.store.private.setdefault(deployment["metadata"]["uid"], {})
        seen = [name, len(new), sum(map(is_ready, new)), len(old)]
        if memory.get("seen", [])[:1] != [name]:
            memory["complete"] = False
        if memory.get("seen") != seen:
            memory |= {"seen": seen, "progressed_at": now}
        if len(new) == desired == ready and not old:
            memory["complete"] = True
        give_up = memory["progressed_at"] + deployment["spec"]["progressDeadlineSeconds"]
        late = not memory["complete"] and now >= give_up
        if memory["complete"]:
            reason, message = "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
        elif late:
            reason, message = "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.'
        else:
            reason, message = "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'
        enough = ready >= desired - spare
        conditions = [
            condition("Progressing", true=not late, now=now, reason=reason, message=message),
            condition(
                "Available",
                true=enough,
                now=now,
                reason=f"MinimumReplicas{'A' if enough else 'Una'}vailable",
                message=f"Deployment {'has' if enough else 'does not have'} minimum availability.",
            ),
            *current["status"]["conditions"],
        ]
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(new) + len(old),
            "updatedReplicas": len(new),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(desired - ready, 0),
            "conditions": deployment.get("status", {}).get("conditions", []),
        }
        set_conditions(status, conditions)
        if status != deployment.get("status"):
            deployment["status"] = status
            self.store.touch(deployment)
        if refusal:
            return now + 1.0
        return give_up + 0.01 if not memory["complete"] and not late else math.inf


def _owner(item: Object) -> Object:
    metadata = item["metadata"]
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }

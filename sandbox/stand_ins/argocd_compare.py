"""Desired against live: what is out of sync, and how healthy it is (rules of argoproj/gitops-engine pkg/health)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
TRACKING = "argocd.argoproj.io/tracking-id"
WORST = ("Healthy", "Suspended", "Progressing", "Missing", "Degraded", "Unknown")


def group_of(item: Object) -> str:
    """Return the API group, empty for the core."""
    group, found, _ = str(item["apiVersion"]).rpartition("/")
    return group if found else ""


def tracked(item: Object, application: str, namespace: str) -> Object:
    """Return the object with its namespace and the annotation that says whose it is."""
    metadata = dict(item.get("metadata") or {})
    if item["kind"] != "Namespace":
        metadata.setdefault("namespace", namespace)
    where = f"{metadata.get('namespace', '')}/{metadata['name']}"
    identity = f"{application}:{group_of(item)}/{item['kind']}:{where}"
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TRACKING: identity}
    return {**item, "metadata": metadata}


def covers(live: Any, desired: Any) -> bool:
    """Say whether the live value has all that is desired; what the cluster adds does not count."""
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(covers(live.get(key), value) for key, value in desired.items())
    if isinstance(desired, list):
        same = isinstance(live, list) and len(live) == len(desired)
        return same and all(covers(one, other) for one, other in zip(live, desired, strict=True))
    return bool(live == desired)


def deployment_health(item: Object) -> tuple[str, str]:
    """Return status and message of a Deployment."""
    name, spec, status = item["metadata"]["name"], item["spec"], item.get("status", {})
    if spec.get("paused"):
        return "Suspended", "Deployment is paused"
    if item["metadata"]["generation"] > status.get("observedGeneration", 0):
        return (
            "Progressing",
            "Waiting for rollout to finish: observed deployment generation less than desired generation",
        )
    progressing: Object = next((c for c in status.get("conditions", ()) if c["type"] == "Progressing"), {})
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available, desired = status.get("availableReplicas", 0), spec["replicas"]
    waiting = "Waiting for rollout to finish: "
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return "Degraded", f'Deployment "{name}" exceeded its progress deadline'
    if updated < desired:
        return "Progressing", f"{waiting}{updated} out of {desired} new replicas have been updated..."
    if total > updated:
        return "Progressing", f"{waiting}{total - updated} old replicas are pending termination..."
    if available < updated:
        return "Progressing", f"{waiting}{available} of {updated} updated replicas are available..."
    return "Healthy", ""


def pod_health(item: Object) -> tuple[str, str]:
    """Return status and message of a pod."""
    for container in item.get("status", {}).get("containerStatuses", ()):
        waiting = container["state"].get("waiting", {})
        reason = waiting.get("reason", "")
        if reason.startswith("Err") or reason.endswith(("Error", "BackOff")):
            return "Degraded", waiting.get("message", "")
        if not container["ready"]:
            return "Progressing", ""
    return "Healthy", ""


@dataclass
class Comparison:
    """What one look at git and cluster found."""

    sync: str
    resources: list[Object] = field(default_factory=list)
    health: str = "Healthy"
    message: str = ""
    images: list[str] = field(default_factory=list)


def _row(item: Object, status: str, health: Object | None) -> Object:
    group, _, version = str(item["apiVersion"]).rpartition("/")
    metadata = item["metadata"]
    row: Object = {"group": group, "version": version, "kind": item["kind"], "name": metadata["name"], "status": status}
    row |= {"namespace": metadata["namespace"]} if metadata.get("namespace") else {}
    return row | ({"health": health} if health else {})


def compare(desired: list[Object], live: list[Object | None], orphans: list[Object]) -> Comparison:
    """Put the desired objects beside the live ones.

    :param orphans: live objects of this application that are no longer desired.
    """
    result = Comparison("Synced")
    worst = 0
    for wanted, found in zip(desired, live, strict=True):
        health: Object | None = None
        if found is None:
            health = {"status": "Missing"}
        elif wanted["kind"] == "Deployment":
            status, message = deployment_health(found)
            health = {"status": status} | ({"message": message} if message else {})
        same = found is not None and covers(found, wanted)
        result.resources.append(_row(wanted, "Synced" if same else "OutOfSync", health))
        result.sync = result.sync if same else "OutOfSync"
        if health and WORST.index(health["status"]) > worst:
            worst = WORST.index(health["status"])
            result.health, result.message = health["status"], health.get("message", "")
        containers = ((found or {}).get("spec") or {}).get("template", {}).get("spec", {}).get("containers", ())
        result.images += [container["image"] for container in containers]
    for orphan in orphans:
        result.resources.append(_row(orphan, "OutOfSync", None) | {"requiresPruning": True})
        result.sync = "OutOfSync"
    return result

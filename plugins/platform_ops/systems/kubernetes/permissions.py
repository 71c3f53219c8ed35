"""What our account needs in a cluster, in the words of `kubectl auth can-i`: verb and resource.group/subresource."""

from __future__ import annotations

from platform_ops.common.permissions import VALID, Permission

WANTED = (
    Permission("get deployments.apps", "verify_running reads how far a rollout has come"),
    Permission("list pods", "verify_running reads which digest every pod runs"),
    Permission("list events", "verify_running tells which probe fails"),
)
UNWANTED = (
    Permission("get secrets", "the secrets of the services could be read", wanted=False),
    Permission("create pods/exec", "commands could be run in pods", wanted=False),
    Permission("create pods", "anything could be run in the cluster", wanted=False),
    Permission("delete pods", "services could be stopped", wanted=False),
    Permission("patch deployments.apps", "other images could be run than GitOps says", wanted=False),
)
PERMISSIONS = (*WANTED, VALID, *UNWANTED)


def attributes(permission: Permission, namespace: str) -> dict[str, str]:
    """Return what a SelfSubjectAccessReview asks.

    :param namespace: empty for all namespaces.
    """
    verb, _, resource = permission.name.partition(" ")
    resource, _, subresource = resource.partition("/")
    plural, _, group = resource.partition(".")
    return {"verb": verb, "resource": plural, "group": group, "subresource": subresource, "namespace": namespace}

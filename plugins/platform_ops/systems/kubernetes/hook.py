"""Read Deployments and their pods, with the official client on our transport."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from platform_ops.common.connections import base_url, tls_verify
from platform_ops.common.errors import NotFound, Unreachable, error_for_status
from platform_ops.common.fail_points import asks
from platform_ops.common.http import urllib3_pool
from platform_ops.common.permissions import CheckedConnection, Finding, Permission, token_lasts
from platform_ops.systems.kubernetes.errors import DeploymentNotFound
from platform_ops.systems.kubernetes.models import Pod, Rollout, Trouble, TroubleKind
from platform_ops.systems.kubernetes.permissions import UNWANTED, WANTED, attributes

if TYPE_CHECKING:
    import urllib3

PULL_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
"""Waiting reasons around images (kubernetes/pkg/kubelet/images/types.go)."""
STARTING_REASONS = frozenset({"ContainerCreating", "PodInitializing"})


class KubernetesHook(CheckedConnection, BaseHook):
    """One cluster's API: ``host`` is its address, the password a bearer token.

    :param pool: replaces the network in tests.
    """

    conn_name_attr = "kubernetes_conn_id"
    default_conn_name = "kubernetes_dev"
    conn_type = "kubernetes_api"
    hook_name = "Kubernetes API"

    def __init__(self, kubernetes_conn_id: str = default_conn_name, *, pool: urllib3.PoolManager | None = None) -> None:
        super().__init__()
        self.kubernetes_conn_id = kubernetes_conn_id
        self._pool = pool

    @cached_property
    def _connection(self) -> Any:
        return self.get_connection(self.kubernetes_conn_id)

    @cached_property
    def api(self) -> Any:
        """Return the official client's ``ApiClient``."""
        from kubernetes import client

        configuration = client.Configuration()
        configuration.host = base_url(self._connection)
        api = client.ApiClient(configuration, "Authorization", f"Bearer {self._connection.password}")
        api.rest_client.pool_manager = self._pool or urllib3_pool(verify=tls_verify(self._connection))
        return api

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn the client's errors into ours."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            kind = error_for_status(error.status or 500)
            message = f"Kubernetes ({self.kubernetes_conn_id}) answered {error.status} for {what}: {_said(error.body)}"
            raise kind(message, facts={"system": "Kubernetes", "status": error.status}) from error
        except HTTPError as error:
            message = (
                f"Kubernetes at {base_url(self._connection)} did not answer for {what}: {type(error).__name__}. "
                f"Check that it runs and that the address of connection {self.kubernetes_conn_id} is right."
            )
            raise Unreachable(message) from error

    def rollout(self, namespace: str, deployment: str) -> Rollout:
        """Return how far a Deployment has come, with all pods its selector finds.

        :raises DeploymentNotFound: no such Deployment.
        """
        from kubernetes import client

        what = f"deployment {deployment} in namespace {namespace}"
        try:
            with self._errors(what):
                found = client.AppsV1Api(self.api).read_namespaced_deployment(deployment, namespace)
        except NotFound as error:
            message = (
                f"{self.kubernetes_conn_id} has no {what}. Check that its application is synced and that the "
                "catalogue names the right namespace."
            )
            raise DeploymentNotFound(message, facts=error.facts) from error
        with self._errors(f"pods of {what}"):
            selector = _selector(found.spec.selector)
            pods = client.CoreV1Api(self.api).list_namespaced_pod(namespace, label_selector=selector).items
        probes = self._failed_probes(namespace) if any(_waits_for_readiness(pod) for pod in pods) else {}
        status = found.status
        conditions = {condition.type: condition for condition in status.conditions or ()}
        progressing = conditions.get("Progressing")
        return Rollout(
            desired=1 if found.spec.replicas is None else found.spec.replicas,
            updated=status.updated_replicas or 0,
            ready=status.ready_replicas or 0,
            observed=(status.observed_generation or 0) >= found.metadata.generation,
            pods=tuple(_pod(pod, deployment, namespace, probes) for pod in pods),
            condition=progressing.reason if progressing else None,
            trouble=_creation_trouble(conditions.get("ReplicaFailure"), deployment, namespace),
        )

    def _failed_probes(self, namespace: str) -> Mapping[str, str]:
        """Return what the readiness probe of each pod last met."""
        from kubernetes import client

        with self._errors(f"events in namespace {namespace}"):
            events = (
                client.CoreV1Api(self.api).list_namespaced_event(namespace, field_selector="reason=Unhealthy").items
            )
        return {event.involved_object.name: event.message or "" for event in events}

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Ask the cluster for each permission, by SelfSubjectAccessReviews; every account may ask for itself.

        :param places: namespaces.
        :raises AuthenticationFailed: the token is refused.
        :raises Unreachable: the cluster does not answer.
        """
        do = "the Role bound to this account"
        everywhere = tuple(
            row.judge(
                allowed=self._may(row, ""), where="in all namespaces", do="the ClusterRoleBinding of this account"
            )
            for row in UNWANTED
        )
        here = tuple(
            row.judge(allowed=self._may(row, namespace), where=f"in namespace {namespace}", do=do)
            for namespace in places
            for row in (*WANTED, *UNWANTED)
        )
        renew = "Make a new token of the service account and enter it in the connection"
        end = token_lasts(self._connection.password or "", now=datetime.now(UTC), renew=renew)
        return (*here, end, *everywhere)

    @asks
    def _may(self, permission: Permission, namespace: str) -> bool:
        from kubernetes import client

        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes(permission, namespace)}}  # fmt: skip
        with self._errors(f"the permission to {permission.name}"):
            answer = client.AuthorizationV1Api(self.api).create_self_subject_access_review(body)
        return bool(answer.status.allowed)


def _said(body: Any) -> str:
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "without a word")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:500]


def _selector(selector: Any) -> str:
    rules = [f"{key}={value}" for key, value in (selector.match_labels or {}).items()]
    for rule in selector.match_expressions or ():
        values = ",".join(rule.values or ())
        rules.append(
            {
                "In": f"{rule.key} in ({values})",
                "NotIn": f"{rule.key} notin ({values})",
                "Exists": rule.key,
                "DoesNotExist": f"!{rule.key}",
            }[rule.operator]
        )
    return ",".join(rules)


def _condition(pod: Any, kind: str) -> Any:
    return next((item for item in (pod.status.conditions or ()) if item.type == kind), None)


def _is_ready(pod: Any) -> bool:
    ready = _condition(pod, "Ready")
    return ready is not None and ready.status == "True"


def _waits_for_readiness(pod: Any) -> bool:
    return pod.status.phase == "Running" and not _is_ready(pod) and pod.metadata.deletion_timestamp is None


def _pod(pod: Any, deployment: str, namespace: str, probes: Mapping[str, str]) -> Pod:
    """Describe a pod by the container that has the Deployment's name, else by its first one."""
    containers = {container.name: container for container in pod.spec.containers}
    chosen = containers.get(deployment) or pod.spec.containers[0]
    statuses = {status.name: status for status in pod.status.container_statuses or ()}
    own = statuses.get(chosen.name)
    # A bare `sha256:` is the id of a local image's configuration, not the registry's digest.
    _, found, digest = ((own.image_id if own else "") or "").rpartition("@")
    terminating = pod.metadata.deletion_timestamp is not None or pod.status.phase in ("Succeeded", "Failed")
    return Pod(
        name=pod.metadata.name,
        image=chosen.image,
        digest=digest if found else None,
        ready=_is_ready(pod),
        terminating=terminating,
        restarts=max((status.restart_count for status in statuses.values()), default=0),
        trouble=None if terminating or _is_ready(pod) else _trouble(pod, namespace, probes),
    )


def _trouble(pod: Any, namespace: str, probes: Mapping[str, str]) -> Trouble | None:
    name = pod.metadata.name
    scheduled = _condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        text = f"No machine of the cluster can take pod {name}: {scheduled.message}. Ask the cluster's owners for room."
        return Trouble(TroubleKind.UNSCHEDULABLE, text)
    for status in [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]:
        trouble = None if status.ready else _container_trouble(status, name, namespace)
        if trouble:
            return trouble
    if not _waits_for_readiness(pod):
        return None
    probe = f": {probes[name]}" if probes.get(name) else ""
    text = f"Pod {name} runs but does not report ready{probe}. Read its log: kubectl -n {namespace} logs {name}"
    return Trouble(TroubleKind.NOT_READY, text)


def _container_trouble(status: Any, pod: str, namespace: str) -> Trouble | None:
    waiting = status.state.waiting if status.state else None
    reason = (waiting.reason if waiting else None) or ""
    details = (waiting.message if waiting else None) or reason
    if reason in PULL_REASONS:
        # The kubelet repeats the image's name at each level of its message; the cause comes after the last.
        cause = details.rpartition(f"{status.image}: ")[2]
        text = (
            f"Pod {pod} cannot fetch its image {status.image}: {cause}. "
            "Check that the image is in the registry and that the cluster may pull it."
        )
        return Trouble(TroubleKind.IMAGE_PULL, text)
    ended = status.last_state.terminated if status.last_state else None
    # Between two restarts the container runs for a moment; it is still the same crash loop.
    if reason == "CrashLoopBackOff" or (status.restart_count and ended and ended.exit_code):
        code = f" with exit code {ended.exit_code}" if ended else ""
        text = (
            f"Pod {pod} starts and ends again{code}, restarts so far: {status.restart_count}. "
            f"Read why: kubectl -n {namespace} logs {pod} --previous"
        )
        return Trouble(TroubleKind.CRASH_LOOP, text)
    if reason and reason not in STARTING_REASONS:
        text = f"Pod {pod} cannot start ({reason}): {details}. Look: kubectl -n {namespace} describe pod {pod}"
        return Trouble(TroubleKind.OTHER, text)
    return None


def _creation_trouble(condition: Any, deployment: str, namespace: str) -> Trouble | None:
    if condition is None or condition.status != "True":
        return None
    if "exceeded quota" in (condition.message or ""):
        text = (
            f"Namespace {namespace} has used up its quota, so pods of {deployment} are not created: "
            f"{condition.message}. Ask for a larger quota, or free some of it."
        )
        return Trouble(TroubleKind.QUOTA, text)
    text = (
        f"Pods of {deployment} are not created: {condition.message}. Look: kubectl -n {namespace} describe replicaset"
    )
    return Trouble(TroubleKind.OTHER, text)

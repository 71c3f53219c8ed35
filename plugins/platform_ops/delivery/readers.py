"""What the systems say when they are asked again at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException

from platform_ops.common.errors import PlatformError
from platform_ops.delivery.images import find_image
from platform_ops.delivery.release import Release
from platform_ops.systems.kubernetes.hook import KubernetesHook


def _harbor(release: Release) -> str | None:
    image = find_image(release, release.commit) if release.commit else None
    return image.digest if image else None


def _gitops(release: Release) -> str | None:
    pin, _ = release.pinned()
    return pin.digest if pin else None


def _argocd(release: Release) -> str:
    return release.argocd.application(release.target.application).sync_revision


def _pods(release: Release) -> list[str]:
    target = release.target
    pods = KubernetesHook(target.cluster).rollout(target.namespace, target.deployment).pods
    return sorted({pod.digest or "none yet" for pod in pods if not pod.terminating})


READERS: Mapping[str, Callable[[Release], Any]] = {
    "harbor": _harbor,
    "gitops": _gitops,
    "argocd_revision": _argocd,
    "pods": _pods,
}
"""Each place that must hold the release, with who asks it."""


def observe(release: Release) -> tuple[dict[str, Any], list[str]]:
    """Ask every system; return what those said that answered, and a sentence for each that did not."""
    observed: dict[str, Any] = {}
    silent = []
    for place, read in READERS.items():
        try:
            observed[place] = read(release)
        except (PlatformError, AirflowException, ValueError, LookupError, TypeError) as error:
            # Whatever a system or its connection is like, the document is stored.
            silent.append(f"{place} could not be asked again: {error}")
    return observed, silent


def differences(observed: Mapping[str, Any], digest: str) -> list[str]:
    """Return a sentence for each place that holds another digest than was released."""
    told = []
    for place, name in (("harbor", "Harbor"), ("gitops", "GitOps")):
        if place in observed and observed[place] != digest:
            told.append(f"{name} holds {observed[place] or 'nothing'}, not {digest}.")
    if "pods" in observed:
        told += [f"Pods run {found}, not {digest}." for found in observed["pods"] or ["nothing"] if found != digest]
    return told

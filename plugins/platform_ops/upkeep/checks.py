"""Which connections there are, and for which objects each is needed: by the catalogue, and by what every DAG needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from platform_ops.common import webhook_secrets
from platform_ops.common.errors import Refused
from platform_ops.delivery.names import RELEASE
from platform_ops.delivery.services import Service
from platform_ops.evidence.document import BUCKET


class System(StrEnum):
    """What a connection leads to."""

    GITLAB = "GitLab"
    JENKINS = "Jenkins"
    HARBOR = "Harbor"
    GIT = "git"
    ARGOCD = "Argo CD"
    KUBERNETES = "Kubernetes"
    OBJECT_STORE = "object store"
    AIRFLOW_READER = "Airflow, reading"
    AIRFLOW_STARTER = "Airflow, starting"


class UnknownConnection(Refused):
    """A run was asked to check a connection that nothing uses."""


class Ambiguous(Refused):
    """The catalogue uses one connection for two systems."""


@dataclass(frozen=True, slots=True)
class Check:
    """One connection.

    :param places: the objects its account must be allowed for, sorted.
    """

    connection: str
    system: System
    places: tuple[str, ...]


FIXED = (
    Check("object_store_default", System.OBJECT_STORE, (BUCKET,)),
    Check("airflow_api", System.AIRFLOW_READER, (RELEASE,)),
    Check(webhook_secrets.CONNECTION, System.AIRFLOW_STARTER, (RELEASE,)),
)
"""Connections that no file of the catalogue names."""


def checks(services: Iterable[Service]) -> Mapping[str, Check]:
    """Return the check of each connection by its name, in order.

    :raises Ambiguous: a connection is used for two systems.
    """
    used = [(check.connection, check.system, place) for check in FIXED for place in check.places]
    for service in services:
        used += [
            (service.gitlab_connection, System.GITLAB, service.project),
            (service.jenkins_connection, System.JENKINS, service.job),
            (service.harbor_connection, System.HARBOR, service.image_project),
            (service.gitops_connection, System.GIT, service.gitops_branch),
        ]
        for target in service.targets.values():
            used.append((target.argocd, System.ARGOCD, target.application))
            used.append((target.cluster, System.KUBERNETES, target.namespace))
    found: dict[str, Check] = {}
    for name in sorted({connection for connection, _, _ in used}):
        systems = sorted({system for connection, system, _ in used if connection == name})
        if len(systems) > 1:
            raise Ambiguous(
                f"The catalogue uses connection {name} for {' and for '.join(systems)}. A connection leads to one "
                "system: correct include/services."
            )
        places = sorted({place for connection, _, place in used if connection == name})
        found[name] = Check(name, systems[0], tuple(places))
    return found


def chosen(known: Mapping[str, Check], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the names to check: those wanted, or all.

    :raises UnknownConnection: one of those wanted is used nowhere.
    """
    names = tuple(dict.fromkeys(wanted))
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UnknownConnection(
            f"Nothing uses connection {', '.join(unknown)[:200]}; in use are {', '.join(known)}. "
            "Start again with one of those."
        )
    return names or tuple(known)

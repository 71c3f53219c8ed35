"""Which connections there are, and for which objects each is needed: by the catalogue, and by what every DAG needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from platform_ops.backups.keys import IDENTITY_CONNECTION, READER_CONNECTION
from platform_ops.backups.names import BACK_UP, DRILL, REPORT, RESTORE
from platform_ops.backups.policies import SHARING
from platform_ops.backups.sources import Source
from platform_ops.common import webhook_secrets
from platform_ops.common.errors import PlatformError, Refused
from platform_ops.delivery.names import RELEASE
from platform_ops.delivery.services import Service
from platform_ops.evidence.document import BUCKET
from platform_ops.systems.object_store.permissions import SCRATCH
from platform_ops.systems.postgres.permissions import FILES
from platform_ops.upkeep.names import CHECK_CONNECTIONS


class System(StrEnum):
    """What a connection leads to."""

    GITLAB = "GitLab"
    JENKINS = "Jenkins"
    HARBOR = "Harbor"
    GIT = "git"
    ARGOCD = "Argo CD"
    KUBERNETES = "Kubernetes"
    OBJECT_STORE = "object store"
    POSTGRES = "PostgreSQL"
    BUCKET = "bucket"
    RESTORE_TARGET = "bucket, restoring"
    BACKUP_STORE = "backup store, writing"
    BACKUP_READER = "backup store, reading"
    RECIPIENTS = "age, encrypting"
    IDENTITY = "age, decrypting"
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
    Check("airflow_api", System.AIRFLOW_READER, (RELEASE, BACK_UP, DRILL, REPORT, RESTORE, CHECK_CONNECTIONS)),
    Check(webhook_secrets.CONNECTION, System.AIRFLOW_STARTER, (RELEASE,)),
)
"""Connections that no file of the catalogue names."""


Use = tuple[str, System, str]
"""A connection, what it leads to, and one object it is needed for; empty where it is needed as a whole."""


def checks(services: Iterable[Service], sources: Iterable[Source]) -> dict[str, Check | PlatformError]:
    """Return the check of each connection by its name, in order; the error where none can be made."""
    used = [(check.connection, check.system, place) for check in FIXED for place in check.places]
    for service in services:
        used += _of_service(service)
    for source in sources:
        used += _of_source(source)
    found: dict[str, Check | PlatformError] = {}
    for name in sorted({connection for connection, _, _ in used}):
        systems = sorted({system for connection, system, _ in used if connection == name})
        if len(systems) > 1:
            found[name] = Ambiguous(
                f"The catalogue uses connection {name} for {' and for '.join(systems)}. A connection leads to one "
                "system: correct include/services or include/backups."
            )
            continue
        places = sorted({place for connection, _, place in used if connection == name and place})
        found[name] = Check(name, systems[0], tuple(places))
    return found


def _of_service(service: Service) -> Iterator[Use]:
    yield service.gitlab_connection, System.GITLAB, service.project
    yield service.jenkins_connection, System.JENKINS, service.job
    yield service.harbor_connection, System.HARBOR, service.image_project
    yield service.gitops_connection, System.GIT, service.gitops_branch
    for target in service.targets.values():
        yield target.argocd, System.ARGOCD, target.application
        yield target.cluster, System.KUBERNETES, target.namespace


def _of_source(source: Source) -> Iterator[Use]:
    yield source.store_connection, System.BACKUP_STORE, source.bucket
    yield READER_CONNECTION, System.BACKUP_READER, source.bucket
    if source.kind == "bucket":
        yield READER_CONNECTION, System.BACKUP_READER, SCRATCH
    if source.encryption_connection:
        yield source.encryption_connection, System.RECIPIENTS, source.name if source.kind in SHARING else ""
        yield IDENTITY_CONNECTION, System.IDENTITY, source.encryption_connection
    if source.kind == "bucket" and source.restore_connection:
        for bucket in (source.what["bucket"], source.bucket):
            yield source.restore_connection, System.RESTORE_TARGET, bucket
    if source.connection and source.kind in _SYSTEMS:
        for place in _places(source):
            yield source.connection, _SYSTEMS[source.kind], place


_SYSTEMS = {
    "airflow": System.POSTGRES,
    "bucket": System.BUCKET,
    "git": System.GIT,
    "postgres": System.POSTGRES,
}
"""What the connections of sources lead to, by their kinds."""


def _places(source: Source) -> Iterable[str]:
    """Return what a source's own connection is needed for."""
    if _SYSTEMS[source.kind] is System.POSTGRES:
        return [*source.what["databases"], *([FILES] if source.what.get("method") == "physical" else [])]
    if source.kind == "bucket":
        return ["/".join(filter(None, (source.what["bucket"], source.what.get("prefix"))))]
    # A branch is where releases push; a copy needs no more than what can be fetched.
    return [""]


def chosen(known: Collection[str], unread: Collection[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the names to check: those wanted, or all; and always the files that nobody could read.

    :param known: names of connections.
    :param unread: files of the catalogue that can't be read, which may name more.
    :raises UnknownConnection: one of those wanted is used nowhere.
    """
    names = tuple(dict.fromkeys(wanted))
    unknown = sorted(set(names) - set(known))
    if unknown:
        hidden = f" What {', '.join(unread)} would name is not known: it can't be read." if unread else ""
        raise UnknownConnection(
            f"Nothing uses connection {', '.join(unknown)[:200]}; in use are {', '.join(known)}.{hidden} "
            "Start again with one of those."
        )
    return (*(names or known), *unread)

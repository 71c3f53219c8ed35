"""The catalogue of services: what a service is called in each system, and who may release it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from platform_ops.approvals.policy import ApprovalPolicy, policy_from
from platform_ops.common.documents import BadDocument, load_document
from platform_ops.common.settings import include
from platform_ops.systems.harbor.models import Severity

SCHEMA = "service.schema.json"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")


class Environment(StrEnum):
    """Where a service runs, in the order a release travels."""

    DEV = "dev"
    RC = "rc"
    PROD = "prod"


@dataclass(frozen=True, slots=True)
class Target:
    """One environment of a service.

    :param argocd: connection of the Argo CD that owns the application.
    :param cluster: connection of the Kubernetes API its pods run behind.
    :param approval: None for automatic promotion.
    """

    argocd: str
    application: str
    cluster: str
    namespace: str
    deployment: str
    approval: ApprovalPolicy | None


@dataclass(frozen=True, slots=True)
class Service:
    """A catalogue entry; names ending in ``_connection`` are Airflow connections."""

    name: str
    owners: tuple[str, ...]
    gitlab_connection: str
    project: str
    branches: Mapping[str, str]
    jenkins_connection: str
    job: str
    harbor_connection: str
    image_project: str
    image_repository: str
    highest_severity: Severity
    gitops_connection: str
    gitops_branch: str
    gitops_path: str
    targets: Mapping[str, Target]

    @property
    def image_name(self) -> str:
        """Return the name the manifests use for the image, before kustomize puts the registry before it."""
        return f"{self.image_project}/{self.image_repository}"

    def pin_file(self, environment: str) -> str:
        """Return the GitOps file that pins this service in an environment."""
        return f"{self.gitops_path}/{environment}/kustomization.yaml"


def service_from(document: Mapping[str, Any]) -> Service:
    """Make a service of a checked document."""
    source, image, gitops = document["source"], document["image"], document["gitops"]
    return Service(
        name=document["service"],
        owners=tuple(document["owners"]),
        gitlab_connection=source.get("connection", "gitlab_default"),
        project=source["project"],
        branches=dict(source["branches"]),
        jenkins_connection=document["build"].get("connection", "jenkins_default"),
        job=document["build"]["jenkins_job"],
        harbor_connection=image.get("connection", "harbor_default"),
        image_project=image["project"],
        image_repository=image["repository"],
        highest_severity=Severity[image["highest_severity"].upper()],
        gitops_connection=gitops.get("connection", "gitops_default"),
        gitops_branch=gitops.get("branch", "main"),
        gitops_path=gitops["path"],
        targets={name: _target(entry) for name, entry in document["environments"].items()},
    )


def _target(entry: Mapping[str, Any]) -> Target:
    approval = entry.get("approval") if entry["promotion"] == "manual" else None
    return Target(
        argocd=entry.get("argocd", "argocd_default"),
        application=entry["application"],
        cluster=entry["cluster"],
        namespace=entry["namespace"],
        deployment=entry["deployment"],
        approval=policy_from(approval) if approval else None,
    )


def service_names() -> list[str]:
    """Return the names of the catalogue's files; no file is opened, so DAG files may call it."""
    return sorted(path.stem for path in (include() / "services").glob("*.yaml"))


def load_service(name: str) -> Service:
    """Read one service.

    :raises BadDocument: no such service, or its file is not in order.
    """
    if not _NAME.fullmatch(name):
        raise BadDocument(f"{name[:60]!r} is not a service name; services are named in lower-case letters and dashes.")
    path = include() / "services" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(service_names()) or "none"
        raise BadDocument(f"There is no service {name} in include/services; known are {known}.")
    return _load(path)


def _load(path: Path) -> Service:
    document = load_document(path, SCHEMA)
    if document["service"] != path.stem:
        raise BadDocument(
            f"{path.name}: service is {document['service']!r}; it must be the file's name, {path.stem!r}."
        )
    return service_from(document)


def load_services() -> dict[str, Service]:
    """Read the whole catalogue.

    :raises BadDocument: a file is not in order.
    """
    return {name: load_service(name) for name in service_names()}


def services_by_project(project: str) -> tuple[Service, ...]:
    """Return the services built from a GitLab project; a file that is not in order hides only its own service."""
    found = []
    for name in service_names():
        try:
            # A file is parsed in milliseconds, and searched in microseconds.
            if project not in (include() / "services" / f"{name}.yaml").read_text(errors="replace"):
                continue
            service = load_service(name)
        except (BadDocument, OSError) as error:
            logging.getLogger(__name__).warning("%s", error)
            continue
        if service.project == project:
            found.append(service)
    return tuple(found)

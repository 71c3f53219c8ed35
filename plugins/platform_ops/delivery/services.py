"""The catalogue of services: what a service is called in each system, and who may release it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from platform_ops.approvals.policy import ApprovalPolicy, policy_from
from platform_ops.common.catalogue import Catalogue
from platform_ops.common.documents import BadDocument
from platform_ops.systems.harbor.models import Severity

CATALOGUE = Catalogue("services", "service.schema.json", "service")


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
    return CATALOGUE.names()


def load_service(name: str) -> Service:
    """Read one service.

    :raises BadDocument: no such service, or its file is not in order.
    """
    return service_from(CATALOGUE.entry(name))


def services_by_project(project: str) -> tuple[Service, ...]:
    """Return the services built from a GitLab project; a file that is not in order hides only its own service."""
    found = []
    for name in service_names():
        try:
            # A file is parsed in milliseconds, and searched in microseconds.
            if project not in CATALOGUE.path(name).read_text(errors="replace"):
                continue
            service = load_service(name)
        except (BadDocument, OSError) as error:
            logging.getLogger(__name__).warning("%s", error)
            continue
        if service.project == project:
            found.append(service)
    return tuple(found)

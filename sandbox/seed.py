"""Fills the sandbox with the catalogue's services, through the vendors' own APIs.

Every step looks first whether its work is there, so an interrupted seed is finished by the next `up`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from ruamel.yaml import YAML

from platform_ops.delivery.pins import Pin, write_pin
from platform_ops.delivery.policies import make_proof, proof_key, tree_tag
from platform_ops.delivery.services import Service, Target, service_from
from sandbox import buckets
from sandbox.checkout import Checkout
from sandbox.oci import push_image
from sandbox.processes import ROOT, SandboxError
from sandbox.real.table import chosen
from sandbox.stand_ins.jenkins import FOLDER
from sandbox.stand_ins.jenkins_controller import job_config

SOURCES = ROOT / "sandbox" / "sources"
GITOPS = "platform/gitops"
DEVELOPER = 30
"""GitLab's access level of those who may push and set statuses (doc/api/members.md)."""
QUIET_SECONDS = 2
HEALTHY_SECONDS = 90.0
IMMUTABLE_TAGS = ("tree-*", "[0-9a-f]" * 40)


@dataclass(frozen=True, slots=True)
class Sample:
    """How a service comes into the world.

    :param released: it has been released to every environment already.
    :param automated: Argo CD syncs it by itself.
    :param signed: GitLab signs its webhook; else it sends the plain token.
    """

    released: bool = True
    automated: bool = True
    signed: bool = True


SAMPLES = {"notifier": Sample(released=False, automated=False, signed=False)}
"""What differs from the ordinary; a service without sources of its own gets the storefront's."""


def seed(environment: Mapping[str, str], home: Path) -> None:
    """Make everything the catalogue of this home names.

    :raises SandboxError: a system refused, or a released service does not become healthy.
    """
    files = sorted((home / "include" / "services").glob("*.yaml"))
    services = [service_from(YAML(typ="safe").load(path)) for path in files]
    world = _World(environment)
    world.make_shared(services)
    for service in services:
        world.make_source(service)
        world.make_job(service)
    world.make_manifests(services)
    for service in services:
        world.make_applications(service)
    world.wait_until_healthy(services)


class _World:
    """The systems, with one client each."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment

        def client(system: str, prefix: str, **options: Any) -> httpx.Client:
            url = environment[f"{system}_URL"] + prefix
            return httpx.Client(base_url=url, timeout=30, trust_env=False, **options)

        def bearer(name: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {environment[name]}"}

        self.gitlab = client("GITLAB", "/api/v4", headers={"PRIVATE-TOKEN": environment["GITLAB_TOKEN"]})
        self.jenkins = client("JENKINS", "", auth=(environment["JENKINS_USER"], environment["JENKINS_TOKEN"]))
        self.harbor = client("HARBOR", "/api/v2.0", auth=(environment["HARBOR_USER"], environment["HARBOR_PASSWORD"]))
        argocd = bearer("ARGOCD_TOKEN") | {"Content-Type": "application/json"}
        self.argocd = client("ARGOCD", "/api/v1", headers=argocd)
        self.clusters = {
            name: client(name.upper(), "", headers=bearer("KUBERNETES_TOKEN"))
            for name in ("kubernetes_dev", "kubernetes_rc", "kubernetes_prod")
        }

    def make_shared(self, services: list[Service]) -> None:
        """Make what services share: the bucket, the GitOps repository, the clusters, Harbor's projects."""
        self._make_buckets()
        for name in sorted({service.image_project for service in services}):
            self._make_harbor_project(name)
        self._make_project(GITOPS, "main")
        hook = {"url": f"{self.environment['ARGOCD_URL']}/api/webhook", "push_events": True}
        self._make_hook(GITOPS, hook)
        if not self._branch(GITOPS, "main"):
            with self._checkout(GITOPS, "platform-bot", "GITLAB_TOKEN") as work:
                work.write({"README.md": "# GitOps\n\nWhat runs where; written by release_service.\n"})
                work.commit("Begin")
                work.push("main")
        repository = {"repo": self.environment["GITOPS_GIT_URL"], "username": "oauth2"}
        self._post(self.argocd, "/repositories", repository | {"password": self.environment["GITLAB_TOKEN"]})
        token = {"bearerToken": self.environment["KUBERNETES_TOKEN"]}
        for name in self.clusters:
            server = self.environment[f"{name.upper()}_URL"]
            self._post(self.argocd, "/clusters", {"server": server, "name": name, "config": token})

    def make_source(self, service: Service) -> None:
        """Make the project with its branches, and its webhook last: the first push shall start no release."""
        self._make_project(service.project, service.branches["dev"])
        if not self._branch(service.project, service.branches["prod"]):
            with self._checkout(service.project, "dana", "GITLAB_DEVELOPER_TOKEN") as work:
                work.write({"README.md": f"# {service.name}\n"})
                work.commit(f"Begin {service.name}")
                shutil.copytree(_sources(service), work.root, dirs_exist_ok=True, ignore=_not_source)
                work.commit(f"Add {service.name}")
                work.push(*dict.fromkeys(service.branches.values()))
        hook = {"url": f"{self.environment['AIRFLOW_URL']}/platform-ops/hooks/gitlab", "push_events": True}
        secret = (
            {"signing_token": self.environment["GITLAB_WEBHOOK_SIGNING_TOKEN"]}
            if _sample(service).signed
            else {"token": self.environment["GITLAB_WEBHOOK_SECRET"]}
        )
        self._make_hook(service.project, hook | secret)

    def make_job(self, service: Service) -> None:
        """Make the Jenkins job and the folders above it."""
        git_url = f"{self.environment['GITLAB_URL']}/{service.project}.git"
        *folders, name = service.job.split("/")
        above = ""
        for folder in folders:
            if self.jenkins.get(f"{above}/job/{folder}/api/json").status_code == 404:
                self._post(self.jenkins, f"{above}/createItem", None, params={"name": folder, "mode": FOLDER})
            above += f"/job/{folder}"
        if self.jenkins.get(f"{above}/job/{name}/api/json").status_code == 404:
            config = job_config(git_url, QUIET_SECONDS, ("TREE", "COMMIT", "ATTEMPT"))
            headers = {"Content-Type": "application/xml"}
            answer = self.jenkins.post(
                f"{above}/createItem", params={"name": name}, content=config.encode(), headers=headers
            )
            _check(answer)

    def make_manifests(self, services: list[Service]) -> None:
        """Write the manifests of services that have none, and pin what was released."""
        with self._checkout(GITOPS, "platform-bot", "GITLAB_TOKEN") as work:
            for service in services:
                if (work.root / service.gitops_path).exists():
                    continue
                pin = self._make_image(service) if _sample(service).released else None
                for name, target in service.targets.items():
                    work.write(self._manifests(service, name, target, pin))
                work.commit(f"Add {service.name}")
            work.push("main")

    def _manifests(self, service: Service, environment: str, target: Target, pin: Pin | None) -> dict[str, str]:
        folder = f"{service.gitops_path}/{environment}"
        registry_name = f"{self.environment['REGISTRY']}/{service.image_name}"
        path = service.pin_file(environment)
        text = KUSTOMIZATION.format(service=service.name, image=service.image_name, registry_name=registry_name)
        pinned = write_pin(text, service.image_name, path, pin, registry_name) if pin else text
        deployment = DEPLOYMENT.format(
            name=target.deployment, namespace=target.namespace, image=service.image_name, replicas=2
        )
        return {path: pinned, f"{folder}/deployment.yaml": deployment}

    def _make_image(self, service: Service) -> Pin:
        """Push the image of the production branch, with the tags and the proof that a release leaves."""
        login = self.environment["HARBOR_USER"], self.environment["HARBOR_PASSWORD"]
        with self._checkout(service.project, "dana", "GITLAB_DEVELOPER_TOKEN") as work:
            work.switch(service.branches["prod"])
            commit, tree = work.head(), work.git("rev-parse", "HEAD^{tree}")
            with tempfile.TemporaryDirectory() as folder:
                shutil.copytree(work.root, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
                labels = {
                    "org.opencontainers.image.revision": commit,
                    "org.opencontainers.image.source": f"{self.environment['GITLAB_URL']}/{service.project}",
                    "org.opencontainers.image.title": service.name,
                }
                url = self.environment["HARBOR_URL"]
                digest = push_image(url, service.image_name, "seed", Path(folder), labels, login)
        repository = quote(service.image_repository, safe="")
        path = f"/projects/{service.image_project}/repositories/{repository}/artifacts/{digest}/tags"
        for tag in (tree_tag(tree), commit):
            self._post(self.harbor, path, {"name": tag}, accept=(409,))
        proof = make_proof(service.name, digest, "rc", commit=commit, run="seed")
        buckets.put(self.environment, proof_key(service.name, digest), json.dumps(proof).encode())
        return Pin(digest, commit)

    def make_applications(self, service: Service) -> None:
        """Make the namespace, and the application of every environment."""
        automated = _sample(service).automated
        for name, target in service.targets.items():
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": target.namespace}}
            self._post(self.clusters[target.cluster], "/api/v1/namespaces", namespace, accept=(409,))
            server = self.environment[f"{target.cluster.upper()}_URL"]
            spec: dict[str, Any] = {
                "project": "default",
                "source": {
                    "repoURL": self.environment["GITOPS_GIT_URL"],
                    "path": f"{service.gitops_path}/{name}",
                    "targetRevision": service.gitops_branch,
                },
                "destination": {"server": server, "namespace": target.namespace},
            } | ({"syncPolicy": {"automated": {}}} if automated else {})
            self._post(self.argocd, "/applications", {"metadata": {"name": target.application}, "spec": spec})

    def wait_until_healthy(self, services: list[Service]) -> None:
        """Wait for the pods of what was released; every other `up` finds them there."""
        waiting = {
            target.application
            for service in services
            if _sample(service).released
            for target in service.targets.values()
        }
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            shown = {name: _check(self.argocd.get(f"/applications/{name}")).json()["status"] for name in waiting}
            waiting = {name for name, status in shown.items() if not _is_settled(status)}
            if not waiting:
                return
            if time.monotonic() > deadline:
                name = min(waiting)
                raise SandboxError(f"Application {name} does not become healthy: {json.dumps(shown[name])[:800]}")
            time.sleep(0.2)

    def _make_project(self, path: str, default_branch: str) -> None:
        group, _, name = path.rpartition("/")
        if self.gitlab.get(f"/groups/{quote(group, safe='')}").status_code == 404:
            self._post(self.gitlab, "/groups", {"name": group, "path": group})
        own = {"PRIVATE-TOKEN": self.environment["GITLAB_RELEASE_TOKEN"]}
        member = {"user_id": _check(self.gitlab.get("/user", headers=own)).json()["id"], "access_level": DEVELOPER}
        self._post(self.gitlab, f"/groups/{quote(group, safe='')}/members", member, accept=(409,))
        if self.gitlab.get(f"/projects/{quote(path, safe='')}").status_code == 404:
            namespace = _check(self.gitlab.get(f"/groups/{quote(group, safe='')}")).json()["id"]
            wanted = {"name": name, "path": name, "namespace_id": namespace, "default_branch": default_branch}
            self._post(self.gitlab, "/projects", wanted)

    def _make_hook(self, project: str, wanted: dict[str, Any]) -> None:
        path = f"/projects/{quote(project, safe='')}/hooks"
        if all(hook["url"] != wanted["url"] for hook in _check(self.gitlab.get(path)).json()):
            self._post(self.gitlab, path, wanted)

    def _branch(self, project: str, branch: str) -> bool:
        path = f"/projects/{quote(project, safe='')}/repository/branches/{quote(branch, safe='')}"
        return self.gitlab.get(path).status_code == 200

    def _checkout(self, project: str, person: str, token: str) -> Checkout:
        return Checkout(f"{self.environment['GITLAB_URL']}/{project}.git", person, self.environment[token])

    def _make_harbor_project(self, name: str) -> None:
        self._post(self.harbor, "/projects", {"project_name": name, "metadata": {"auto_scan": "true"}}, accept=(409,))
        for pattern in IMMUTABLE_TAGS:
            rule = {
                "action": "immutable",
                "template": "immutable_template",
                "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": pattern}],
                "scope_selectors": {
                    "repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}]
                },
            }
            self._post(self.harbor, f"/projects/{name}/immutabletagrules", rule, accept=(409,))

    def _make_buckets(self) -> None:
        server = chosen(self.environment, "object_store")
        buckets.make(self.environment, lock_backups=server is not None)
        if server:
            server.grant(self.environment)

    @staticmethod
    def _post(
        client: httpx.Client,
        path: str,
        body: Any,
        *,
        params: dict[str, str] | None = None,
        accept: tuple[int, ...] = (),
    ) -> httpx.Response:
        return _check(client.post(path, json=body, params=params), accept)


def _check(response: httpx.Response, accept: tuple[int, ...] = ()) -> httpx.Response:
    if response.status_code >= 400 and response.status_code not in accept:
        asked = f"{response.request.method} {response.request.url}"
        raise SandboxError(f"The seed was refused: {asked} answered {response.status_code} {response.text[:400]}")
    return response


def _is_settled(status: Mapping[str, Any]) -> bool:
    return bool(status["sync"]["status"] == "Synced" and status["health"].get("status") == "Healthy")


def _sample(service: Service) -> Sample:
    return SAMPLES.get(service.name, Sample())


def _sources(service: Service) -> Path:
    own = SOURCES / service.name
    return own if own.is_dir() else SOURCES / "storefront"


_not_source = shutil.ignore_patterns("__pycache__", ".*")

KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
metadata:
  name: {service}
resources:
  - deployment.yaml
images:
  - name: {image}
    newName: {registry_name}
"""

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {namespace}
spec:
  replicas: {replicas}
  progressDeadlineSeconds: 60
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      containers:
        - name: {name}
          image: {image}
"""

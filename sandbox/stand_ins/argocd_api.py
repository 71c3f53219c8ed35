"""What each call of Argo CD's API does; the routes are in ``argocd.py``."""

from __future__ import annotations

import copy
import hmac
import json
import re
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from sandbox.stand_ins.argocd_compare import Object, deployment_health, pod_health
from sandbox.stand_ins.argocd_controller import Controller
from sandbox.stand_ins.argocd_outside import GitError, TargetError

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class ApiError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse(body: bytes) -> Object:
    try:
        value = json.loads(body or b"{}")
    except ValueError as error:
        raise ApiError(3, f"invalid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ApiError(3, "json: cannot unmarshal into an object")
    return value


def _same_repository(url: str, web_url: str) -> bool:
    def plain(address: str) -> tuple[str | None, str]:
        parts = urlsplit(address)
        return parts.hostname, parts.path.strip("/").removesuffix(".git").lower()

    return plain(url) == plain(web_url)


class Api:
    """The calls, on a controller."""

    def __init__(self, controller: Controller, token: str) -> None:
        self.controller = controller
        self.state = controller.state
        self.token = token

    def found(self, name: str, query: Mapping[str, str]) -> Object:
        """Return the live application; a missing one is hidden behind 403 unless the project is named."""
        application = self.state.applications.get(name)
        if application is None and query.get("project"):
            raise ApiError(5, f'applications.argoproj.io "{name}" not found')
        if application is None:
            raise ApiError(7, "permission denied")
        return application

    def session(self, body: Object) -> Object:
        given = str(body.get("password", ""))
        if body.get("username") != "admin" or not hmac.compare_digest(given.encode(), self.token.encode()):
            raise ApiError(16, "Invalid username or password")
        return {"token": self.token}

    def add_repository(self, body: Object, query: Mapping[str, str]) -> Object:
        url = body.get("repo", "")
        kept = {key: str(body[key]) for key in ("username", "password") if body.get(key)}
        known = self.state.repositories.get(url)
        if known is not None and known != kept and query.get("upsert") != "true":
            raise ApiError(3, "existing repository spec is different; use upsert flag to force update")
        try:
            self.controller.git.references(url, kept)
        except GitError as error:
            problem = f"unable to ls-remote HEAD on repository: failed to list refs: {error}"
            raise ApiError(2, f"error testing repository connectivity: {problem}") from error
        with self.state.lock:
            self.state.repositories[url] = kept
            self.state.save()
        return self.repository(url)

    @staticmethod
    def repository(url: str) -> Object:
        return {"repo": url, "connectionState": {"status": "", "message": "", "attemptedAt": None}, "type": "git"}

    def add_cluster(self, body: Object) -> Object:
        server = body.get("server", "")
        if not server:
            raise ApiError(3, "cluster server is required")
        with self.state.lock:
            config = {"bearerToken": (body.get("config") or {}).get("bearerToken", "")}
            self.state.clusters[server] = {"server": server, "name": body.get("name", server), "config": config}
            self.state.save()
        return self.cluster(server)

    def cluster(self, server: str) -> Object:
        known = self.state.clusters[server]
        return {"server": server, "name": known["name"], "config": {"tlsClientConfig": {"insecure": False}}}

    def create(self, body: Object, query: Mapping[str, str]) -> Object:
        name = (body.get("metadata") or {}).get("name", "")
        if not NAME.fullmatch(str(name)):
            raise ApiError(3, f"application name {name!r} is invalid")
        spec = body.get("spec") or {}
        spec.setdefault("project", "default")
        with self.state.lock:
            old = self.state.applications.get(name)
            if old is not None and old["spec"] == spec:
                return copy.deepcopy(old)
            if old is not None and query.get("upsert") != "true":
                raise ApiError(3, "existing application spec is different, use upsert flag to force update")
        self._validate(name, spec)
        with self.state.lock:
            old = self.state.applications.get(name)
            if old is None:
                metadata = {"name": name, "namespace": "argocd", "creationTimestamp": self._now()}
                status: Object = {"sync": {"status": ""}, "health": {}}
                old = self.state.applications[name] = {"metadata": metadata, "spec": spec, "status": status}
                self.controller.watch(name)
            old["spec"] = spec
            self.state.save_application(name)
            answer = copy.deepcopy(old)
        self.controller.refresh(name, wait=False)
        return answer

    def _now(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.controller.clock()))

    def _validate(self, name: str, spec: Object) -> None:
        source, destination = spec.get("source") or {}, spec.get("destination") or {}
        prefix = f"application spec for {name} is invalid: InvalidSpecError: "
        if not source.get("repoURL") or not source.get("path"):
            raise ApiError(
                3, f"{prefix}spec.source.repoURL and either spec.source.path or spec.source.chart are required"
            )
        server = destination.get("server", "")
        if server not in self.state.clusters:
            raise ApiError(3, f"{prefix}cluster '{server}' has not been configured")
        url, git = source["repoURL"], self.controller.git
        credentials, path = self.controller.credentials(url), source["path"].strip("/")
        try:
            sha = git.resolve(url, credentials, source.get("targetRevision") or "HEAD")
            git.fetch(url, credentials, sha)
        except GitError as error:
            raise ApiError(3, f"{prefix}repository not accessible: {error}") from error
        try:
            self.controller.render(url, path, sha, name, destination.get("namespace", ""), "rpc error: code = ")
        except TargetError as error:
            raise ApiError(3, f"{prefix}Unable to generate manifests in {path}: {error}") from error

    def sync(self, name: str, body: Object, query: Mapping[str, str]) -> Object:
        source = self.found(name, query)["spec"]["source"]
        target, wanted = source.get("targetRevision") or "HEAD", body.get("revision") or ""
        try:
            revision = self.controller.git.resolve(
                source["repoURL"], self.controller.credentials(source["repoURL"]), wanted or target
            )
        except GitError as error:
            raise ApiError(9, f"error resolving repo revision: rpc error: code = Unknown desc = {error}") from error
        with self.state.lock:
            application = self.found(name, query)
            automated = (application["spec"].get("syncPolicy") or {}).get("automated")
            if automated is not None and wanted not in ("", target):
                raise ApiError(9, f"Cannot sync to {wanted}: auto-sync currently set to {target}")
            if "operation" in application:
                raise ApiError(9, "another operation is already in progress")
            sync: Object = {"revision": revision, "source": source}
            if body.get("prune"):
                sync["prune"] = True
            if (body.get("syncOptions") or {}).get("items"):
                sync["syncOptions"] = body["syncOptions"]["items"]
            by, retry = {"username": "admin"}, body.get("retryStrategy") or {}
            self.controller.start(application, sync, by, retry, body.get("infos"))
            answer = copy.deepcopy(application)
        self.controller.wake(name)
        return answer

    def delete(self, name: str, query: Mapping[str, str]) -> Object:
        application = self.found(name, query)
        client = self.controller.client(application["spec"]["destination"]["server"])
        if query.get("cascade") != "false":
            for item in self.state.private[name]["managed"]:
                client.delete(item)
        with self.state.lock:
            self.state.applications.pop(name, None)
            self.state.private.pop(name, None)
            self.state.save_application(name)
        self.controller.wake(name)
        return {}

    def tree(self, name: str, query: Mapping[str, str]) -> Object:
        application = self.found(name, query)
        client = self.controller.client(application["spec"]["destination"]["server"])
        nodes = []
        for item in self.state.private[name]["managed"]:
            live = client.get(item)
            if live is None:
                continue
            nodes.append(_node(live, deployment_health(live) if live["kind"] == "Deployment" else None))
            if live["kind"] == "Deployment":
                pods = f"/api/v1/namespaces/{live['metadata']['namespace']}/pods"
                found = client.listed(pods, live["spec"]["selector"]["matchLabels"])
                nodes += [_node(pod, pod_health(pod)) for pod in found]
        return {"nodes": nodes}

    def webhook(self, payload: Object) -> None:
        """Refresh the applications a push concerns."""
        branch = str(payload.get("ref", "")).removeprefix("refs/heads/")
        project = payload.get("project") or {}
        files = [
            file
            for commit in payload.get("commits") or ()
            for kind in ("added", "modified", "removed")
            for file in commit.get(kind) or ()
        ]
        for name, application in list(self.state.applications.items()):
            source = application["spec"]["source"]
            target = source.get("targetRevision") or "HEAD"
            right_branch = branch == (project.get("default_branch") if target == "HEAD" else target)
            folder = source["path"].strip("/") + "/"
            touched = not files or any(file.startswith(folder) for file in files)
            if right_branch and touched and _same_repository(source["repoURL"], str(project.get("web_url", ""))):
                self.controller.refresh(name, wait=False)


def _node(item: Object, health: tuple[str, str] | None) -> Object:
    metadata = item["metadata"]
    group, _, version = str(item["apiVersion"]).rpartition("/")
    node: Object = {"group": group, "version": version, "kind": item["kind"], "name": metadata["name"]}
    node |= {"namespace": metadata.get("namespace", ""), "uid": metadata["uid"]}
    node["parentRefs"] = [{key: o[key] for key in ("kind", "name", "uid")} for o in metadata.get("ownerReferences", ())]
    return node | ({"health": {"status": health[0], "message": health[1]}} if health else {})

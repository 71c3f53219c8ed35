"""What Argo CD reaches: git repositories by the git command line, clusters by server-side apply."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

Object = dict[str, Any]
SHA = re.compile(r"[0-9a-f]{40}")
FIELD_MANAGER = "argocd-controller"
PLURALS = {
    "Namespace": "namespaces",
    "Pod": "pods",
    "Service": "services",
    "ConfigMap": "configmaps",
    "ResourceQuota": "resourcequotas",
    "Deployment": "deployments",
    "ReplicaSet": "replicasets",
    "Ingress": "ingresses",
}


class GitError(Exception):
    """git's own words."""


class ClusterError(Exception):
    """A cluster's refusal, in its own words.

    :param unknown_kind: the cluster serves no such kind.
    """

    def __init__(self, message: str, *, unknown_kind: bool = False) -> None:
        super().__init__(message)
        self.unknown_kind = unknown_kind


class TargetError(Exception):
    """The target state cannot be had from git."""


class GitCache:
    """Bare copies of the repositories, one folder each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def _run(self, url: str, credentials: Mapping[str, str], *arguments: str) -> str:
        folder = self._folder / hashlib.sha256(url.encode()).hexdigest()[:16]
        if not folder.exists():
            folder.mkdir(parents=True)
            subprocess.run(["git", "init", "--quiet", "--bare"], cwd=folder, check=True)
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C"}
        environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        if credentials.get("password"):
            token = base64.b64encode(f"{credentials.get('username', '')}:{credentials['password']}".encode()).decode()
            header = {"KEY": "http.extraHeader", "VALUE": f"Authorization: Basic {token}"}
            environment |= {"GIT_CONFIG_COUNT": "1"} | {f"GIT_CONFIG_{key}_0": text for key, text in header.items()}
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=60,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise GitError(f"git {arguments[0]} took longer than {error.timeout} s") from error
        if done.returncode:
            raise GitError(done.stderr.strip() or f"exit status {done.returncode}")
        return done.stdout

    def _lock(self, url: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(url, threading.Lock())

    def references(self, url: str, credentials: Mapping[str, str]) -> dict[str, str]:
        """Return what the remote shows."""
        with self._lock(url):
            lines = self._run(url, credentials, "ls-remote", "--", url).splitlines()
        return {name: sha for sha, _, name in (line.partition("\t") for line in lines)}

    def resolve(self, url: str, credentials: Mapping[str, str], revision: str) -> str:
        """Return the commit of a branch, a tag or HEAD; a full hash is believed."""
        if SHA.fullmatch(revision):
            return revision
        shown = self.references(url, credentials)
        for name in ("HEAD",) if revision in ("", "HEAD") else (f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in shown:
                return shown[name]
        raise GitError(f"unable to resolve '{revision}' to a commit SHA")

    def fetch(self, url: str, credentials: Mapping[str, str], sha: str) -> None:
        """Have a commit in the copy."""
        with self._lock(url):
            for source in (None, "+refs/heads/*:refs/heads/*", sha):
                if source:
                    self._run(url, credentials, "fetch", "--quiet", "--force", "--", url, source)
                try:
                    self._run(url, {}, "cat-file", "-e", f"{sha}^{{commit}}")
                except GitError:
                    continue
                return
        raise GitError(f"fatal: remote error: upload-pack: not our ref {sha}")

    def read(self, url: str, sha: str, path: str) -> str | None:
        """Return a file at a fetched commit."""
        try:
            return self._run(url, {}, "cat-file", "blob", f"{sha}:{path}")
        except GitError:
            return None

    def has_folder(self, url: str, sha: str, path: str) -> bool:
        """Say whether a fetched commit has the folder."""
        try:
            return self._run(url, {}, "cat-file", "-t", f"{sha}:{path}").strip() == "tree"
        except GitError:
            return False

    def metadata(self, url: str, sha: str) -> dict[str, str]:
        """Return author, date and message of a fetched commit."""
        shown = self._run(url, {}, "show", "-s", "--format=%an <%ae>%x00%aI%x00%B", sha)
        author, date, message = shown.split("\0", 2)
        return {"author": author, "date": date, "message": message.strip()}


class ClusterClient:
    """One destination cluster.

    :param inner: replaces the network in tests.
    """

    def __init__(self, server: str, token: str, inner: httpx.BaseTransport | None) -> None:
        self.server = server
        self._client = httpx.Client(
            base_url=server,
            headers={"Authorization": f"Bearer {token}"},
            timeout=10.0,
            transport=inner,
            trust_env=False,
        )

    @staticmethod
    def path(item: Object) -> str:
        """Return where an object lives; the plural of an unknown kind is a guess the cluster will refuse."""
        version, kind, metadata = item["apiVersion"], item["kind"], item["metadata"]
        plural = PLURALS.get(kind, f"{kind.lower()}s")
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        inside = f"/namespaces/{quote(metadata['namespace'], safe='')}" if metadata.get("namespace") else ""
        return f"{root}{inside}/{plural}/{quote(metadata['name'], safe='')}"

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **options)
        except httpx.TransportError as error:
            host = self.server.removeprefix("http://").removeprefix("https://")
            raise ClusterError(f'Get "{self.server}{path}": dial tcp {host}: {error}') from error

    @staticmethod
    def _refusal(response: httpx.Response, *, unknown_kind: bool = False) -> ClusterError:
        try:
            message = response.json()["message"]
        except (ValueError, KeyError):
            message = response.text[:300]
        return ClusterError(str(message), unknown_kind=unknown_kind)

    @staticmethod
    def _json(response: httpx.Response) -> Object:
        try:
            answer: Object = response.json()
        except ValueError as error:
            raise ClusterError(f"couldn't get a JSON object from {response.request.url}: {error}") from error
        return answer

    def get(self, item: Object) -> Object | None:
        """Return the live object, None when there is none."""
        response = self._call("GET", self.path(item))
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise self._refusal(response)
        return self._json(response)

    def listed(self, path: str, selector: Mapping[str, str]) -> list[Object]:
        """Return the objects with these labels."""
        query = ",".join(f"{key}={value}" for key, value in selector.items())
        response = self._call("GET", path, params={"labelSelector": query})
        if response.status_code != 200:
            raise self._refusal(response)
        items: list[Object] = self._json(response)["items"]
        return items

    def serves(self, item: Object) -> bool:
        """Say whether the cluster knows the kind."""
        version = item["apiVersion"]
        response = self._call("GET", f"/apis/{version}" if "/" in version else f"/api/{version}")
        return response.status_code == 200 and any(r["kind"] == item["kind"] for r in self._json(response)["resources"])

    def apply(self, item: Object) -> None:
        """Apply an object server-side."""
        response = self._call(
            "PATCH",
            self.path(item),
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            content=json.dumps(item),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        if response.status_code not in (200, 201):
            raise self._refusal(response)

    def delete(self, item: Object) -> None:
        """Delete an object; fine when it is gone."""
        response = self._call("DELETE", self.path(item))
        if response.status_code not in (200, 202, 404):
            raise self._refusal(response)

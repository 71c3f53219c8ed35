"""The application controller: a thread per application that keeps the stale states of the real one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from sandbox.stand_ins.argocd_compare import Comparison, Object, compare, tracked
from sandbox.stand_ins.argocd_outside import ClusterClient, ClusterError, GitCache, GitError, TargetError
from sandbox.stand_ins.argocd_render import KustomizeError, build
from sandbox.stand_ins.argocd_state import State, no_kind, result_row, stamp

POLL_SECONDS = 180.0
STALE_SECONDS = 0.15
"""For this long after a sync the old comparison is still shown (measured on 3.2.11: 0.1 to 0.3 s)."""
WATCH_SECONDS = 0.15
IDLE_SECONDS = 3.0
EACH_SECONDS = 0.1
"""The real one watches clusters; this one looks, and many idle applications must not keep a processor busy."""
FIRST_RETRY = 5.0
LONGEST_RETRY = 180.0
REFRESH_SECONDS = 25.0
HISTORY = 10


class Controller:
    """Compares, syncs, retries.

    :param cluster_transport: replaces the network on the way to a cluster in tests; takes the server's address.
    :param background: without it, ``refresh`` works in the caller's thread and nothing else happens by itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cluster_transport: Callable[[str], httpx.BaseTransport | None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        background: bool = True,
    ) -> None:
        self.state = State(folder)
        self.git = GitCache(folder / "repositories")
        self.clock = clock
        self._cluster_transport = cluster_transport
        self._pause = pause
        self._background = background
        self._clients: dict[tuple[str, str], ClusterClient] = {}
        self._manifests: dict[tuple[str, str, str, str], list[Object]] = {}
        self._wakes: dict[str, threading.Event] = {}
        self._refreshed = threading.Condition(self.state.lock)
        for name in self.state.applications:
            self.watch(name)

    # --- threads ---

    def watch(self, name: str) -> None:
        """Begin to look after an application."""
        self.state.private.setdefault(name, {"asked": 1, "answered": 0, "poll_at": 0.0, "managed": []})
        self._wakes[name] = threading.Event()
        if self._background:
            threading.Thread(target=self._run, args=(name,), name=f"application {name}", daemon=True).start()

    def _run(self, name: str) -> None:
        wake = self._wakes[name]
        while name in self.state.applications and self._wakes.get(name) is wake:
            delay = self.round(name)
            wake.wait(delay)
            wake.clear()

    def wake(self, name: str) -> None:
        self._wakes[name].set()

    def refresh(self, name: str, *, wait: bool) -> None:
        """Ask for a comparison with git as it is now."""
        with self.state.lock:
            private = self.state.private[name]
            private["asked"] += 1
            mine = private["asked"]
            self.wake(name)
            if wait and self._background:
                self._refreshed.wait_for(
                    lambda: name not in self.state.private or private["answered"] >= mine, REFRESH_SECONDS
                )
        if wait and not self._background:
            self.round(name)

    def round(self, name: str) -> float:
        """Do what is due for one application; return the seconds until the next look."""
        with self.state.lock:
            application = self.state.applications.get(name)
            if application is None:
                return 0.0
            private = self.state.private[name]
            asked = private["asked"]
            now = self.clock()
            fresh = asked > private["answered"] or now >= private["poll_at"] or "stale_until" in private
            if "stale_until" in private and now < private["stale_until"] and asked == private["answered"]:
                return float(private["stale_until"] - now)
        self._compare(application, private, fresh=fresh)
        with self._refreshed:
            if fresh:
                private.pop("stale_until", None)
                private |= {"answered": asked, "poll_at": self.clock() + POLL_SECONDS}
                self._sync_by_itself(application)
            self.state.save_application(name)
            self._refreshed.notify_all()
            due = "operation" in application and self.clock() >= private.get("retry_at", 0.0)
        if due:
            self._operate(application, private)
        with self.state.lock:
            if "operation" in application:
                wait: float = private.get("retry_at", 0.0) - self.clock()
                return max(min(wait, IDLE_SECONDS), 0.01)
            if "stale_until" in private:
                return STALE_SECONDS
            moves = application["status"].get("health", {}).get("status") == "Progressing"
            return WATCH_SECONDS if moves else max(IDLE_SECONDS, len(self.state.applications) * EACH_SECONDS)

    # --- git and cluster ---

    def credentials(self, url: str) -> dict[str, str]:
        return self.state.repositories.get(url, {})

    def client(self, server: str) -> ClusterClient:
        token = self.state.clusters.get(server, {}).get("config", {}).get("bearerToken", "")
        key = (server, token)
        if key not in self._clients:
            self._clients[key] = ClusterClient(server, token, self._cluster_transport(server))
        return self._clients[key]

    def target(self, application: Object, revision: str) -> tuple[str, list[Object]]:
        """Return the commit and the objects of a revision.

        :raises TargetError: in the words of the repo-server.
        """
        name, spec = application["metadata"]["name"], application["spec"]
        source = spec["source"]
        url, path = source["repoURL"], source["path"].strip("/")
        prefix = "Failed to load target state: failed to generate manifest for source 1 of 1: rpc error: code = "
        try:
            sha = self.git.resolve(url, self.credentials(url), revision)
        except GitError as error:
            raise TargetError(f"{prefix}Unknown desc = {error}") from error
        key = (name, url, path, sha)
        if key not in self._manifests:
            try:
                self.git.fetch(url, self.credentials(url), sha)
            except GitError as error:
                command = f"`git fetch origin {sha} --tags --force --prune` failed exit status 128: {error}"
                raise TargetError(f"{prefix}Internal desc = Failed to checkout revision {sha}: {command}") from error
            self._manifests[key] = self.render(url, path, sha, name, spec["destination"].get("namespace", ""), prefix)
        return sha, self._manifests[key]

    def render(self, url: str, path: str, sha: str, name: str, namespace: str, prefix: str) -> list[Object]:
        """Build the objects of a fetched commit.

        :raises TargetError: in the words of the repo-server.
        """
        if not self.git.has_folder(url, sha, path):
            raise TargetError(f"{prefix}Unknown desc = {path}: app path does not exist")
        try:
            objects = build(lambda file: self.git.read(url, sha, file), path)
        except KustomizeError as error:
            command = f"`kustomize build <path to cached source>/{path}` failed exit status 1: {error}"
            raise TargetError(f"{prefix}Unknown desc = {command}") from error
        return [tracked(item, name, namespace) for item in objects]

    def _compare(self, application: Object, private: dict[str, Any], *, fresh: bool) -> None:
        source = application["spec"]["source"]
        branch = source.get("targetRevision") or "HEAD"
        known = private.get("head")
        try:
            sha, desired = self.target(application, branch if fresh or not known else known)
            client = self.client(application["spec"]["destination"]["server"])
            live = [client.get(item) for item in desired]
            paths = {client.path(item) for item in desired}
            orphans = [item for item in private["managed"] if client.path(item) not in paths and client.get(item)]
            found, problem = compare(desired, live, orphans), ""
        except (TargetError, ClusterError) as error:
            # The measured oddity: the revision is then the branch's name, not a hash; health keeps its old value.
            sha, found = branch, Comparison("Unknown")
            problem = str(error) if isinstance(error, TargetError) else f"Failed to load live state: {error}"
        with self.state.lock:
            self._show(application, private, sha, found, problem, fresh=fresh)
            if fresh:
                private["broken"] = problem.startswith("Failed to load target state")

    def _show(
        self, application: Object, private: dict[str, Any], sha: str, found: Comparison, problem: str, *, fresh: bool
    ) -> None:
        spec, status = application["spec"], application["status"]
        if not fresh and private.get("broken"):
            return  # the last look at git failed; the cluster alone cannot clear that
        compared = {"source": spec["source"], "destination": spec["destination"]}
        status["sync"] = {"status": found.sync, "revision": sha, "comparedTo": compared}
        others = [c for c in status.get("conditions", ()) if c["type"] == "SyncError" and not fresh]
        now = stamp(self.clock())
        if problem:
            others.append({"type": "ComparisonError", "message": problem, "lastTransitionTime": now})
        else:
            private["head"] = sha
            health = {"status": found.health} | ({"message": found.message} if found.message else {})
            old = status.get("health", {})
            status["health"] = health | {
                "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == found.health else now
            }
            status["resources"] = found.resources
            status["summary"] = {"images": sorted(set(found.images))}
        if others:
            status["conditions"] = others
        else:
            status.pop("conditions", None)
        if fresh:
            status |= {"reconciledAt": now, "sourceType": "Kustomize"}

    # --- operations ---

    def _sync_by_itself(self, application: Object) -> None:
        """Start an automated sync when one is due (controller/appcontroller.go, autoSync)."""
        automated = (application["spec"].get("syncPolicy") or {}).get("automated")
        status = application["status"]
        if automated is None or "operation" in application or status["sync"]["status"] != "OutOfSync":
            return
        revision = status["sync"]["revision"]
        last = status.get("operationState") or {}
        if last.get("syncResult", {}).get("revision") == revision:
            if last["phase"] != "Succeeded":
                message = f"Failed last sync attempt to [{revision}]: {last.get('message', '')}"
                kept = [c for c in status.get("conditions", ()) if c["type"] != "SyncError"]
                error = {"type": "SyncError", "message": message, "lastTransitionTime": stamp(self.clock())}
                status["conditions"] = [*kept, error]
                return
            drifted = any(row["status"] == "OutOfSync" and "requiresPruning" not in row for row in status["resources"])
            if not (automated.get("selfHeal") and drifted):
                return
        sync: Object = {"revision": revision, "source": application["spec"]["source"]}
        if automated.get("prune"):
            sync["prune"] = True
        self.start(
            application, sync, {"automated": True}, application["spec"]["syncPolicy"].get("retry") or {"limit": 5}
        )

    def start(self, application: Object, sync: Object, initiated_by: Object, retry: Object, infos: Any = None) -> None:
        """Put an operation on the application; the state of the last one goes away at once, as it really does."""
        options = (application["spec"].get("syncPolicy") or {}).get("syncOptions")
        sync = sync | ({"syncOptions": options} if options and "syncOptions" not in sync else {})
        application["operation"] = {"sync": sync, "initiatedBy": initiated_by, "retry": retry}
        if infos:
            application["operation"]["info"] = infos
        application["status"].pop("operationState", None)
        name = application["metadata"]["name"]
        self.state.private[name].pop("retry_at", None)
        self.state.save_application(name)

    def terminate(self, application: Object) -> bool:
        """Ask a running operation to end; False when none runs."""
        running = application["status"].get("operationState")
        if "operation" not in application or not running:
            return False
        running["phase"] = "Terminating"
        name = application["metadata"]["name"]
        self.state.private[name].pop("retry_at", None)
        self.state.save_application(name)
        self.wake(name)
        return True

    def _operate(self, application: Object, private: dict[str, Any]) -> None:
        self._pause(0.05)
        with self.state.lock:
            status, operation = application["status"], application["operation"]
            running = status.setdefault(
                "operationState",
                {"operation": operation, "phase": "Running", "startedAt": stamp(self.clock()), "retryCount": 0},
            )
            if running["phase"] == "Terminating":
                self._finish(application, private, "Failed", "Operation terminated")
                return
            running["phase"] = "Running"
            result = running.setdefault("syncResult", {"revision": operation["sync"]["revision"]})
            result["source"] = operation["sync"]["source"]
            self.state.save_application(application["metadata"]["name"])
        self._pause(0.1)
        phase, message, rows = self._apply(application, private, operation["sync"])
        with self.state.lock:
            if rows:
                result["resources"] = rows
            limit = (operation.get("retry") or {}).get("limit", 0)
            if running["phase"] == "Terminating":
                self._finish(application, private, "Failed", "Operation terminated")
            elif phase != "Succeeded" and running["retryCount"] < limit:
                running["retryCount"] += 1
                delay = min(FIRST_RETRY * 2 ** (running["retryCount"] - 1), LONGEST_RETRY)
                private["retry_at"] = self.clock() + delay
                when = datetime.fromtimestamp(private["retry_at"], UTC).strftime("%I:%M%p").lstrip("0")
                running["message"] = f"{message}. Retrying attempt #{running['retryCount']} at {when}."
                self.state.save_application(application["metadata"]["name"])
            else:
                self._finish(application, private, phase, message)

    def _apply(self, application: Object, private: dict[str, Any], sync: Object) -> tuple[str, str, list[Object]]:
        """Apply everything; return phase, message and a row for each object."""
        try:
            _, desired = self.target(application, sync["revision"])
        except TargetError as error:
            return "Error", f"ComparisonError: {error}", []
        destination = application["spec"]["destination"]
        client = self.client(destination["server"])
        options = sync.get("syncOptions") or []
        rows, refusals, unknown = [], [], False
        try:
            for item in desired:
                if not client.serves(item):
                    unknown = True
                    rows.append(result_row(item, "SyncFailed", no_kind(item)))
            if not unknown:
                self._create_namespace(client, destination.get("namespace", ""), options)
            for item in [] if unknown else desired:
                try:
                    client.apply(item)
                except ClusterError as error:
                    refusals.append(str(error))
                    rows.append(result_row(item, "SyncFailed", str(error)))
                else:
                    rows.append(result_row(item, "Synced", f"{item['metadata']['name']} serverside-applied"))
            if not unknown and not refusals:
                rows += self._prune(client, desired, private, prune=bool(sync.get("prune")))
        except ClusterError as error:
            return "Error", f"ComparisonError: Failed to load live state: {error}", rows
        if unknown:
            return "Failed", "one or more synchronization tasks are not valid", rows
        if refusals:
            return "Failed", f"one or more objects failed to apply, reason: {'; '.join(refusals)}", rows
        return "Succeeded", "successfully synced (all tasks run)", rows

    @staticmethod
    def _create_namespace(client: ClusterClient, namespace: str, options: list[str]) -> None:
        item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        if namespace and "CreateNamespace=true" in options and client.get(item) is None:
            client.apply(item)

    def _prune(
        self, client: ClusterClient, desired: list[Object], private: dict[str, Any], *, prune: bool
    ) -> list[Object]:
        rows, kept = [], []
        paths = {client.path(item) for item in desired}
        for item in private["managed"]:
            if client.path(item) in paths or client.get(item) is None:
                continue
            if prune:
                client.delete(item)
                rows.append(result_row(item, "Pruned", "pruned"))
            else:
                kept.append(item)
                rows.append(result_row(item, "PruneSkipped", "ignored (requires pruning)"))
        own = ("apiVersion", "kind")
        new = [
            {key: item[key] for key in own}
            | {"metadata": {k: item["metadata"][k] for k in ("name", "namespace") if item["metadata"].get(k)}}
            for item in desired
        ]
        with self.state.lock:
            private["managed"] = new + kept
        return rows

    def _finish(self, application: Object, private: dict[str, Any], phase: str, message: str) -> None:
        status, operation = application["status"], application.pop("operation")
        running, now = status["operationState"], stamp(self.clock())
        running |= {"phase": phase, "message": message, "finishedAt": now}
        private.pop("retry_at", None)
        if phase == "Succeeded":
            history = status.setdefault("history", [])
            entry = {"id": history[-1]["id"] + 1 if history else 0, "revision": running["syncResult"]["revision"]}
            entry |= {"deployStartedAt": running["startedAt"], "deployedAt": now, "source": operation["sync"]["source"]}
            status["history"] = [*history, entry | {"initiatedBy": operation["initiatedBy"]}][-HISTORY:]
            self.state.count("syncs")
        private["stale_until"] = self.clock() + STALE_SECONDS
        self.state.save_application(application["metadata"]["name"])

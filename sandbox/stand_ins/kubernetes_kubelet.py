"""One kubelet that pulls images from the real registry, and the trouble a pod label asks for."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from sandbox.stand_ins.kubernetes_store import RESOURCES, Object, Store, stamp

SCHEDULE_SECONDS = 0.05
START_SECONDS = 0.25
SLOW_SECONDS = 5.0
STOP_SECONDS = 0.3
FIRST_BACK_OFF = 2.0
LONGEST_BACK_OFF = 30.0
ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


class PullError(Exception):
    """What the kubelet says when it cannot have an image."""


class Registry:
    """The container runtime's way to the registry.

    :param inner: replaces the network in tests.
    """

    def __init__(self, environment: Mapping[str, str], inner: httpx.BaseTransport | None) -> None:
        self._host = httpx.URL(environment["HARBOR_URL"]).netloc.decode()
        self._client = httpx.Client(
            base_url=environment["HARBOR_URL"],
            auth=(environment["HARBOR_USER"], environment["HARBOR_PASSWORD"]),
            timeout=3.0,
            transport=inner,
            trust_env=False,
        )

    def pull(self, image: str) -> str:
        """Return the image id: name and digest."""
        name, digest = _split(image, "@", "")
        name, tag = (
            _split(name, ":", "latest") if "/" in name.rpartition(":")[0] or "/" not in name else (name, "latest")
        )
        host, _, repository = name.partition("/")
        if host != self._host:
            full = image if "." in host or ":" in host else f"docker.io/{image}"
            raise PullError(_words("NotFound", full, f"{full}: not found"))
        try:
            response = self._client.get(f"/v2/{repository}/manifests/{digest or tag}", headers={"Accept": ACCEPT})
        except httpx.TransportError as error:
            raise PullError(_words("Unavailable", image, f"dial tcp {host}: {error}")) from error
        if response.status_code in (401, 403):
            text = f"pull access denied, repository does not exist or may require authorization: {response.status_code}"
            raise PullError(_words("Unknown", image, text))
        if response.status_code != 200:
            text = "not found" if response.status_code == 404 else f"unexpected status {response.status_code}"
            raise PullError(_words("NotFound", image, f"{image}: {text}"))
        found = f"sha256:{hashlib.sha256(response.content).hexdigest()}"
        if digest and digest != found:
            raise PullError(_words("FailedPrecondition", image, f"unexpected digest {found}, expected {digest}"))
        return f"{name}@{found}"


def _split(text: str, mark: str, otherwise: str) -> tuple[str, str]:
    before, found, after = text.rpartition(mark)
    return (before, after) if found else (text, otherwise)


def _words(code: str, image: str, problem: str) -> str:
    return (
        f'rpc error: code = {code} desc = failed to pull and unpack image "{image}": '
        f'failed to resolve reference "{image}": {problem}'
    )


def condition(kind: str, *, true: bool, now: float, reason: str = "", message: str = "") -> Object:
    return {
        "type": kind,
        "status": "True" if true else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": stamp(now),
        "lastUpdateTime": stamp(now),
    }


def set_conditions(status: Object, wanted: list[Object]) -> None:
    """Keep the time of a condition that says what it said before."""
    old = {condition["type"]: condition for condition in status.get("conditions", ())}
    keep = ("status", "reason", "message")
    status["conditions"] = [
        old[new["type"]]
        if new["type"] in old and all(old[new["type"]].get(key) == new.get(key) for key in keep)
        else new
        for new in wanted
    ]


def is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", ()))


class Kubelet:
    """Moves pods through their lives and tells of it in events.

    :param clock: seconds since the epoch.
    """

    def __init__(self, store: Store, registry: Registry, clock: Callable[[], float]) -> None:
        self.store = store
        self.clock = clock
        self._registry = registry

    def pull(self, image: str, simulate: str | None) -> tuple[str, str]:
        """Return the image id and no trouble, or no id and the trouble."""
        if simulate == "no-image":
            return "", _words("NotFound", image, f"{image}: not found")
        try:
            return self._registry.pull(image), ""
        except PullError as error:
            return "", str(error)

    def life(self, pod: Object) -> dict[str, Any]:
        """Return where a pod is in its life; a pod seen for the first time was just scheduled."""
        uid = pod["metadata"]["uid"]
        if uid not in self.store.private:
            now = self.clock()
            self.store.private[uid] = {"stage": "pull", "at": now + SCHEDULE_SECONDS, "image_id": "", "tries": 0}
            self._show(pod, now, {"waiting": {"reason": "ContainerCreating"}})
            self.event(pod, "Scheduled", f"Successfully assigned {pod['metadata']['name']} to node-1", now, "Normal")
        life: dict[str, Any] = self.store.private[uid]
        return life

    def _show(self, pod: Object, now: float, state: Object, *, ready: bool = False, **more: Any) -> None:
        uid = pod["metadata"]["uid"]
        image_id = self.store.private[uid]["image_id"] if "running" in state or "lastState" in more else ""
        started = bool(image_id)
        restarts = more.pop("restartCount", 0)
        status: Object = pod.setdefault("status", {})
        status |= {"phase": "Running" if started else "Pending", "hostIP": "127.0.0.1", "podIP": "127.0.0.1"}
        status["startTime"] = status.get("startTime") or stamp(now)
        status["containerStatuses"] = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": image_id,
                "ready": ready,
                "started": "running" in state,
                "restartCount": restarts,
                "state": state,
                "lastState": more.get("lastState", {}),
            }
            for container in pod["spec"]["containers"]
        ]
        names = [container["name"] for container in pod["spec"]["containers"]]
        text = "" if ready else f"containers with unready status: [{' '.join(names)}]"
        reason = "" if ready else "ContainersNotReady"
        set_conditions(
            status,
            [
                condition("PodScheduled", true=True, now=now),
                condition("ContainersReady", true=ready, now=now, reason=reason, message=text),
                condition("Ready", true=ready, now=now, reason=reason, message=text),
            ],
        )
        self.store.touch(pod)

    def terminate(self, pod: Object) -> None:
        """Begin the end of a pod; it is still listed until it has stopped."""
        if "deletionTimestamp" in pod["metadata"]:
            return
        now = self.clock()
        pod["metadata"]["deletionTimestamp"] = stamp(now)
        self.life(pod).update(stage="stop", at=now + STOP_SECONDS)
        self.store.touch(pod)

    def move(self, pod: Object, pulled: tuple[str, str] | None, now: float) -> None:
        life = self.life(pod)
        if life["at"] is None or life["at"] > now:
            return
        if life["stage"] == "stop":
            self.store.remove(RESOURCES["pods"], pod["metadata"]["namespace"], pod["metadata"]["name"])
        elif life["stage"] == "pull" and pulled is not None:
            self._after_pull(pod, life, pulled, now)
        elif life["stage"] == "back off":
            image = pod["spec"]["containers"][0]["image"]
            text = f'Back-off pulling image "{image}": ErrImagePull: {life["trouble"]}'
            self._show(pod, now, {"waiting": {"reason": "ImagePullBackOff", "message": text}})
            self.event(pod, "BackOff", f'Back-off pulling image "{image}"', now)
            life |= {"stage": "pull", "at": now + min(FIRST_BACK_OFF * 2 ** life["tries"], LONGEST_BACK_OFF)}
            life["tries"] += 1
        elif life["stage"] == "start":
            self._after_start(pod, life, now)

    def _after_pull(self, pod: Object, life: dict[str, Any], pulled: tuple[str, str], now: float) -> None:
        image = pod["spec"]["containers"][0]["image"]
        life["image_id"], trouble = pulled
        if trouble:
            self._show(pod, now, {"waiting": {"reason": "ErrImagePull", "message": trouble}})
            self.event(pod, "Failed", f'Failed to pull image "{image}": {trouble}', now)
            life |= {"stage": "back off", "at": now + 0.3, "trouble": trouble}
            return
        self.event(pod, "Pulled", f'Successfully pulled image "{image}"', now, "Normal")
        slow = pod["metadata"].get("labels", {}).get("simulate") == "slow"
        life |= {"stage": "start", "at": now + (SLOW_SECONDS if slow else START_SECONDS), "tries": 0}

    def _after_start(self, pod: Object, life: dict[str, Any], now: float) -> None:
        simulate = pod["metadata"].get("labels", {}).get("simulate")
        name = pod["spec"]["containers"][0]["name"]
        if simulate == "crash":
            life["tries"] += 1
            back_off = min(FIRST_BACK_OFF * 2 ** life["tries"], LONGEST_BACK_OFF)
            whole = f"{pod['metadata']['name']}_{pod['metadata']['namespace']}({pod['metadata']['uid']})"
            text = f"back-off {back_off:.0f}s restarting failed container={name} pod={whole}"
            ended = {"exitCode": 1, "reason": "Error", "startedAt": stamp(now), "finishedAt": stamp(now)}
            state = {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
            self._show(pod, now, state, restartCount=life["tries"], lastState={"terminated": ended})
            self.event(pod, "BackOff", f"Back-off restarting failed container {name} in pod {whole}", now)
            life["at"] = now + back_off
            return
        life["at"] = None
        ready = simulate != "never-ready"
        self._show(pod, now, {"running": {"startedAt": stamp(now)}}, ready=ready)
        self.store.count("containers started")
        if not ready:
            self.event(pod, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", now)

    def event(self, about: Object, reason: str, message: str, now: float, kind: str = "Warning") -> None:
        metadata = about["metadata"]
        for known in self.store.every("events", metadata["namespace"]):
            if (known["involvedObject"]["uid"], known["reason"], known["message"]) == (
                metadata["uid"],
                reason,
                message,
            ):
                known |= {"count": known["count"] + 1, "lastTimestamp": stamp(now)}
                self.store.touch(known)
                return
        involved = {key: metadata[key] for key in ("name", "namespace", "uid")}
        body = {
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}"},
            "involvedObject": involved | {"kind": about["kind"], "apiVersion": about["apiVersion"]},
            "reason": reason,
            "message": message,
            "type": kind,
            "count": 1,
            "firstTimestamp": stamp(now),
            "lastTimestamp": stamp(now),
            "source": {"component": "kubelet" if about["kind"] == "Pod" else "replicaset-controller"},
        }
        self.store.create(RESOURCES["events"], metadata["namespace"], body, now)

    def forget_events(self) -> None:
        known = list(self.store.every("events"))
        for event in known[:-400]:
            self.store.remove(RESOURCES["events"], event["metadata"]["namespace"], event["metadata"]["name"])

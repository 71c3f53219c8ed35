"""What a Kubernetes API server keeps: objects with versions, and the three ways to patch them."""

from __future__ import annotations

import copy
import json
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Object = dict[str, Any]
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
MERGED_BY_NAME = frozenset({"containers", "initContainers", "env", "volumes", "volumeMounts"})
"""Lists that strategic merge and server-side apply merge by ``name`` (patchMergeKey in k8s.io/api/core/v1/types.go)."""


@dataclass(frozen=True)
class Resource:
    plural: str
    kind: str
    group: str = ""
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def full_name(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


RESOURCES = {
    resource.plural: resource
    for resource in (
        Resource("namespaces", "Namespace", namespaced=False),
        Resource("pods", "Pod"),
        Resource("events", "Event"),
        Resource("services", "Service"),
        Resource("configmaps", "ConfigMap"),
        Resource("resourcequotas", "ResourceQuota"),
        Resource("deployments", "Deployment", "apps"),
        Resource("replicasets", "ReplicaSet", "apps"),
        Resource("ingresses", "Ingress", "networking.k8s.io"),
    )
}


class StatusError(Exception):
    """An answer of 400 and above, as a Status object."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details,
            "code": code,
        }


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def not_found(resource: Resource, name: str) -> StatusError:
    message = f'{resource.full_name} "{name}" not found'
    return StatusError(404, "NotFound", message, name=name, group=resource.group, kind=resource.plural)


def invalid(resource: Resource, name: str, field: str, problem: str) -> StatusError:
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    causes = [{"reason": "FieldValueInvalid", "message": problem, "field": field}]
    message = f'{kind} "{name}" is invalid: {field}: {problem}'
    return StatusError(422, "Invalid", message, name=name, group=resource.group, kind=resource.kind, causes=causes)


def merge(target: Any, patch: Any, *, by_name: bool) -> Any:
    """Apply a JSON merge patch (RFC 7386), with the lists of MERGED_BY_NAME merged when ``by_name``."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif by_name and key in MERGED_BY_NAME and isinstance(value, list) and isinstance(result.get(key), list):
            result[key] = _merge_named(result[key], value)
        else:
            result[key] = merge(result.get(key), value, by_name=by_name)
    return result


def _merge_named(old: list[Any], new: list[Any]) -> list[Any]:
    items = {item.get("name"): item for item in old}
    for item in new:
        items[item.get("name")] = merge(items.get(item.get("name")), item, by_name=True)
    return list(items.values())


def without(target: Any, before: Any, now: Any) -> Any:
    """Take out of ``target`` what a manager applied before and leaves out now: server-side apply's removal rule."""
    if not (isinstance(target, dict) and isinstance(before, dict) and isinstance(now, dict)):
        return target
    result = {}
    for key, value in target.items():
        if key not in before:
            result[key] = value
        elif key in now:
            result[key] = _without_item(key, value, before[key], now[key])
        elif isinstance(value, dict) and isinstance(before[key], dict):
            kept = without(value, before[key], {})
            if kept:
                result[key] = kept
    return result


def _without_item(key: str, value: Any, before: Any, now: Any) -> Any:
    if not (key in MERGED_BY_NAME and all(isinstance(items, list) for items in (value, before, now))):
        return without(value, before, now)
    old = {item.get("name"): item for item in before}
    new = {item.get("name"): item for item in now}
    return [
        without(item, old.get(item.get("name")), new.get(item.get("name")))
        for item in value
        if item.get("name") in new or item.get("name") not in old
    ]


def _default(resource: Resource, body: Object) -> None:
    if resource.plural == "deployments" and isinstance(body.get("spec"), dict):
        spec = body["spec"]
        spec.setdefault("replicas", 1)
        spec.setdefault("progressDeadlineSeconds", 600)


def _validate(resource: Resource, body: Object, old: Object | None) -> None:
    name = body["metadata"].get("name") or ""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid(resource, str(name), "metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 subdomain')
    if resource.plural == "deployments":
        _validate_deployment(resource, name, body, old)


def _validate_deployment(resource: Resource, name: str, body: Object, old: Object | None) -> None:
    spec = body.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("selector"), dict):
        raise invalid(resource, name, "spec.selector", "Required value")
    if not isinstance(spec["replicas"], int) or spec["replicas"] < 0:
        problem = f"Invalid value: {json.dumps(spec['replicas'])}: must be greater than or equal to 0"
        raise invalid(resource, name, "spec.replicas", problem)
    template = spec.get("template") or {}
    labels = template.get("metadata", {}).get("labels") or {}
    if not (spec["selector"].get("matchLabels") or {}).items() <= labels.items():
        problem = f"Invalid value: {json.dumps(labels)}: `selector` does not match template `labels`"
        raise invalid(resource, name, "spec.template.metadata.labels", problem)
    containers = template.get("spec", {}).get("containers")
    if not containers:
        raise invalid(resource, name, "spec.template.spec.containers", "Required value")
    for number, container in enumerate(containers):
        for field in ("name", "image"):
            if not container.get(field):
                raise invalid(resource, name, f"spec.template.spec.containers[{number}].{field}", "Required value")
    if old is not None and old["spec"]["selector"] != spec["selector"]:
        problem = f"Invalid value: {json.dumps(spec['selector'])}: field is immutable"
        raise invalid(resource, name, "spec.selector", problem)


class Store:
    """All objects of one cluster; the caller holds ``lock`` over everything that belongs together."""

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._path = folder / "state.json"
        kept = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._objects: dict[str, Object] = kept.get("objects", {})
        self._applied: dict[str, dict[str, Object]] = kept.get("applied", {})
        self._version: int = kept.get("version", 0)
        self.private: dict[str, dict[str, Any]] = kept.get("private", {})
        self.effects: dict[str, int] = kept.get("effects", {})
        self._saved = self._version
        if not self._objects:
            for name in ("default", "kube-system"):
                body = {"metadata": {"name": name}, "status": {"phase": "Active"}}
                self.create(RESOURCES["namespaces"], "", body, 0.0)

    def save(self) -> None:
        """Write everything, if anything changed."""
        if self._saved == self._version:
            return
        kept = {
            "objects": self._objects,
            "applied": self._applied,
            "version": self._version,
            "private": self.private,
            "effects": self.effects,
        }
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(kept))
        new.rename(self._path)
        self._saved = self._version

    def count(self, effect: str) -> None:
        self.effects[effect] = self.effects.get(effect, 0) + 1

    @staticmethod
    def _key(resource: Resource, namespace: str, name: str) -> str:
        return f"{resource.plural}/{namespace}/{name}"

    def find(self, plural: str, namespace: str, name: str) -> Object | None:
        return self._objects.get(self._key(RESOURCES[plural], namespace, name))

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        found = self._objects.get(self._key(resource, namespace, name))
        if found is None:
            raise not_found(resource, name)
        return found

    def every(self, plural: str, namespace: str = "") -> Iterator[Object]:
        start = f"{plural}/{namespace}/" if namespace else f"{plural}/"
        return iter([item for key, item in self._objects.items() if key.startswith(start)])

    @property
    def version(self) -> str:
        return str(self._version)

    def touch(self, item: Object) -> None:
        """Give a changed object its next resource version."""
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)

    def create(self, resource: Resource, namespace: str, body: Object, now: float) -> Object:
        metadata = body.setdefault("metadata", {})
        if resource.namespaced:
            self.get(RESOURCES["namespaces"], "", namespace)
            metadata["namespace"] = namespace
        if "name" not in metadata and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        _default(resource, body)
        _validate(resource, body, None)
        key = self._key(resource, namespace, metadata["name"])
        if key in self._objects:
            message = f'{resource.full_name} "{metadata["name"]}" already exists'
            raise StatusError(
                409, "AlreadyExists", message, name=metadata["name"], group=resource.group, kind=resource.plural
            )
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(now)}
        if resource.kind == "Namespace":
            body["status"] = {"phase": "Active"}
        if resource.group:
            metadata["generation"] = 1
        item = {"kind": resource.kind, "apiVersion": resource.api_version, **body}
        item |= {"kind": resource.kind, "apiVersion": resource.api_version}
        self._objects[key] = item
        self.touch(item)
        return item

    def replace(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        old = self.get(resource, namespace, name)
        wanted = (body.get("metadata") or {}).get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            message = (
                f'Operation cannot be fulfilled on {resource.full_name} "{name}": the object has been modified; '
                "please apply your changes to the latest version and try again"
            )
            raise StatusError(409, "Conflict", message, name=name, group=resource.group, kind=resource.plural)
        new = copy.deepcopy(body)
        kept = ("uid", "creationTimestamp", "generation", "namespace", "name", "deletionTimestamp", "resourceVersion")
        new["metadata"] = dict(new.get("metadata") or {}) | {
            key: old["metadata"][key] for key in kept if key in old["metadata"]
        }
        new |= {"kind": resource.kind, "apiVersion": resource.api_version}
        if "status" in old:  # a subresource of its own; the main path does not write it
            new["status"] = old["status"]
        _default(resource, new)
        _validate(resource, new, old)
        if new == old:
            return old
        if new.get("spec") != old.get("spec") and "generation" in old["metadata"]:
            new["metadata"]["generation"] += 1
        self._objects[self._key(resource, namespace, name)] = new
        self.touch(new)
        return new

    def apply(self, resource: Resource, namespace: str, name: str, body: Object, manager: str, now: float) -> Object:
        """Apply a configuration server-side; who else owns a field is not looked at (Argo CD forces anyway)."""
        body.setdefault("metadata", {})["name"] = name
        key = self._key(resource, namespace, name)
        old = self._objects.get(key)
        if old is None:
            done = self.create(resource, namespace, copy.deepcopy(body), now)
        else:
            before = self._applied.get(key, {}).get(manager, {})
            done = self.replace(resource, namespace, name, merge(without(old, before, body), body, by_name=True))
        self._applied.setdefault(key, {})[manager] = body
        return done

    def remove(self, resource: Resource, namespace: str, name: str) -> Object:
        gone = self.get(resource, namespace, name)
        key = self._key(resource, namespace, name)
        del self._objects[key]
        self._applied.pop(key, None)
        self.private.pop(gone["metadata"]["uid"], None)
        self._version += 1
        for dependent in list(self._dependents(gone)):
            self.remove(*dependent)
        return gone

    def _dependents(self, gone: Object) -> Iterator[tuple[Resource, str, str]]:
        for key, item in list(self._objects.items()):
            plural, namespace, name = key.split("/", 2)
            owners = [owner["uid"] for owner in item["metadata"].get("ownerReferences", ())]
            inside = gone["kind"] == "Namespace" and namespace == gone["metadata"]["name"]
            if (gone["metadata"]["uid"] in owners or inside) and key in self._objects:
                yield RESOURCES[plural], namespace, name

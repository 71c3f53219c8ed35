"""What Argo CD keeps over a restart, and how it words the result of a sync."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sandbox.stand_ins.argocd_compare import Object


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class State:
    """Everything that survives a restart."""

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._path = folder / "state.json"
        kept = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.applications: dict[str, Object] = kept.get("applications", {})
        self.repositories: dict[str, dict[str, str]] = kept.get("repositories", {})
        self.clusters: dict[str, Object] = kept.get("clusters", {})
        self.private: dict[str, dict[str, Any]] = kept.get("private", {})
        self.effects: dict[str, int] = kept.get("effects", {})

    def save(self) -> None:
        names = ("applications", "repositories", "clusters", "private", "effects")
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({name: getattr(self, name) for name in names}))
        new.rename(self._path)

    def count(self, effect: str) -> None:
        self.effects[effect] = self.effects.get(effect, 0) + 1


def no_kind(item: Mapping[str, Any]) -> str:
    group, metadata = str(item["apiVersion"]).rpartition("/")[0], item["metadata"]
    kind = item["kind"]
    return (
        f"The Kubernetes API could not find {group}/{kind} for requested resource "
        f'{metadata.get("namespace", "")}/{metadata["name"]}. Make sure the "{kind}" CRD is installed on the '
        "destination cluster."
    )


def result_row(item: Object, status: str, message: str) -> Object:
    group, _, version = str(item["apiVersion"]).rpartition("/")
    metadata = item["metadata"]
    row: Object = {"group": group, "version": version, "kind": item["kind"], "namespace": metadata.get("namespace", "")}
    row |= {"name": metadata["name"], "status": status, "message": message, "syncPhase": "Sync"}
    return row | {"hookPhase": "Failed" if status == "SyncFailed" else "Running"}

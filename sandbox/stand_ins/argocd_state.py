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
        self._folder = folder
        self._written: dict[Path, str] = {}
        (folder / "applications").mkdir(parents=True, exist_ok=True)
        known = {path.stem: json.loads(path.read_text()) for path in sorted((folder / "applications").glob("*.json"))}
        self.applications: dict[str, Object] = {name: one["application"] for name, one in known.items()}
        self.private: dict[str, dict[str, Any]] = {name: one["private"] for name, one in known.items()}
        settings = folder / "settings.json"
        kept = json.loads(settings.read_text()) if settings.exists() else {}
        self.repositories: dict[str, dict[str, str]] = kept.get("repositories", {})
        self.clusters: dict[str, Object] = kept.get("clusters", {})
        self.effects: dict[str, int] = kept.get("effects", {})

    def save(self) -> None:
        """Keep everything but the applications."""
        self._write("settings.json", {name: getattr(self, name) for name in ("repositories", "clusters", "effects")})

    def save_application(self, name: str) -> None:
        """Keep an application, or forget one that was deleted."""
        if name in self.applications:
            kept = {"application": self.applications[name], "private": self.private[name]}
            self._write(f"applications/{name}.json", kept)
            return
        path = self._folder / "applications" / f"{name}.json"
        path.unlink(missing_ok=True)
        self._written.pop(path, None)

    def _write(self, name: str, value: Any) -> None:
        path, text = self._folder / name, json.dumps(value)
        if self._written.get(path) == text:
            return
        new = path.with_suffix(".new")
        new.write_text(text)
        new.rename(path)
        self._written[path] = text

    def count(self, effect: str) -> None:
        self.effects[effect] = self.effects.get(effect, 0) + 1
        self.save()


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

"""What the Harbor stand-in knows, in one JSON file beside the blobs: projects, artifacts, tags, rules, scans."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sandbox.stand_ins.harbor_scanner import SCANNER, scan, worst

Row = dict[str, Any]

NEVER = "0001-01-01T00:00:00.000Z"
"""Go's zero time, Harbor's word for "not yet"."""
PENDING_SECONDS = 0.15
SCAN_SECONDS = 0.6
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
PROJECT_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


class HarborError(Exception):
    """An error in Harbor's words; codes and statuses as in src/lib/http/error.go."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


def not_found(message: str) -> HarborError:
    return HarborError(404, "NOT_FOUND", message)


class Store:
    """All state; every change takes the lock and is on disk before it returns."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self.folder = folder
        self.clock = clock
        self.lock = threading.RLock()
        for name in ("blobs", "links", "uploads"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._path = folder / "harbor.json"
        empty: Row = {"last_id": 0, "projects": [], "repositories": [], "artifacts": [], "tags": [], "rules": []}
        self.state: Row = json.loads(self._path.read_text()) if self._path.exists() else empty
        self.effects: dict[str, int] = self.state.setdefault("effects", {})

    def _save(self) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self.state))
        temporary.replace(self._path)

    def _add(self, table: str, **row: Any) -> Row:
        self.state["last_id"] += 1
        new: Row = {"id": self.state["last_id"], **row}
        self.state[table].append(new)
        return new

    def _count(self, effect: str) -> None:
        self.effects[effect] = self.effects.get(effect, 0) + 1

    def _rows(self, table: str, **wanted: Any) -> Iterator[Row]:
        return (row for row in self.state[table] if all(row[key] == value for key, value in wanted.items()))

    def now(self) -> str:
        return stamp(self.clock())

    # Projects and rules

    def create_project(self, name: str, metadata: dict[str, str]) -> Row:
        if not PROJECT_NAME.fullmatch(name):
            message = "bad request: project name is not in lower case or contains illegal characters"
            raise HarborError(400, "BAD_REQUEST", message)
        with self.lock:
            if next(self._rows("projects", name=name), None):
                raise HarborError(409, "CONFLICT", f"The project named {name} already exists")
            project = self._add("projects", name=name, metadata={"public": "false"} | metadata, created=self.now())
            self._save()
            return project

    def projects(self) -> list[Row]:
        return list(self.state["projects"])

    def project(self, name_or_id: str) -> Row:
        wanted: Row = {"id": int(name_or_id)} if name_or_id.isdigit() else {"name": name_or_id}
        project = next(self._rows("projects", **wanted), None)
        if project is None:
            raise not_found(f"project {name_or_id} not found")
        return project

    def add_rule(self, project: Row, rule: Row) -> Row:
        with self.lock:
            if any(row["rule"] == rule for row in self._rows("rules", project_id=project["id"])):
                raise HarborError(409, "CONFLICT", "immutable rule already exists")
            added = self._add("rules", project_id=project["id"], rule=rule)
            self._save()
            return added

    def rules(self, project: Row) -> list[Row]:
        # A new rule is always enabled, whatever was sent (src/pkg/immutable/dao/dao.go).
        rows = self._rows("rules", project_id=project["id"])
        return [row["rule"] | {"id": row["id"], "disabled": False} for row in rows]

    def immutable(self, project: Row, repository: str, tag: str) -> bool:
        """Only the first selector of each kind counts (src/pkg/immutable/match/rule/match.go)."""
        for rule in self.rules(project):
            repositories = rule.get("scope_selectors", {}).get("repository", [])
            tags = rule.get("tag_selectors", [])
            if repositories and tags and _selects(repositories[0], repository) and _selects(tags[0], tag):
                return True
        return False

    # Repositories, artifacts, tags; `name` is "<project>/<repository>"

    def repositories(self, project: Row) -> list[Row]:
        found = [row for row in self.state["repositories"] if row["project_id"] == project["id"]]
        return [row | {"artifact_count": len(list(self._rows("artifacts", repository_id=row["id"])))} for row in found]

    def repository(self, name: str) -> Row:
        found = next(self._rows("repositories", name=name), None)
        if found is None:
            raise not_found(f"repository {name} not found")
        return found

    def artifacts(self, name: str) -> list[Row]:
        """Newest first; an unknown repository has none."""
        return sorted(self._rows("artifacts", name=name), key=lambda row: -row["id"])

    def artifact(self, name: str, reference: str) -> Row:
        if DIGEST.fullmatch(reference):
            found = next(self._rows("artifacts", name=name, digest=reference), None)
            if found is None:
                raise not_found(f"artifact {name}@{reference} not found")
            return found
        tag = next(self._rows("tags", repository_id=self.repository(name)["id"], name=reference), None)
        if tag is None:
            raise not_found(f"artifact {name}:{reference} not found")
        return next(self._rows("artifacts", id=tag["artifact_id"]))

    def tags(self, artifact: Row) -> list[Row]:
        return list(self._rows("tags", artifact_id=artifact["id"]))

    def tag_names(self, name: str) -> list[str]:
        return sorted(row["name"] for row in self._rows("tags", repository_id=self.repository(name)["id"]))

    def create_tag(self, artifact: Row, tag: str) -> None:
        if not TAG.fullmatch(tag):
            raise HarborError(400, "BAD_REQUEST", f"bad request: invalid tag name: {tag}")
        with self.lock:
            repository = artifact["repository_id"]
            if next(self._rows("tags", repository_id=repository, name=tag), None):
                raise HarborError(409, "CONFLICT", f"tag {tag} already exists under the repository {repository}")
            self._add("tags", repository_id=repository, artifact_id=artifact["id"], name=tag, pushed=self.now())
            self._count("tags")
            self._save()

    def delete_tag(self, artifact: Row, tag: str) -> None:
        with self.lock:
            found = next(self._rows("tags", artifact_id=artifact["id"], name=tag), None)
            if found is None:
                raise not_found(f"tag {tag} attached to artifact {artifact['id']} not found")
            if self.is_immutable(artifact, tag):
                message = f"the tag {tag} configured as immutable, cannot be deleted"
                raise HarborError(412, "PRECONDITION", message)
            self.state["tags"].remove(found)
            self._count("tags deleted")
            self._save()

    def is_immutable(self, artifact: Row, tag: str) -> bool:
        project = next(self._rows("projects", id=artifact["project_id"]))
        return self.immutable(project, artifact["name"].partition("/")[2], tag)

    def push(self, name: str, tag: str | None, manifest: bytes, media_type: str) -> Row:
        """Take a manifest whose blobs are here; an immutable tag that exists is refused, even for the same digest."""
        project_name, _, repository_name = name.partition("/")
        with self.lock:
            project = self.project(project_name)
            repository = next(self._rows("repositories", name=name), None)
            existing = tag and repository and next(self._rows("tags", repository_id=repository["id"], name=tag), None)
            if tag and existing and self.immutable(project, repository_name, tag):
                message = f"Failed to process request due to '{repository_name}:{tag}' configured as immutable."
                raise HarborError(412, "PRECONDITION", message)
            digest = self.put_blob(name, manifest)
            repository = repository or self._add(
                "repositories", project_id=project["id"], name=name, created=self.now()
            )
            artifact = next(self._rows("artifacts", name=name, digest=digest), None)
            if artifact is None:
                artifact = self._add(
                    "artifacts", name=name, project_id=project["id"], repository_id=repository["id"], digest=digest,
                    manifest_media_type=media_type, pushed=self.now(), pulled=NEVER, scan=None,
                    **self._description(manifest),
                )  # fmt: skip
                self._count("images")
            if tag and existing and isinstance(existing, dict):
                existing |= {"artifact_id": artifact["id"], "pushed": self.now()}
            elif tag:
                self._add(
                    "tags", repository_id=repository["id"], artifact_id=artifact["id"], name=tag, pushed=self.now()
                )
            if project["metadata"].get("auto_scan") == "true" and self.scan_status(artifact) not in (
                "Pending",
                "Running",
            ):
                self._begin_scan(artifact)
            self._save()
            return artifact

    def _description(self, manifest: bytes) -> Row:
        """Return what Harbor takes from an image's config (src/controller/artifact/processor/image/manifest_v2.go)."""
        parsed = json.loads(manifest)
        parts = [parsed["config"], *parsed["layers"]] if "config" in parsed else parsed.get("manifests", [])
        config = json.loads(self.blob_path(parsed["config"]["digest"]).read_bytes()) if "config" in parsed else {}
        return {
            "media_type": parsed.get("config", {}).get("mediaType", parsed.get("mediaType", "")),
            "size": len(manifest) + sum(part["size"] for part in parts),
            "annotations": parsed.get("annotations"),
            "layers": [layer["digest"] for layer in parsed.get("layers", [])],
            "extra_attrs": {
                "architecture": config.get("architecture", ""),
                "author": config.get("author", ""),
                "config": config.get("config", {}),
                "created": config.get("created"),
                "os": config.get("os", ""),
            },
        }

    def pulled(self, artifact: Row) -> None:
        with self.lock:
            artifact["pulled"] = self.now()
            self._save()

    # Blobs: one file each, linked to the repositories that may read them

    def blob_path(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.removeprefix("sha256:")

    def _link(self, name: str, digest: str) -> Path:
        return self.folder / "links" / quote(name, safe="") / digest.removeprefix("sha256:")

    def has_blob(self, name: str, digest: str) -> bool:
        return bool(DIGEST.fullmatch(digest)) and self._link(name, digest).exists()

    def put_blob(self, name: str, content: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        path = self.blob_path(digest)
        if not path.exists():
            temporary = self.folder / "uploads" / f"{uuid.uuid4()}.blob"
            temporary.write_bytes(content)
            temporary.replace(path)
        self.link_blob(name, digest)
        return digest

    def link_blob(self, name: str, digest: str) -> None:
        link = self._link(name, digest)
        link.parent.mkdir(exist_ok=True)
        link.touch()

    # Scans: what they find is decided when they begin, what they show follows the clock

    def start_scan(self, artifact: Row) -> None:
        with self.lock:
            status = self.scan_status(artifact)
            if status in ("Pending", "Running"):
                raise HarborError(409, "CONFLICT", f"a previous scan process is {status}")
            self._begin_scan(artifact)
            self._save()

    def _begin_scan(self, artifact: Row) -> None:
        end, found = scan((self.blob_path(digest) for digest in artifact["layers"]), artifact["digest"])
        self._count("scans")
        artifact["scan"] = {
            "report_id": str(uuid.uuid4()),
            "began": self.clock(),
            "end": end,
            "found": found,
        }

    def scan_status(self, artifact: Row) -> str | None:
        scan = artifact["scan"]
        if scan is None:
            return None
        age = self.clock() - scan["began"]
        return "Pending" if age < PENDING_SECONDS else "Running" if age < SCAN_SECONDS else str(scan["end"])

    def scan_summary(self, artifact: Row) -> Row | None:
        """As Harbor's GenerateNativeSummary: without success there is no severity and no summary."""
        status, scan = self.scan_status(artifact), artifact["scan"]
        if status is None:
            return None
        ended = status in ("Success", "Error")
        summary: Row = {
            "report_id": scan["report_id"],
            "scan_status": status,
            "start_time": stamp(scan["began"]),
            "end_time": stamp(scan["began"] + SCAN_SECONDS) if ended else NEVER,
        }
        if status != "Success":
            return summary
        counts: dict[str, int] = {}
        for item in scan["found"]:
            counts[item["severity"]] = counts.get(item["severity"], 0) + 1
        fixable = sum(1 for item in scan["found"] if item["fix_version"])
        return summary | {
            "severity": worst(scan["found"]),
            "duration": 1,
            "complete_percent": 100,
            "scanner": SCANNER,
            "summary": {"total": len(scan["found"]), "fixable": fixable, "summary": counts},
        }

    def scan_report(self, artifact: Row) -> Row | None:
        if self.scan_status(artifact) != "Success":
            return None
        scan = artifact["scan"]
        return {
            "generated_at": stamp(scan["began"] + SCAN_SECONDS),
            "scanner": SCANNER,
            "severity": worst(scan["found"]),
            "vulnerabilities": scan["found"],
        }


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _selects(selector: Row, value: str) -> bool:
    matched = doublestar(selector["pattern"], value)
    return not matched if selector["decoration"].lower().endswith("excludes") else matched


def doublestar(pattern: str, value: str) -> bool:
    """Match as bmatcuk/doublestar does: `*` and `?` stop at a slash, `**` does not, `{a,b}` and `[a-f]` work."""
    parts = re.findall(r"\*\*/?|\*|\?|\[[!^]?[^\]]+\]|\\.|[{},]|.", pattern)
    depth = 0
    regex = ""
    for part in parts:
        if part == "{":
            depth += 1
            regex += "(?:"
        elif part == "}" and depth:
            depth -= 1
            regex += ")"
        elif part == "," and depth:
            regex += "|"
        elif part.startswith("[") and len(part) > 1:
            inner = part[1:-1]
            regex += "[^" + inner[1:] + "]" if inner[0] in "!^" else "[" + inner + "]"
        else:
            special = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
            regex += special.get(part) or re.escape(part.removeprefix("\\") or part)
    return not pattern or re.fullmatch(regex, value) is not None

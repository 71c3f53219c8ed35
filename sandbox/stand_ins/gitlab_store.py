"""What the GitLab stand-in knows, in one JSON file, and the push webhooks it still owes."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from sandbox.stand_ins.gitlab_git import NO_COMMIT, BareRepository

Row = dict[str, Any]

VERSION = "19.0.0"
DELIVERY_SECONDS = 10.0
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between the tries of one webhook; after the last it is dropped."""
NEWEST_COMMITS = 20

TABLES = (
    "effects", "tokens", "groups", "projects", "hooks", "statuses", "environments", "deployments", "merge_requests",
    "deliveries", "reported",
)  # fmt: skip

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the instance."""

    id: int
    username: str
    admin: bool

    @property
    def name(self) -> str:
        return self.username.capitalize()

    @property
    def email(self) -> str:
        return f"{self.username}@example.com"


@dataclass(frozen=True, slots=True)
class Token:
    """A personal access token.

    :param expires_at: the day at whose beginning it ends.
    """

    id: int
    person: Person
    name: str
    scopes: tuple[str, ...]
    expires_at: str | None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC).date().isoformat()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """Tables of plain rows; every change is written before it is answered."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gitlab.json"
        self._lock = threading.RLock()
        self._repository_locks: defaultdict[int, threading.RLock] = defaultdict(threading.RLock)
        self.repositories = folder / "repositories"
        self.repositories.mkdir(parents=True, exist_ok=True)
        kept: Row = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._ids: dict[str, int] = kept.get("ids", {})
        self.effects: dict[str, int] = kept.get("effects", {})
        self.tokens: list[Row] = kept.get("tokens", [])
        self.groups: list[Row] = kept.get("groups", [])
        self.projects: list[Row] = kept.get("projects", [])
        self.hooks: list[Row] = kept.get("hooks", [])
        self.statuses: list[Row] = kept.get("statuses", [])
        self.environments: list[Row] = kept.get("environments", [])
        self.deployments: list[Row] = kept.get("deployments", [])
        self.merge_requests: list[Row] = kept.get("merge_requests", [])
        self.deliveries: list[Row] = kept.get("deliveries", [])
        self.reported: dict[str, dict[str, str]] = kept.get("reported", {})
        """Branches of each project as the webhooks last told them."""

    @contextmanager
    def change(self, effect: str = "") -> Iterator[None]:
        """Hold the lock, then write everything down."""
        with self._lock:
            yield
            if effect:
                self.effects[effect] = self.effects.get(effect, 0) + 1
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps({"ids": self._ids} | {name: getattr(self, name) for name in TABLES}))
            fresh.replace(self._path)

    def next_id(self, kind: str) -> int:
        self._ids[kind] = self._ids.get(kind, 0) + 1
        return self._ids[kind]

    def hold(self, project: Row) -> threading.RLock:
        """Return the lock under which a project's branches change."""
        with self._lock:
            return self._repository_locks[project["id"]]

    def repository(self, project: Row) -> BareRepository:
        return BareRepository(self.repositories / f"{project['path_with_namespace']}.git")

    def project(self, reference: str) -> Row | None:
        """Find a project by its number or its path; paths differ in more than case."""
        if reference.isdigit():
            return next((one for one in self.projects if one["id"] == int(reference)), None)
        wanted = reference.lower()
        return next((one for one in self.projects if one["path_with_namespace"].lower() == wanted), None)


def send(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Post a webhook and return the status of the answer."""
    return httpx.post(url, content=body, headers=dict(headers), timeout=DELIVERY_SECONDS, trust_env=False).status_code


Send = Callable[[str, bytes, Mapping[str, str]], int]


class PushEvents:
    """Tells the webhooks of a project which branches have moved.

    What was told is kept: a branch that moved just before a crash is told after the restart.
    """

    def __init__(self, store: Store, address: str, send: Send) -> None:
        self._store = store
        self._address = address
        self._send = send

    def resume(self, person: Person) -> None:
        """Take up what an earlier process left.

        :param person: named as the pusher where the real one was lost with that process.
        """
        for delivery in list(self._store.deliveries):
            self._start(delivery)
        for project in self._store.projects:
            with self._store.hold(project):
                self.tell(project, person)

    def tell(self, project: Row, person: Person) -> None:
        """Report every branch that differs from what was last told; the caller holds the project."""
        repository = self._store.repository(project)
        heads = repository.heads()
        told = self._store.reported.get(str(project["id"]), {})
        moved = [ref for ref in sorted(heads.keys() | told.keys()) if heads.get(ref) != told.get(ref)]
        if not moved:
            return
        repository.choose_default_branch(heads)
        hooks = [one for one in self._store.hooks if one["project_id"] == project["id"] and one["push_events"]]
        deliveries = []
        for ref in moved:
            before, after = told.get(ref, NO_COMMIT), heads.get(ref, NO_COMMIT)
            body = self._body(project, repository, person, ref, before, after) if hooks else {}
            deliveries += [{"key": str(uuid.uuid4()), "hook": hook["id"], "body": body} for hook in hooks]
        with self._store.change():
            self._store.effects["pushes"] = self._store.effects.get("pushes", 0) + len(moved)
            self._store.reported[str(project["id"])] = heads
            self._store.deliveries += deliveries
        for delivery in deliveries:
            self._start(delivery)

    def _body(self, project: Row, repository: BareRepository, person: Person, ref: str, before: str, after: str) -> Row:
        """Build the event; fields as in lib/gitlab/data_builder/push.rb."""
        web_url = f"{self._address}/{project['path_with_namespace']}"
        about = {
            "id": project["id"],
            "name": project["name"],
            "description": None,
            "web_url": web_url,
            "avatar_url": None,
            "git_ssh_url": f"git@gitlab.example.com:{project['path_with_namespace']}.git",
            "git_http_url": f"{web_url}.git",
            "namespace": project["path_with_namespace"].rpartition("/")[0],
            "visibility_level": 0,
            "path_with_namespace": project["path_with_namespace"],
            "default_branch": repository.default_branch(),
            "ci_config_path": None,
        }
        commits, total = repository.pushed(ref, before, after, NEWEST_COMMITS)
        return {
            "object_kind": "push",
            "event_name": "push",
            "before": before,
            "after": after,
            "ref": ref,
            "ref_protected": False,
            "checkout_sha": None if after == NO_COMMIT else after,
            "message": None,
            "user_id": person.id,
            "user_name": person.name,
            "user_username": person.username,
            "user_email": person.email,
            "user_avatar": None,
            "project_id": project["id"],
            "project": about,
            "commits": [one | {"url": f"{web_url}/-/commit/{one['id']}"} for one in commits],
            "total_commits_count": total,
            "push_options": {},
            "repository": {
                "name": project["name"],
                "url": about["git_ssh_url"],
                "description": None,
                "homepage": web_url,
                "git_http_url": about["git_http_url"],
                "git_ssh_url": about["git_ssh_url"],
                "visibility_level": 0,
            },
        }

    def _start(self, delivery: Row) -> None:
        threading.Thread(target=self._deliver, args=(copy.deepcopy(delivery),), daemon=True).start()

    def _deliver(self, delivery: Row) -> None:
        hook = next((one for one in self._store.hooks if one["id"] == delivery["hook"]), None)
        for pause in (*PAUSES, None):
            if hook is None or self._arrived(hook, delivery):
                break
            if pause is None:
                log.warning("Webhook %s got no answer; event %s is dropped.", hook["url"], delivery["key"])
                break
            time.sleep(pause)
        with self._store.change():
            self._store.deliveries[:] = [one for one in self._store.deliveries if one["key"] != delivery["key"]]

    def _arrived(self, hook: Row, delivery: Row) -> bool:
        """Send once; anything below 500 is an answer. Every try of an event has its id, and a stamp of its own."""
        body, stamp = json.dumps(delivery["body"]).encode(), f"{time.time():.0f}"
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"GitLab/{VERSION}",
            "Idempotency-Key": delivery["key"],
            "webhook-id": delivery["key"],
            "webhook-timestamp": stamp,
            "X-Gitlab-Event": "Push Hook",
            "X-Gitlab-Event-UUID": str(uuid.uuid4()),
            "X-Gitlab-Webhook-UUID": str(uuid.uuid4()),
            "X-Gitlab-Instance": self._address,
        }
        if hook["token"]:
            headers["X-Gitlab-Token"] = hook["token"]
        if signing_token := hook.get("signing_token"):
            key = base64.b64decode(signing_token.removeprefix("whsec_"))
            digest = hmac.digest(key, f"{delivery['key']}.{stamp}.".encode() + body, hashlib.sha256)
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        try:
            return self._send(hook["url"], body, headers) < 500
        except (httpx.HTTPError, httpx.InvalidURL):
            return False

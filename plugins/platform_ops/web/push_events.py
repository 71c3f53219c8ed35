"""The rule that decides which releases a push to GitLab starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from platform_ops.common.errors import Invalid
from platform_ops.delivery.names import derived_run_id

AUTOMATIC = ("dev", "rc")
"""A push starts only these; production is started by a person."""

LONGEST_USER = 64
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NOTHING = "0" * 40


class MappedService(Protocol):
    """What the rule reads of a service."""

    @property
    def name(self) -> str:
        """Return the catalogue's name."""
        ...

    @property
    def branches(self) -> Mapping[str, str]:
        """Return the branch of each environment."""
        ...


@dataclass(frozen=True, slots=True)
class StartRun:
    """A release to start; the same push always gives the same run id."""

    run_id: str
    conf: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nobody's release."""

    reason: str


class BadEvent(Invalid):
    """A push of a project of ours that does not say what a push must.

    :param field: the part of the event that is wrong.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def decide(
    event: Mapping[str, Any], services: Callable[[str], Iterable[MappedService]]
) -> tuple[StartRun, ...] | Ignored:
    """Decide what a push event starts: one run for each service and environment its branch stands for.

    :param services: the services built from a project path (``group/name``).
    :raises BadEvent: the event concerns us and is not in order.
    """
    if event.get("object_kind") != "push":
        return Ignored("only pushes to branches start releases")
    project = event.get("project")
    path = project.get("path_with_namespace") if isinstance(project, dict) else None
    if not isinstance(path, str):
        raise BadEvent("project.path_with_namespace", "must be the path of the project")
    built_here = tuple(services(path))
    if not built_here:
        return Ignored("no service is built from this project")
    branch = _branch(event)
    targets = [
        (service.name, environment)
        for service in built_here
        for environment in AUTOMATIC
        if service.branches.get(environment) == branch
    ]
    if not targets:
        return Ignored("no service releases this branch on a push")
    commit = event.get("after")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise BadEvent("after", "must be the full hash of a commit: 40 hexadecimal digits in lower case")
    if commit == _NOTHING:
        return Ignored("the branch was deleted")
    reason = f"push by {_user(event)} to {branch}"
    return tuple(
        StartRun(
            run_id=derived_run_id(name, environment, commit),
            conf={"service": name, "environment": environment, "commit": commit, "reason": reason},
        )
        for name, environment in targets
    )


def _branch(event: Mapping[str, Any]) -> str:
    ref = event.get("ref")
    if not isinstance(ref, str):
        raise BadEvent("ref", "must be the full name of a branch")
    return ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""


def _user(event: Mapping[str, Any]) -> str:
    name = event.get("user_username")
    return re.sub(r"[^A-Za-z0-9_.-]", "", name)[:LONGEST_USER] or "unknown" if isinstance(name, str) else "unknown"

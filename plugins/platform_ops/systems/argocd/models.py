"""What the Argo CD room returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

RUN_INFO = "platform-ops/run"
"""Name of the info that marks an operation as a run's."""


@dataclass(frozen=True, slots=True)
class Operation:
    """The operation that is going on.

    :param revision: what it was asked to sync to.
    :param infos: names and values that its starter gave it.
    """

    revision: str
    automated: bool
    infos: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OperationState:
    """How far the going, or the last, operation has come.

    Times have a resolution of one second: two operations can't be told apart by them.

    :param phase: Running, Terminating, Succeeded, Failed or Error.
    :param revision: of the sync's result; empty when it got nowhere.
    :param requested: what it was asked to sync to.
    :param failed: ``kind name: message`` of each refused resource.
    :param left: resources that git no longer has and that were not removed.
    :param retries: how often Argo CD tried again by itself.
    """

    phase: str
    revision: str
    requested: str
    message: str
    automated: bool
    infos: Mapping[str, str]
    started_at: str | None
    finished_at: str | None
    failed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    retries: int = 0
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Application:
    """An application as Argo CD shows it; without a refresh this may be old.

    :param automated: Argo CD syncs it by itself.
    :param sync_revision: what was compared; the branch's name instead of a hash when the manifests can't be rendered.
    :param operation: the one that is going on.
    :param last: its state, or that of the last one; Argo CD has none right after a sync was asked for.
    :param conditions: ``type: message``.
    """

    name: str
    automated: bool
    sync_status: str
    sync_revision: str
    health: str
    health_message: str
    operation: Operation | None
    last: OperationState | None
    conditions: tuple[str, ...]
    images: tuple[str, ...]
    target_revision: str
    url: str
    project: str = "default"

"""A sync of one application to one revision, followed until git, operation and comparison agree on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from platform_ops.common.remote_work import Handle, Probe
from platform_ops.common.report import Link, StepReport
from platform_ops.systems.argocd.errors import OperationInProgress, SyncFailed, SyncUnsettled
from platform_ops.systems.argocd.hook import ArgoCDHook
from platform_ops.systems.argocd.models import RUN_INFO, Application, Operation, OperationState

COMMIT = re.compile(r"[0-9a-f]{40}")
BAD_PHASES = frozenset({"Failed", "Error"})
ERROR_SECONDS = 10.0
"""How long Argo CD may fail to compare before we believe that it will not pass."""


def _now() -> datetime:
    return datetime.now(UTC)


class ApplicationSync:
    """Brings an application to a revision: starts the sync of a manual one, follows that of an automated one.

    The health is reported but not waited for: it says nothing about which image the pods run.

    :param marker: names the attempt; an operation that carries it is ours.
    :param clock: the time now, with its zone.
    """

    def __init__(
        self,
        *,
        application: str,
        revision: str,
        marker: str,
        argocd_conn_id: str = ArgoCDHook.default_conn_name,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.application = application
        self.revision = revision
        self.marker = marker
        self.argocd_conn_id = argocd_conn_id
        self._clock = clock

    @cached_property
    def hook(self) -> ArgoCDHook:
        """Return the hook."""
        return ArgoCDHook(self.argocd_conn_id)

    def accepts(self, revision: str) -> bool:
        """Say whether an application at this commit has what we want; subclasses know of descendants."""
        return revision == self.revision

    def _accepts(self, revision: str) -> bool:
        # A branch's name stands where the manifests could not be rendered.
        return bool(COMMIT.fullmatch(revision)) and self.accepts(revision)

    def _settled(self, app: Application) -> bool:
        """Say whether the last operation brought an accepted revision and the comparison has seen it.

        Right after an operation the old comparison still stands as Synced and Healthy, so both revisions count.
        """
        last = app.last
        if app.operation or last is None or last.phase != "Succeeded" or last.dry_run:
            return False
        return self._accepts(last.revision) and self._accepts(app.sync_revision)

    def _is_ours(self, operation: Operation | OperationState) -> bool:
        return operation.infos.get(RUN_INFO) == self.marker

    def _wants(self, operation: Operation | OperationState) -> bool:
        asked = operation.revision if isinstance(operation, Operation) else operation.revision or operation.requested
        return self._is_ours(operation) or self._accepts(asked)

    def find(self) -> Handle | None:
        """Join what is going on or has succeeded, or the end of our own attempt.

        A bad end of another attempt is not joined; then, or when nothing is going on, the sync is to be started.
        An automated application is left to Argo CD, unless it gave up on our revision.
        """
        app = self.hook.application(self.application, refresh=True)
        last = app.last
        if app.operation:
            return {"started": self._wants(app.operation)}
        if self._settled(app) or (last and self._is_ours(last)):
            return {"started": True}
        gave_up = last is not None and last.phase in BAD_PHASES and self._wants(last)
        if app.automated and not gave_up:
            return {"started": True}
        return None

    def start(self) -> Handle:
        """Ask for the sync; when another operation is faster, the next looks wait for its end."""
        return {"started": self._ask(self.hook.application(self.application))}

    def _ask(self, app: Application) -> bool:
        # Argo CD refuses a commit for an automated application, even the head of its branch.
        revision = app.target_revision if app.automated else self.revision
        try:
            self.hook.sync(self.application, revision, marker=self.marker)
        except OperationInProgress:
            return False
        return True

    def probe(self, handle: Handle) -> Probe:
        """Look once, and ask for the sync when another's operation has made room."""
        app = self.hook.application(self.application)
        if app.operation:
            return self._watch_operation(app, app.operation, handle)
        if self._settled(app) and app.sync_status == "Synced":
            return Probe("ended", f"{self.application} is synced", handle)
        if not handle["started"] and not app.automated:
            return Probe("queued", f"{self.application}: asking for the sync", handle | {"started": self._ask(app)})
        if self._failed(app):
            return Probe("ended", f"the sync of {self.application} failed", handle)
        return self._look_again(self.hook.application(self.application, refresh=True), handle)

    def _watch_operation(self, app: Application, operation: Operation, handle: Handle) -> Probe:
        last = app.last
        if self._wants(operation):
            said = last.message if last and last.message else "running"
            return Probe("running", f"sync of {self.application}: {said}", handle | {"started": True})
        # An automated operation tries an old commit again and again for minutes, although git has a newer one.
        retrying = operation.automated and last is not None and last.phase == "Running" and last.retries > 0
        if retrying and not handle.get("terminated") and self._accepts(app.sync_revision):
            self.hook.terminate(self.application)
            return Probe("running", f"ended the retries of {operation.revision[:12]}", handle | {"terminated": True})
        detail = f"{self.application} is busy with a sync to {operation.revision[:12]}"
        return Probe("running" if app.automated else "queued", detail, handle)

    def _look_again(self, app: Application, handle: Handle) -> Probe:
        """Judge a fresh comparison."""
        if app.operation:
            return self._watch_operation(app, app.operation, handle)
        if self._settled(app) or self._failed(app):
            return Probe("ended", f"{self.application} is {app.sync_status}", handle)
        if _comparison_errors(app):
            now = self._clock()
            since = handle.get("error_since") or now.isoformat()
            lasts = now - datetime.fromisoformat(since) >= timedelta(seconds=ERROR_SECONDS)
            detail = f"Argo CD cannot compare {self.application}"
            return Probe("ended" if lasts else "running", detail, handle | {"error_since": since})
        handle = {key: value for key, value in handle.items() if key != "error_since"}
        if app.automated and app.sync_status == "Synced" and self._accepts(app.sync_revision):
            # The commit changes nothing in the cluster, so Argo CD will start nothing that would carry its revision.
            return Probe("running", f"{self.application}: asking for the sync", handle | {"started": self._ask(app)})
        shown = app.sync_revision[:12] or "nothing"
        return Probe("running", f"{self.application} is {app.sync_status or 'not compared'} at {shown}", handle)

    def _failed(self, app: Application) -> bool:
        last = app.last
        return not app.operation and last is not None and last.phase in BAD_PHASES and self._wants(last)

    def judge(self, handle: Handle) -> StepReport:  # noqa: ARG002
        """Report the sync, or raise how it failed.

        :raises SyncFailed: the operation failed, or git's state can't be rendered.
        :raises SyncUnsettled: the application changed since the last look.
        """
        app = self.hook.application(self.application)
        facts = self._facts(app)
        if self._settled(app):
            return StepReport(self._summary(app), facts=facts)
        last = app.last
        if last and self._failed(app):
            resources = f" Refused: {'; '.join(last.failed)}." if last.failed else ""
            message = f"Argo CD could not sync {self.application} to {self.revision[:12]}: {last.message}.{resources}"
            raise SyncFailed(
                f"{message} Correct the manifests in the GitOps repository, or the cluster, and start again.",
                facts=facts | {"failed": list(last.failed)},
            )
        errors = _comparison_errors(app)
        if errors:
            message = f"Argo CD cannot compare {self.application} with git: {' / '.join(errors)}."
            raise SyncFailed(f"{message} Correct the commit in the GitOps repository and start again.", facts=facts)
        raise SyncUnsettled(
            f"{self.application} changed while its sync was judged; it is looked at again.", facts=facts
        )

    def _summary(self, app: Application) -> str:
        text = f"Argo CD synced {self.application} to {app.sync_revision[:12]}."
        if app.last and app.last.left:
            left = ", ".join(app.last.left)
            return (
                f"{text} Still in the cluster, though no longer in git: {left}; remove them by hand or allow pruning."
            )
        if app.sync_status != "Synced":
            return f"{text} Something else changes its objects: Argo CD shows {app.sync_status}."
        return text

    def _facts(self, app: Application) -> dict[str, Any]:
        return {
            "application": self.application,
            "revision": app.sync_revision,
            "sync_status": app.sync_status,
            "health": app.health,
            "phase": app.last.phase if app.last else None,
            "automated": app.automated,
        }

    def cancel(self, handle: Handle) -> None:  # noqa: ARG002
        """End the operation if it is ours; another's is left alone."""
        running = self.hook.application(self.application).operation
        if running and self._is_ours(running):
            self.hook.terminate(self.application)

    def link(self, handle: Handle) -> Link | None:  # noqa: ARG002
        """Return the application's page."""
        return Link(f"Argo CD: {self.application}", self.hook.application_url(self.application))


def _comparison_errors(app: Application) -> list[str]:
    return [text for text in app.conditions if text.startswith(("ComparisonError", "InvalidSpecError"))]

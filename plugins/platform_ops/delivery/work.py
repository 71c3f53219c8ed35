"""Remote work of a release that knows more than one system: the sync of a pinned digest, and its healthy pods."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from platform_ops.common.errors import Refused, Superseded
from platform_ops.common.remote_work import Handle, Probe
from platform_ops.common.report import Link, StepReport
from platform_ops.delivery.pins import Pin, is_commit, read_pin
from platform_ops.delivery.services import Environment, Service, Target, load_service
from platform_ops.delivery.source import open_source
from platform_ops.delivery.standing import Standing
from platform_ops.systems.argocd.hook import ArgoCDHook
from platform_ops.systems.argocd.models import Application
from platform_ops.systems.argocd.work import ApplicationSync
from platform_ops.systems.git.hook import GitHook, Repository
from platform_ops.systems.gitlab.hook import GitLabHook
from platform_ops.systems.kubernetes.errors import RolloutUnsettled
from platform_ops.systems.kubernetes.work import DigestRollout

EARLIER = 200
"""Commits before ours that are told apart without asking git again: the application usually shows one of them."""


class PinReplaced(Refused):
    """GitOps pins something else meanwhile, and it is not newer than our commit."""


class NotOurPin(Refused):
    """What the run takes for its GitOps commit is none of the branch's commits."""


class GitOpsLine:
    """The GitOps commits that hold our digest, from the one that pinned it.

    What a commit holds never changes, so each is read once; what the branch's head is, is asked each time.

    :param pin: ours.
    :param revision: the commit that pinned it.
    """

    def __init__(self, service: Service, environment: str, pin: Pin, revision: str) -> None:
        self._service = service
        self._environment = environment
        self._path = service.pin_file(environment)
        self._pin = pin
        self._revision = revision
        self._known: dict[str, bool] = {}

    @cached_property
    def _gitops(self) -> GitHook:
        return GitHook(self._service.gitops_connection)

    def holds(self, revision: str) -> bool:
        """Say whether a commit is ours or a descendant that keeps our digest; earlier commits don't hold it.

        :raises Superseded: a descendant pins a newer commit's digest.
        :raises PinReplaced: a descendant pins something else.
        """
        if revision not in self._known:
            self._known[revision] = self._look(revision)
        return self._known[revision]

    def _look(self, revision: str) -> bool:
        with self._gitops.repository() as repository:
            self._learn(repository)
            if revision in self._known:
                return self._known[revision]
            repository.fetch_commit(revision)
            if not repository.is_ancestor(self._revision, revision):
                return False
            self._compare(repository.read(revision, self._path))
        return True

    def require(self) -> None:
        """Require that our commit is on the branch and pins our digest, and that the head still does.

        :raises NotOurPin: the commit is not on the branch.
        :raises Superseded: a newer commit is pinned.
        :raises PinReplaced: something else is pinned.
        """
        with self._gitops.repository() as repository:
            if not (self._known and self._known.get(repository.head(self._service.gitops_branch))):
                self._learn(repository)

    def _learn(self, repository: Repository) -> None:
        """Require what ``require`` does of the branch as it is now, and keep what its commits hold."""
        branch, ours = self._service.gitops_branch, self._revision
        head = repository.fetch_branch(branch)
        if not is_commit(ours) or not repository.has(ours) or not repository.is_ancestor(ours, head):
            raise NotOurPin(
                f"{ours[:60]!r} is no commit of branch {branch} of the GitOps repository. "
                "Clear pin_image, which finds the right one."
            )
        for revision in dict.fromkeys((head, ours)):
            self._compare(repository.read(revision, self._path))
            self._known[revision] = True
        if head != ours and not repository.is_changed(self._path, ours, head):
            self._known |= dict.fromkeys((one.sha for one in repository.commits_between(ours, head)), True)
        self._known |= dict.fromkeys((one.sha for one in repository.newest(ours, EARLIER)[1:]), False)

    def _compare(self, text: str) -> None:
        found = read_pin(text, self._service.image_name, self._path)
        if found and found.digest == self._pin.digest:
            return
        now = f"{found.commit[:12]} at {found.digest[:19]}" if found else "nothing"
        facts = {"pinned": {"commit": found.commit, "digest": found.digest}} if found else {}
        gitlab = GitLabHook(self._service.gitlab_connection)
        with open_source(self._service, self._environment, gitlab) as source:
            stand = source.standing(found, self._pin.commit)
        newer = stand is Standing.BEHIND or (stand is Standing.APART and self._environment == Environment.DEV)
        if newer:
            raise Superseded(f"{self._path} pins {now} meanwhile, which is newer. Nothing is left to do.", facts=facts)
        raise PinReplaced(
            f"{self._path} pins {now} instead of {self._pin.commit[:12]}: somebody went back or changed it by hand. "
            "Ask who changed the GitOps repository before you start again.",
            facts=facts,
        )


class PinnedSync(ApplicationSync):
    """The sync of an application to the commit that pinned our digest, or to a later one that keeps it.

    :param commit: of the source; what the GitOps commit ``revision`` pins, with ``digest``.
    """

    def __init__(self, *, service: str, environment: str, commit: str, digest: str, revision: str, marker: str) -> None:
        entry = load_service(service)
        target = entry.targets[environment]
        super().__init__(application=target.application, revision=revision, marker=marker, argocd_conn_id=target.argocd)
        self._line = GitOpsLine(entry, environment, Pin(digest, commit), revision)

    def accepts(self, revision: str) -> bool:
        """Say whether the application has our digest at this commit; raises when a later one pins another."""
        return self._line.holds(revision)

    def find(self) -> Handle | None:
        """Join or start as any sync does, once GitOps itself says that the commit is ours."""
        self._line.require()
        return super().find()

    def _ask(self, app: Application) -> bool:
        # Between finding and asking another operation may have run for minutes.
        self._line.require()
        return super()._ask(app)

    def judge(self, handle: Handle) -> StepReport:
        """Report the sync; one that failed because a newer commit is pinned is superseded."""
        self._line.require()
        return super().judge(handle)


class HealthyRelease:
    """Waits until every pod runs the digest and Argo CD agrees; it starts nothing.

    :param commit: of the source.
    :param revision: the GitOps commit that pinned the digest.
    """

    def __init__(self, *, service: str, environment: str, commit: str, digest: str, revision: str) -> None:
        entry = load_service(service)
        self._target: Target = entry.targets[environment]
        self._line = GitOpsLine(entry, environment, Pin(digest, commit), revision)
        self._rollout = DigestRollout(
            kubernetes_conn_id=self._target.cluster,
            namespace=self._target.namespace,
            deployment=self._target.deployment,
            digest=digest,
        )

    @cached_property
    def _argocd(self) -> ArgoCDHook:
        return ArgoCDHook(self._target.argocd)

    def find(self) -> Handle:
        """Join: pods are always there."""
        return {"rollout": {}}

    def start(self) -> Handle:
        """Start nothing."""
        return self.find()

    def probe(self, handle: Handle) -> Probe:
        """Look at Argo CD and the pods; raises when GitOps pins another digest meanwhile."""
        app = self._argocd.application(self._target.application)
        agrees = self._agrees(app)
        pods = self._rollout.probe(handle["rollout"])
        handle = {"rollout": pods.handle}
        if pods.state != "ended" or agrees or not self._rollout.is_done():
            return Probe(pods.state, pods.detail, handle)
        return Probe("running", f"{pods.detail}; Argo CD shows {app.health or 'no health'}", handle)

    def _agrees(self, app: Application) -> bool:
        revision = app.sync_revision
        return is_commit(revision) and self._line.holds(revision) and app.health == "Healthy"

    def judge(self, handle: Handle) -> StepReport:
        """Report the pods, or raise what keeps them from running."""
        self._line.require()
        ended = self._rollout.judge(handle["rollout"])
        app = self._argocd.application(self._target.application)
        if not self._agrees(app):
            shown = app.health or "no health"
            raise RolloutUnsettled(f"{ended.summary} But Argo CD shows {shown}; it is looked at again.")
        facts: dict[str, Any] = ended.facts | {
            "health": app.health,
            "revision": app.sync_revision,
            "checked_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return StepReport(f"{ended.summary} Argo CD shows {app.health}.", facts=facts)

    def cancel(self, handle: Handle) -> None:
        """Do nothing: looking starts nothing."""

    def link(self, handle: Handle) -> Link:  # noqa: ARG002
        """Return the application's page: it shows the pods."""
        name = self._target.application
        return Link(f"Argo CD: {name}", self._argocd.application_url(name))

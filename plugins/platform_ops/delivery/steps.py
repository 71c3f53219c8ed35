"""The steps of ``release_service`` but its gates: the only code that joins several systems.

Each re-reads what it acts on; what earlier steps reported is a hint. A killed step finds its own work again: tags and
GitOps commits are what they would be, builds and syncs carry a marker.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from platform_ops.common.errors import Refused, TryAgain, with_facts
from platform_ops.common.operators import RemoteWorkOperator, StepOperator
from platform_ops.common.remote_work import WorkSpec
from platform_ops.common.report import Link, StepReport, reported
from platform_ops.delivery import deployments
from platform_ops.delivery.images import (
    check_built_from,
    check_hint,
    check_image,
    claim,
    find_image,
    leave_proof,
    require_image,
)
from platform_ops.delivery.permission import answers, approved_by, question
from platform_ops.delivery.pinning import commit_message, planned_file, refuse_second_pin
from platform_ops.delivery.pins import difference
from platform_ops.delivery.policies import tree_tag
from platform_ops.delivery.release import Release, check_parameters, check_run_id
from platform_ops.delivery.services import Environment
from platform_ops.delivery.source import Source
from platform_ops.delivery.standing import Standing, may_go_on
from platform_ops.systems.git.models import Commit, FileEdit
from platform_ops.systems.gitlab.models import CommitState
from platform_ops.systems.harbor.models import Artifact

if TYPE_CHECKING:
    from airflow.sdk import Context

LISTED_COMMITS = 50


class ResolveCommit(StepOperator):
    """Finds the commit on the environment's branch, tells GitLab, and compares it with what runs there."""

    def run_step(self, context: Context) -> StepReport:
        """Resolve; a commit that is behind what runs ends the run as superseded."""
        check_parameters(context["dag_run"].conf)
        release = Release.of(context)
        with release.source() as source:
            # Kept over tries: a later one must not find another head, and leave the first announced for ever.
            store = context["task_state_store"]
            commit = source.commit(release.commit or str(store.get("commit") or source.head))
            store.set("commit", commit.sha)
            release = replace(release, commit=commit.sha)
            check_run_id(release)
            link = Link(f"GitLab: commit {commit.sha[:12]}", source.project.commit_url(commit.sha))
            facts = _about(release, commit)
            # Should this process die now, the teardowns know what was announced.
            begun = f"{commit.sha[:12]} “{commit.title}” is compared with what GitOps pins."
            self.hand_on(context, StepReport(begun, "failed", facts | {"announced": True}, (link,)))
            with with_facts(facts):
                facts |= self._announce(release)
                pin, _ = release.pinned()
                stand = source.standing(pin, commit.sha)
                may_go_on(stand, pin, commit.sha, release.environment, None)
            commits = source.commits_since(pin, commit.sha)
        facts |= {
            "previous": {"commit": pin.commit, "digest": pin.digest} if pin else None,
            "already_pinned": stand is Standing.PINNED,
            "authors": [
                {"name": name, "email": email}
                for name, email in dict.fromkeys((one.author_name, one.author_email) for one in (*commits, commit))
            ],
            "commits_since": {
                "count": len(commits),
                "commits": [
                    {"sha": one.sha, "title": one.title, "author": one.author_name} for one in commits[:LISTED_COMMITS]
                ],
            },
        }
        return StepReport(f"{commit.sha[:12]} “{commit.title}” is {stand}.", facts=facts, links=(link,))

    @staticmethod
    def _announce(release: Release) -> dict[str, Any]:
        try:
            release.gitlab.set_status(
                release.service.project,
                release.commit,
                name=release.status_name,
                state=CommitState.RUNNING,
                ref=release.branch,
                target_url=release.page,
                description=f"Releasing {release.service.name} to {release.environment}",
            )
        except TryAgain as trouble:
            return {"announced": True, "untold": _untold(trouble)}
        return {"announced": True}


def _untold(trouble: TryAgain) -> str:
    """Say that GitLab was too busy to be told: no release waits for that, and its last step makes up for it."""
    return f"To be told at the end: {trouble}"


def _about(release: Release, commit: Commit) -> dict[str, Any]:
    return {
        "service": release.service.name,
        "environment": release.environment,
        "project": release.service.project,
        "branch": release.branch,
        "commit": commit.sha,
        "tree": commit.tree,
        "title": commit.title,
        "committed_at": commit.committed_at,
        "authors": [{"name": commit.author_name, "email": commit.author_email}],
        "reason": release.reason,
        "announced": False,
    }


class BuildImage(RemoteWorkOperator):
    """Finds the image of the commit or of its source tree at Harbor, else has Jenkins build it; tags it."""

    def plan(self, context: Context) -> WorkSpec | StepReport:
        """Return the report of an image that exists, else the build."""
        release = Release.of(context)
        resolved = reported(context, "resolve_commit")
        if resolved.get("already_pinned"):
            digest = (resolved.get("previous") or {}).get("digest")
            return StepReport("This commit is pinned already.", "not needed", {"digest": digest})
        image = find_image(release, release.commit)
        if image:
            return self._reused(image, image.digest, "this commit")
        with release.source() as source:
            tree = source.commit(release.commit).tree
            image = find_image(release, tree_tag(tree))
            if image:
                check_built_from(release, source, image)
                return self._reused(image, claim(release, image.digest, tree), "this source tree")
        return WorkSpec(
            "platform_ops.systems.jenkins.work.JenkinsBuild",
            {
                "job": release.service.job,
                "tree": tree,
                "commit": release.commit,
                "attempt": release.attempt,
                "jenkins_conn_id": release.service.jenkins_connection,
            },
        )

    @staticmethod
    def _reused(image: Artifact, digest: str, of: str) -> StepReport:
        summary = f"Harbor has an image of {of}: {digest[:19]}."
        return StepReport(summary, "reused", {"digest": digest}, (Link("Harbor: image", image.url),))

    def conclude(self, context: Context, ended: StepReport) -> StepReport:
        """Claim the tree for the built image, or adopt the one that was faster."""
        release = Release.of(context)
        with with_facts(ended.facts), release.source() as source:
            tag = str(ended.facts["image_tag"])
            image = find_image(release, tag)
            if image is None:
                raise Refused(
                    f"The build succeeded, but Harbor has no image {release.service.image_name}:{tag}. "
                    "The job must push before it ends. If somebody deleted the image: delete that build at Jenkins, "
                    "then clear this task; a build of this tree that succeeded is never repeated."
                )
            check_built_from(release, source, image)
            tree = source.commit(release.commit).tree
            digest = claim(release, image.digest, tree)
        adopted = "" if digest == image.digest else f" Another build of this tree was faster: {digest[:19]} is used."
        links = (*ended.links, Link("Harbor: image", image.url))
        return replace(ended, summary=ended.summary + adopted, facts=ended.facts | {"digest": digest}, links=links)


class VerifyImage(RemoteWorkOperator):
    """Checks what the image was built from, its scan, and, for production, its proof from rc."""

    def plan(self, context: Context) -> WorkSpec:
        """Return the scan."""
        release = Release.of(context)
        image = require_image(release)
        check_hint(release, image, reported(context, "build_image").get("digest"))
        service = release.service
        return WorkSpec(
            "platform_ops.systems.harbor.work.ImageScan",
            {
                "project": service.image_project,
                "repository": service.image_repository,
                "digest": image.digest,
                "harbor_conn_id": service.harbor_connection,
            },
        )

    def conclude(self, context: Context, ended: StepReport) -> StepReport:
        """Check everything that is known about the image now."""
        release = Release.of(context)
        image = require_image(release)
        with release.source() as source:
            facts = check_image(release, source, image)
        proven = " It ran healthy in rc." if facts["proof"] else ""
        total = sum(facts["counts"].values())
        noun = "vulnerability" if total == 1 else "vulnerabilities"
        found = f"{total} {noun}, worst {facts['severity']}" if total else "no vulnerabilities"
        summary = f"{image.digest[:19]} was built from this source tree; its scan found {found}.{proven}"
        return StepReport(summary, facts=facts, links=ended.links)


class PinImage(StepOperator):
    """Writes the one GitOps commit, after checking everything anew that production relies on."""

    def run_step(self, context: Context) -> StepReport:
        """Check, then push."""
        release = Release.of(context)
        image = require_image(release)
        check_hint(release, image, reported(context, "verify_image").get("digest"))
        approvers: tuple[str, ...] = ()
        begun: tuple[dict[str, Any], tuple[Link, ...]] | None = None
        with release.source() as source, release.gitops.repository() as gitops:
            source.commit(release.commit)
            check_image(release, source, image)

            def edit(text: str, head: str) -> str:  # noqa: ARG001
                nonlocal approvers, begun
                pin = release.read_pin(text)
                after = planned_file(release, source, text, pin, image.digest)
                if after != text:
                    refuse_second_pin(release, gitops)
                asked = question(release, source, pin, image.digest, difference(text, after, release.pin_file))
                if asked:
                    quorum = asked.policy.quorum
                    approvers = tuple(yes.by for yes in approved_by(asked, answers(release, quorum), quorum))
                if after != text and begun is None:
                    begun = self._begin(release, source)
                return after

            def message(done: FileEdit) -> str:  # noqa: ARG001
                return commit_message(release, image.digest, approvers)

            done, revision = gitops.push_edit(
                release.service.gitops_branch, release.pin_file, edit, message=message, author=release.gitops.author
            )
        told, environment = begun or ({}, ())
        facts = {
            "digest": image.digest,
            "revision": revision,
            "diff": difference(done.before, done.after, release.pin_file),
            "approved_by": list(approvers),
        } | told
        where = f"{release.gitops.address.removesuffix('.git')}/-/commit/{revision}"
        links = (Link(f"GitLab: GitOps commit {revision[:12]}", where), *environment)
        if done.changes:
            return StepReport(f"GitOps pins {image.digest[:19]} since {revision[:12]}.", facts=facts, links=links)
        summary = f"GitOps pinned {image.digest[:19]} already, with {revision[:12]}."
        return StepReport(summary, "not needed", facts, links)

    @staticmethod
    def _begin(release: Release, source: Source) -> tuple[dict[str, Any], tuple[Link, ...]]:
        """Tell GitLab, before the push, that the environment is about to change."""
        try:
            begun = deployments.begin(release)
        except TryAgain as trouble:
            return {"untold": _untold(trouble)}, ()
        page = source.project.environment_url(begun.environment)
        return {"deployment": begun.id}, (Link(f"GitLab: environment {release.gitlab_environment}", page),)


def _pinned_arguments(release: Release, context: Context) -> dict[str, Any]:
    """Return what names our pin: the digest from Harbor, the GitOps commit as reported."""
    return {
        "service": release.service.name,
        "environment": release.environment,
        "commit": release.commit,
        "digest": require_image(release).digest,
        "revision": str(reported(context, "pin_image").get("revision") or ""),
    }


class SyncApplication(RemoteWorkOperator):
    """Brings the application to the GitOps commit."""

    def plan(self, context: Context) -> WorkSpec:
        """Return the sync."""
        release = Release.of(context)
        arguments = _pinned_arguments(release, context)
        return WorkSpec("platform_ops.delivery.work.PinnedSync", arguments | {"marker": release.attempt})


class VerifyRunning(RemoteWorkOperator):
    """Waits until every pod runs the digest and Argo CD agrees; leaves the proof in rc."""

    def plan(self, context: Context) -> WorkSpec:
        """Return the rollout."""
        release = Release.of(context)
        return WorkSpec("platform_ops.delivery.work.HealthyRelease", _pinned_arguments(release, context))

    def conclude(self, context: Context, ended: StepReport) -> StepReport:
        """Leave the proof that production asks for."""
        release = Release.of(context)
        if release.environment != Environment.RC:
            return ended
        return replace(ended, facts=ended.facts | {"proof_key": leave_proof(release, ended.facts["digest"])})


DEADLINES = {
    "build_image": timedelta(minutes=30),
    "verify_image": timedelta(minutes=10),
    "sync_application": timedelta(minutes=10),
    "verify_running": timedelta(minutes=15),
}
"""From a step's start to the end of its remote work."""

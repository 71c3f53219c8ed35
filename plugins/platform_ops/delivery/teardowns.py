"""What every run leaves, however it ends: its evidence, and the end state at GitLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import PlatformError
from platform_ops.common.operators import StepOperator
from platform_ops.common.records import RunRecord
from platform_ops.common.report import Link, StepReport, reported
from platform_ops.delivery.readers import differences, observe
from platform_ops.delivery.release import Release
from platform_ops.delivery.verdicts import TEARDOWNS, Verdict, judge_run
from platform_ops.evidence.conclusion import Conclusion
from platform_ops.evidence.teardown import EvidenceOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


def _release(context: Context) -> Release | None:
    """Return what was released; None when the run's parameters never meant anything."""
    try:
        return Release.of(context)
    except PlatformError:
        return None


class RecordEvidence(EvidenceOperator):
    """Asks the systems once more and stores the run's document."""

    steps_end_with = TEARDOWNS

    def conclusion(self, context: Context, run: RunRecord) -> Conclusion:
        """Compare what was released with what the systems hold now."""
        release = _release(context)
        ending = judge_run(run)
        unknown = ["No system was asked again: the run's parameters name no release, or the catalogue changed."]
        observed, silent = observe(release) if release else ({}, unknown)
        digest = run.facts("verify_image").get("digest")
        differ = differences(observed, str(digest)) if ending.verdict == Verdict.RELEASED else []
        subject = {
            "service": str(context["params"].get("service")),
            "environment": str(context["params"].get("environment")),
            "commit": release.commit if release else str(context["params"].get("commit") or ""),
            "tree": run.facts("resolve_commit").get("tree"),
            "digest": digest,
            "reason": str(context["params"].get("reason") or ""),
        }
        return Conclusion(ending, subject, observed, [*differ, *silent])


class ReportRelease(StepOperator):
    """Ends the status at GitLab that `resolve_commit` began."""

    def run_step(self, context: Context) -> StepReport:
        """Set the end state, unless GitLab was never told of the start."""
        announced = bool(reported(context, "resolve_commit").get("announced"))
        # A catalogue that was broken meanwhile must not keep GitLab waiting in silence.
        release = Release.of(context) if announced else _release(context)
        if release is None or not release.commit:
            return StepReport("The run never came to a commit, so GitLab knows nothing of it.", "not needed")
        if not announced and not self._began(release):
            return StepReport("GitLab was not told that this run began.", "not needed")
        ti = context["ti"]
        ending = judge_run(AirflowApi().run(ti.dag_id, ti.run_id))
        gitlab_state = Verdict(ending.verdict).gitlab_state
        proof = reported(context, "record_evidence").get("sha256")
        evidence = f"evidence sha256 {proof}" if proof else "no evidence could be stored"
        differ = reported(context, "record_evidence").get("differences")
        noted = f"{len(differ)} differences, see the page" if isinstance(differ, list) and differ else ""
        description = " · ".join(filter(None, (ending.verdict, evidence, noted, ending.reason)))
        release.gitlab.set_status(
            release.service.project,
            release.commit,
            name=release.status_name,
            state=gitlab_state,
            ref=release.branch,
            target_url=release.page,
            description=description,
        )
        state = str(gitlab_state)
        facts = {"state": state, "description": description}
        project = release.gitlab.project(release.service.project)
        link = Link(f"GitLab: commit {release.commit[:12]}", project.commit_url(release.commit))
        return StepReport(f"GitLab shows {release.status_name} as {state}.", facts=facts, links=(link,))

    @staticmethod
    def _began(release: Release) -> bool:
        ours = (release.status_name, release.branch, release.page)
        found = release.gitlab.statuses(release.service.project, release.commit)
        return any((one.name, one.ref, one.target_url) == ours for one in found)

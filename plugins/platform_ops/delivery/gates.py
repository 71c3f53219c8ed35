"""The steps of ``release_service`` that ask people, and judge what they said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from platform_ops.approvals.answers import told
from platform_ops.approvals.gate import ApprovalGate, Request
from platform_ops.approvals.rules import ApprovalError, Yes
from platform_ops.common.errors import with_facts
from platform_ops.common.operators import StepOperator
from platform_ops.common.report import Link, StepReport, reported
from platform_ops.delivery.permission import Question, answers, approved_by
from platform_ops.delivery.pinning import open_question
from platform_ops.delivery.release import Release
from platform_ops.delivery.request import request

if TYPE_CHECKING:
    from airflow.sdk import Context


class ApproveRelease(ApprovalGate):
    """Asks the approvers of a manual promotion."""

    def ask(self, context: Context) -> Request | StepReport:
        """Put the request together."""
        release = Release.of(context)
        asked = open_question(release)
        if asked is None:
            return _nobody_asked(release)
        return _request(context, release, asked, ())


class ConfirmRelease(ApprovalGate):
    """Asks for a second yes, of somebody else, where the catalogue wants two."""

    def ask(self, context: Context) -> Request | StepReport:
        """Put the request together; after a no nobody is bothered."""
        release = Release.of(context)
        policy = release.target.approval
        if policy and policy.quorum == 1:
            return _nobody_asked(release, f"One yes is enough for {release.service.name} in {release.environment}.")
        asked = open_question(release)
        if asked is None:
            return _nobody_asked(release)
        given = answers(release, 1)
        try:
            first = approved_by(asked, given, 1)
        except ApprovalError as no:
            # Not lost: judge_approval ends the run with it.
            return _nobody_asked(release, f"Nobody else is asked. {no}")
        return _request(context, release, asked, first)


class JudgeApproval(StepOperator):
    """Turns a no, or no answer, red, naming who said it."""

    def run_step(self, context: Context) -> StepReport:
        """Judge the answers on Airflow's server."""
        release = Release.of(context)
        asked = open_question(release)
        if asked is None:
            return _nobody_asked(release)
        quorum = asked.policy.quorum
        given = answers(release, quorum)
        facts: dict[str, Any] = {"required": True, "quorum": quorum, "answers": told(given)}
        with with_facts(facts):
            people = [yes.by for yes in approved_by(asked, given, quorum)]
        return StepReport(
            f"{' and '.join(people)} said yes.",
            facts=facts | {"approved_by": people},
            links=(Link("Release page", release.page),),
        )


def _nobody_asked(release: Release, why: str = "") -> StepReport:
    automatic = release.target.approval is None
    why = why or (f"Releases to {release.environment} are automatic." if automatic else "GitOps needs no change.")
    return StepReport(why, "not needed", {"required": False}, (Link("Release page", release.page),))


def _request(context: Context, release: Release, asked: Question, given: tuple[Yes, ...]) -> Request:
    build, image = reported(context, "build_image"), reported(context, "verify_image")
    return request(release, asked, given, build=build, image=image)

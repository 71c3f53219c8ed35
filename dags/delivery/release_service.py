"""
### What it does

Carries one commit of a service to proven-healthy pods in one environment: finds the commit on the environment's branch,
finds or builds its image, checks the image, asks the approvers where the catalogue says so, writes the one GitOps
commit, has Argo CD apply it, and waits until every pod runs that image. A newer commit that stands already ends the run
as *superseded*: green, the rest skipped.

### When it runs

A push to the branch of `dev` or `rc` starts it (GitLab's webhook); people start it here, CI through the REST API.
A push to the branch of `prod` starts nothing: production is released on purpose.

### What it changes

GitLab: the commit status `release/<environment>`, and a deployment to the environment. Jenkins: a build, when no image
of this source tree exists. Harbor: the tags of the tree and the commit. The GitOps repository: one commit. Argo CD: one
sync. The evidence bucket: the run's document, and in `rc` the proof that production asks for.

### When it fails

The run's page says what was found and what to do next; `docs/runbooks/release_service.md` has the rest.
"""

from __future__ import annotations

from airflow.sdk import Param, dag

from platform_ops.common.dag_defaults import Area, Impact, default_args
from platform_ops.delivery.gates import ApproveRelease, ConfirmRelease, JudgeApproval
from platform_ops.delivery.services import Environment, service_names
from platform_ops.delivery.steps import (
    DEADLINES,
    BuildImage,
    PinImage,
    ResolveCommit,
    SyncApplication,
    VerifyImage,
    VerifyRunning,
)
from platform_ops.delivery.teardowns import RecordEvidence, ReportRelease


@dag(
    schedule=None,
    catchup=False,
    # Runs that wait for approval count; how much happens at once is a matter of pools.
    max_active_runs=256,
    # Three retries, five seconds apart, carry a step over the restart of a system; what can't pass fails at once.
    default_args=default_args(owner="platform-team", retries=3),
    tags=[Area.DELIVERY, Impact.BLOCKS_DELIVERY],
    doc_md=__doc__,
    params={
        "service": Param(type="string", enum=service_names(), description="The service, as the catalogue calls it."),
        "environment": Param(type="string", enum=[*Environment], description="Where it shall run."),
        # Null, because Airflow's form takes an empty text for a missing one.
        "commit": Param(
            None,
            type=["null", "string"],
            pattern="^([0-9a-f]{40})?$",
            description="The full hash of the commit; empty means the head of the environment's branch.",
        ),
        "reason": Param(
            None, type=["null", "string"], maxLength=500, description="Why, for those who read the page later."
        ),
    },
)
def release_service() -> None:
    resolve_commit = ResolveCommit(task_id="resolve_commit")
    build_image = BuildImage(task_id="build_image", deadline=DEADLINES["build_image"], pool="jenkins_builds")
    verify_image = VerifyImage(task_id="verify_image", deadline=DEADLINES["verify_image"])
    approve_release = ApproveRelease(task_id="approve_release")
    confirm_release = ConfirmRelease(task_id="confirm_release")
    judge_approval = JudgeApproval(task_id="judge_approval")
    pin_image = PinImage(task_id="pin_image", pool="gitops_pushes")
    sync_application = SyncApplication(task_id="sync_application", deadline=DEADLINES["sync_application"])
    verify_running = VerifyRunning(task_id="verify_running", deadline=DEADLINES["verify_running"])
    record_evidence = RecordEvidence(task_id="record_evidence").as_teardown()
    # Nobody else tells GitLab of the end: it is tried for ten minutes, which outlasts a restart of GitLab.
    report_release = ReportRelease(task_id="report_release", retries=120).as_teardown()
    # Callers that wait for the run get these facts.
    record_evidence.returns_dag_result = True

    resolve_commit >> build_image >> verify_image >> approve_release >> confirm_release >> judge_approval
    judge_approval >> pin_image >> sync_application >> verify_running >> record_evidence >> report_release


release_service()

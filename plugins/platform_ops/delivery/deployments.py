"""A release as GitLab's environment page shows it: a deployment that runs from our push to the end of the run.

A deployment carries no marker of ours. Ours is the one of this account with the release's environment and commit, so
two runs of one commit share it, and a killed step finds it again. GitLab has no fence against two that begin at the
same instant; then the older one tells the end, and the other is canceled.
"""

from __future__ import annotations

from dataclasses import dataclass

from platform_ops.common.records import RunRecord
from platform_ops.delivery.release import Release
from platform_ops.delivery.verdicts import Verdict
from platform_ops.systems.gitlab.models import Deployment, DeploymentState


@dataclass(frozen=True, slots=True)
class Change:
    """What is left to tell GitLab.

    :param number: the deployment to change; None for one that GitLab never heard of.
    """

    number: int | None
    state: DeploymentState


def begin(release: Release) -> Deployment:
    """Record that the release starts to change its environment, or find that it did."""
    project = release.service.project
    found = _ours(release, release.gitlab.deployments(project, release.gitlab_environment, DeploymentState.RUNNING))
    if found:
        return found[-1]
    return release.gitlab.create_deployment(
        project, release.gitlab_environment, release.commit, ref=release.branch, state=DeploymentState.RUNNING
    )


def may_have_begun(run: RunRecord) -> bool:
    """Say whether the run came to the step that pushes, though it may not have lived to report it."""
    task = next((task for task in run.tasks if task.task_id == "pin_image"), None)
    return task is not None and (task.state in ("success", "failed") or task.report is not None)


def left_to_tell(release: Release, verdict: Verdict) -> tuple[Change, ...]:
    """Return what GitLab must be told, so that its page is right; nothing when it is.

    A running deployment is ended. One that GitLab was too busy to hear of is made up for: a success when another
    commit's is our last one, a failure when there is none of this commit. Neither is told over a release that stands
    now, because GitLab shows the success that *ended* last as deployed.
    """
    project = release.service.project
    state = verdict.deployment_state
    running = _ours(release, release.gitlab.deployments(project, release.gitlab_environment, DeploymentState.RUNNING))
    if running and state is not DeploymentState.SUCCESS:
        return _ends(running, state)
    if not running and _is_told(release, state):
        return ()
    if not _stands(release):
        return _ends(running, DeploymentState.CANCELED)
    return _ends(running, state) or (Change(None, state),)


def _is_told(release: Release, state: DeploymentState) -> bool:
    if state is DeploymentState.CANCELED:
        return True
    newest = release.gitlab.deployments(release.service.project, release.gitlab_environment)
    if state is DeploymentState.SUCCESS:
        # What jobs of GitLab CI record there says nothing of our releases.
        last = next((one for one in newest if one.ours and one.state == state), None)
        return last is not None and last.sha == release.commit
    return bool(_ours(release, newest))


def tell(release: Release, change: Change) -> None:
    """Tell GitLab."""
    project = release.service.project
    if change.number is None:
        release.gitlab.create_deployment(
            project, release.gitlab_environment, release.commit, ref=release.branch, state=change.state
        )
    else:
        release.gitlab.set_deployment(project, change.number, change.state)


def _ours(release: Release, found: tuple[Deployment, ...]) -> list[Deployment]:
    return [one for one in found if one.ours and one.sha == release.commit]


def _ends(running: list[Deployment], state: DeploymentState) -> tuple[Change, ...]:
    """End the oldest of equal deployments as the release ended, and cancel the others."""
    states = [DeploymentState.CANCELED] * (len(running) - 1) + [state]
    return tuple(Change(one.id, its) for one, its in zip(running, states, strict=True)) if running else ()


def _stands(release: Release) -> bool:
    pin, _ = release.pinned()
    return pin is not None and pin.commit == release.commit

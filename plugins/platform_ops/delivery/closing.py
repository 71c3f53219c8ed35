"""What every run leaves, however it ends: its evidence, and its end at GitLab.

These are functions of a run as Airflow's server keeps it. The run's own last steps use them; so does, when Airflow
ended the run without these, whoever closes it later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import PlatformError
from platform_ops.common.records import RunRecord
from platform_ops.common.report import Link, StepReport
from platform_ops.delivery import deployments
from platform_ops.delivery.readers import differences, observe
from platform_ops.delivery.release import Release
from platform_ops.delivery.verdicts import TEARDOWNS, Verdict, judge_run
from platform_ops.evidence.conclusion import Conclusion
from platform_ops.evidence.recording import record as store_document
from platform_ops.evidence.store import as_recorded, find_end
from platform_ops.systems.gitlab.errors import CommitNotFound, ProjectNotFound
from platform_ops.systems.gitlab.models import CommitStatus
from platform_ops.systems.object_store.hook import ObjectStoreHook


def _is_still_so() -> None:
    """Let a run's own last steps close it: nobody need look whether it goes on."""


def record(run: RunRecord, late: str = "", check: Callable[[], None] = _is_still_so) -> StepReport:
    """Ask the systems once more and store the document of this end of the run, unless it lies there.

    :param late: why the run did not do this itself.
    :param check: called right before the document is stored; raises when the run has no such end any more.
    """
    ending = judge_run(run)

    def conclude() -> Conclusion:
        # What ran at its end must run now only while that end is now.
        found = _conclusion(run, compared=ending.verdict == Verdict.RELEASED and not late)
        check()
        return found

    return store_document(run, ending, conclude, without=TEARDOWNS, late=late)


def _release(run: RunRecord) -> Release | None:
    """Return what was released; None when the run's parameters never meant anything."""
    try:
        return Release.of_run(run)
    except PlatformError:
        return None


def _conclusion(run: RunRecord, *, compared: bool) -> Conclusion:
    """Say what the run was about and what the systems hold now.

    :param compared: whether that must be what was released.
    """
    release = _release(run)
    unknown = ["No system was asked again: the run's parameters name no release, or the catalogue changed."]
    observed, silent = observe(release) if release else ({}, unknown)
    digest = run.facts("verify_image").get("digest")
    differ = differences(observed, str(digest)) if compared else []
    subject = {
        "service": str(run.conf.get("service")),
        "environment": str(run.conf.get("environment")),
        "commit": release.commit if release else str(run.conf.get("commit") or ""),
        "tree": run.facts("resolve_commit").get("tree"),
        "digest": digest,
        "reason": str(run.conf.get("reason") or ""),
    }
    return Conclusion(subject, observed, [*differ, *silent])


@dataclass(frozen=True, slots=True)
class OpenAtGitLab:
    """What GitLab still has to be told of the end of a run.

    :param release: None when the run never came to a commit that GitLab has.
    :param status: whether the commit status is this run's and has not been ended.
    """

    release: Release | None
    status: bool = False
    deployments: tuple[deployments.Change, ...] = ()


def open_at_gitlab(run: RunRecord, evidence: Mapping[str, Any], *, late: bool = False) -> OpenAtGitLab:
    """Ask GitLab what it knows of the end of a run.

    :param evidence: the facts of ``record``, as far as there are any.
    :raises NotFound: what the run announced is no longer at GitLab.
    """
    announced = bool(run.facts("resolve_commit").get("announced"))
    # A catalogue that was broken meanwhile must not keep GitLab waiting in silence.
    release = Release.of_run(run) if announced else _release(run)
    if release is None or not release.commit:
        return OpenAtGitLab(None)
    try:
        present = _status(release)
    except (ProjectNotFound, CommitNotFound):
        if announced:
            raise
        return OpenAtGitLab(None)
    # Two runs of a commit share the deployment: a sweep leaves it to the one that goes on, and looks again. A run's own
    # last step ends it: nobody looks again, and the other may never come to the push. Its release would be told anew.
    elsewhere = present is not None and present.target_url != release.page and not present.ended
    ends = deployments.may_have_begun(run) and not (late and elsewhere)
    return OpenAtGitLab(
        release,
        _is_ours_to_end(run, present, release, evidence, late=late),
        deployments.left_to_tell(release, judge_run(run).verdict) if ends else (),
    )


def open_ends(run: RunRecord) -> tuple[str, ...]:
    """Return what is open of a run that has ended: some of ``evidence``, ``status`` and ``deployment``."""
    kept = find_end(ObjectStoreHook(), run, without=TEARDOWNS)
    left = open_at_gitlab(run, {"sha256": kept.sha256} if kept else {}, late=True)
    found = {"evidence": kept is None, "status": left.status, "deployment": bool(left.deployments)}
    return tuple(name for name, is_open in found.items() if is_open)


def is_closed(api: AirflowApi, run: RunRecord) -> bool:
    """Say at little cost whether an ended run is closed: the reports of its steps are read from its document.

    :param run: needs no tasks.
    """
    found = as_recorded(api, ObjectStoreHook(), run)
    if found is None:
        return False
    told, kept = found
    left = open_at_gitlab(told, {"sha256": kept.sha256}, late=True)
    return not (left.status or left.deployments)


def _status(release: Release) -> CommitStatus | None:
    found = release.gitlab.statuses(release.service.project, release.commit)
    return next((one for one in reversed(found) if (one.name, one.ref) == (release.status_name, release.branch)), None)


def _is_ours_to_end(
    run: RunRecord, present: CommitStatus | None, release: Release, evidence: Mapping[str, Any], *, late: bool
) -> bool:
    resolved, sha256 = run.facts("resolve_commit"), str(evidence.get("sha256") or "")
    if present is None:
        return bool(resolved.get("announced"))
    if present.target_url != release.page:
        # Another run of this commit has spoken since, unless GitLab never heard us.
        return present.ended and bool(resolved.get("untold")) and not late
    return not (present.ended and sha256 and sha256 in present.description)


def _description(run: RunRecord, evidence: Mapping[str, Any], late: str) -> str:
    ending, proof = judge_run(run), evidence.get("sha256")
    stored = f"evidence sha256 {proof}" if proof else "no evidence could be stored"
    # The page shows what the run itself stored.
    shown = run.facts("record_evidence")
    differ = shown.get("differences") if shown.get("sha256") == proof else None
    noted = f"{len(differ)} differences, see the page" if isinstance(differ, list) and differ else ""
    return " · ".join(filter(None, (ending.verdict, stored, noted, late, ending.reason)))


def report(
    run: RunRecord, evidence: Mapping[str, Any], late: str = "", check: Callable[[], None] = _is_still_so
) -> StepReport:
    """End the status that ``resolve_commit`` began and the deployment that ``pin_image`` began.

    :param evidence: the facts of ``record``, as far as there are any.
    :param late: why the run did not do this itself.
    :param check: called right before each change at GitLab; raises when the run has no such end any more.
    """
    left = open_at_gitlab(run, evidence, late=bool(late))
    if left.release is None:
        return StepReport(
            "The run never came to a commit that GitLab has, so GitLab knows nothing of it.", "not needed"
        )
    release = left.release
    state = judge_run(run).verdict.gitlab_state
    facts: dict[str, Any] = {}
    # Another run of this commit may have begun since.
    if left.status and _is_ours_to_end(run, _status(release), release, evidence, late=bool(late)):
        description = _description(run, evidence, late)
        check()
        release.gitlab.set_status(
            release.service.project,
            release.commit,
            name=release.status_name,
            state=state,
            ref=release.branch,
            target_url=release.page,
            description=description,
        )
        facts = {"state": str(state), "description": description}
    for change in left.deployments:
        check()
        deployments.tell(release, change)
    if left.deployments:
        facts["deployment"] = str(left.deployments[-1].state)
    if not facts:
        return StepReport("GitLab awaits no end of this run: it never heard of it, or has been told.", "not needed")
    told = [f"{release.status_name} as {facts['state']}"] if "state" in facts else []
    told += [f"the deployment as {facts['deployment']}"] if left.deployments else []
    project = release.gitlab.project(release.service.project)
    link = Link(f"GitLab: commit {release.commit[:12]}", project.commit_url(release.commit))
    return StepReport(f"GitLab shows {' and '.join(told)}.", facts=facts, links=(link,))

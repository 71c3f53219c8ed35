"""The steps of ``restore_backup``: each reads the form, the point and the target anew."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from platform_ops.approvals.gate import ApprovalGate, Request
from platform_ops.backups.drilling import refuse_differences
from platform_ops.backups.points import VERIFIED
from platform_ops.backups.progress import amount
from platform_ops.backups.restore import Restore
from platform_ops.backups.wishes import BadWish
from platform_ops.backups.witness import witness
from platform_ops.common.errors import with_facts
from platform_ops.common.operators import StepOperator
from platform_ops.common.report import StepReport, reported
from platform_ops.common.words import span

if TYPE_CHECKING:
    from airflow.sdk import Context

DRY_RUN = StepReport("This is a dry run, which changes nothing. Start again without dry_run to restore.", "not needed")


class PlanRestore(StepOperator):
    """Finds the point, checks the target, and says how much it is, how long it takes and what would be in the way."""

    def run_step(self, context: Context) -> StepReport:
        """Plan; nothing is changed."""
        restore = Restore.of(context)
        destination = restore.destination
        manifest, sha256 = restore.manifest(restore.choose())
        held = witness(manifest, sha256)
        opened = restore.opened(manifest)
        way, selected = destination.look(opened), destination.select(opened)
        estimate, free = restore.estimate(), destination.free()
        verified = restore.points.has(manifest.point, VERIFIED)
        facts: dict[str, Any] = {
            "source": restore.source.name,
            "point": manifest.point,
            "state_at": manifest.state_at.isoformat(timespec="seconds"),
            "state_until": manifest.settled_at.isoformat(timespec="seconds"),
            "manifest_sha256": sha256,
            "witness": held,
            "verified": verified,
            "target": destination.target,
            "subset": restore.wish.subset,
            "files": selected.files,
            "bytes": selected.bytes,
            "free_bytes": free,
            "estimated_seconds": None if estimate is None else estimate.total_seconds(),
            "in_the_way": {"count": way.count, "names": list(way.names)},
            "production": restore.policy is not None,
            "dry_run": restore.wish.dry_run,
        }
        if free is not None and selected.bytes > free:
            raise BadWish(
                f"{amount(selected.bytes)} are to be restored, and {amount(free)} are free beside "
                f"{destination.target}. Make room, or name another target.",
                facts=facts,
            )
        took = (
            f"at most {span(estimate.total_seconds())} in the drills"
            if estimate is not None
            else "unknown, no drill proved it"
        )
        return StepReport(
            f"Point {manifest.point} of {restore.source.name}, its state of {manifest.state_words}, "
            f"goes to {destination.place}: {amount(selected.bytes)}; how long: {took}. {destination.told(way)}"
            f"{'' if verified else ' The point was never verified.'} {held}",
            facts=facts,
        )


class ApproveRestore(ApprovalGate):
    """Asks the approvers where the target is production."""

    def ask(self, context: Context) -> Request | StepReport:
        """Put the request together."""
        restore = Restore.of(context)
        if restore.wish.dry_run:
            return DRY_RUN
        if restore.policy is None:
            why = f"{restore.destination.place} is no production of any source, so nobody is asked."
            return StepReport(why, "not needed", {"required": False})
        planned = reported(context, "plan_restore")
        manifest, sha256 = restore.manifest(str(planned.get("point") or ""))
        return restore.asking(manifest, sha256, restore.policy, planned)


class RestorePoint(StepOperator):
    """Restores the point to the target; what was in the way is kept."""

    def run_step(self, context: Context) -> StepReport:
        """Restore, if there is a yes where one is needed."""
        restore = Restore.of(context)
        if restore.wish.dry_run:
            return DRY_RUN
        destination = restore.destination
        manifest, sha256 = restore.manifest(str(reported(context, "plan_restore").get("point") or ""))
        facts: dict[str, Any] = {
            "source": restore.source.name,
            "point": manifest.point,
            "manifest_sha256": sha256,
            "witness": witness(manifest, sha256),
            "target": destination.target,
            "subset": restore.wish.subset,
        }
        with with_facts(facts):
            facts["approved_by"] = restore.approved_by(manifest.point, sha256)
            began = time.monotonic()
            done = destination.restore(restore.opened(manifest, self.log.info), _who(context))
        seconds = round(time.monotonic() - began, 1)
        facts |= {"seconds": seconds, "moved_aside_to": list(done.aside)}
        how = " since an earlier try" if done.reused else f", after {span(seconds)}"
        return StepReport(
            f"Point {manifest.point} of {restore.source.name} is at {destination.place}{how}.{done.kept} "
            f"{facts['witness']}",
            "reused" if done.reused else "done",
            facts,
        )


def _who(context: Context) -> str:
    ti = context["ti"]
    return f"{ti.dag_id} {ti.run_id}, try {ti.try_number}"


class CompareRestore(StepOperator):
    """Holds what lies at the target against the point's manifest."""

    def run_step(self, context: Context) -> StepReport:
        """Compare."""
        restore = Restore.of(context)
        if restore.wish.dry_run:
            return DRY_RUN
        manifest, sha256 = restore.manifest(str(reported(context, "plan_restore").get("point") or ""))
        began = time.monotonic()
        differences = restore.destination.compare(restore.opened(manifest, self.log.info), _who(context))
        facts: dict[str, Any] = {
            "source": restore.source.name,
            "point": manifest.point,
            "manifest_sha256": sha256,
            "seconds": round(time.monotonic() - began, 1),
        }
        refuse_differences(manifest, differences, facts)
        return StepReport(f"{restore.destination.place} is what point {manifest.point} holds.", facts=facts)

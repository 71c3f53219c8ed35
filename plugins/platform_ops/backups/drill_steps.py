"""The steps of ``drill_restores``: each works for one source, on the point it reads anew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowTaskTimeout

from platform_ops.backups.drilling import drill, opened, refuse_differences
from platform_ops.backups.errors import NoPoint, NotProven
from platform_ops.backups.keys import READER_CONNECTION
from platform_ops.backups.kinds.shape import Leaves
from platform_ops.backups.kinds.table import KINDS
from platform_ops.backups.names import CHOOSE
from platform_ops.backups.overview import lateness
from platform_ops.backups.points import Manifest, point_id
from platform_ops.backups.proofs import Proof, last_proven
from platform_ops.backups.sources import Source, load_source
from platform_ops.backups.steps import NEVER, TROUBLES, ChooseSources, SourceStep
from platform_ops.backups.store import Points
from platform_ops.backups.witness import witness
from platform_ops.common.errors import FailNow, PlatformError, TryAgain
from platform_ops.common.operators import StepOperator, as_ours
from platform_ops.common.report import StepReport, reported
from platform_ops.common.scratch import scratch, sweep

if TYPE_CHECKING:
    from airflow.sdk import Context


class ChooseDrills(ChooseSources):
    """Chooses the sources whose last drill is oldest."""

    def run_step(self, context: Context) -> StepReport:
        """Choose; of a source that was copied and has nothing verified, its drill says so.

        One that failed last night has had its turn, so that those that always fail leave room for the others. One that
        nobody has begun to copy is told: new in the catalogue, it waits for its first point.
        """
        asked = context["params"].get("sources")
        waiting = [_waiting(name) for name in self.wanted(context)]
        new = [one.name for one in waiting if not one.copied and not asked]
        # What can't be looked at takes no turn from others either: its drill ends at once, and says why.
        unseen = [one.name for one in waiting if not one.seen]
        in_turn = sorted((one for one in waiting if one.seen and one.name not in new), key=lambda one: one.drilled)
        most = None if asked else int(context["params"]["at_most"])
        chosen = [*unseen, *(one.name for one in in_turn[:most])]
        facts = {"sources": chosen, "never_copied": new}
        told = f" Never copied yet: {', '.join(new)}." if new else ""
        if not chosen:
            return StepReport(f"There is nothing to restore.{told}", "not needed", facts)
        return StepReport(f"{len(chosen)} sources are restored: {', '.join(chosen)}.{told}", facts=facts)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A source that may be drilled.

    :param drilled: when its newest drill began, whatever it found.
    :param copied: whether a copy of it was ever begun.
    :param seen: whether its bucket could be looked at.
    """

    name: str
    drilled: datetime = NEVER
    copied: bool = True
    seen: bool = True


def _waiting(name: str) -> _Waiting:
    try:
        points = Points.of(load_source(name), READER_CONNECTION)
        drilled = points.last_drill()
        return _Waiting(name, drilled or NEVER, copied=bool(drilled or points.all() or points.unfinished()))
    except TryAgain:
        # A store that is away for a moment would have everything drilled at once.
        raise
    except TROUBLES:
        return _Waiting(name, seen=False)


class DrillRestore(SourceStep):
    """Restores a source's newest verified point into a scratch folder, compares it, and measures."""

    def run_step(self, context: Context) -> StepReport:
        """Drill."""
        source = load_source(self.source)
        points = Points.of(source, READER_CONNECTION)
        began, run = datetime.now(UTC), context["dag_run"]
        point = next(iter(points.verified(points.all())), "")
        found = partial(Proof, began, point, context["ti"].run_id)
        name = point_id(run.run_after, context["ti"].run_id)
        try:
            if not point:
                raise NoPoint(f"{source.name} has no verified point to prove anything. Run back_up_sources first.")
            with as_ours():
                report = self._drill(source, points, point)
        except AirflowTaskTimeout:
            self._keep(points, name, found(proven=False, why="It did not end in the time that a step has."))
            raise
        except PlatformError as error:
            # What may pass is no finding until the last try has met it too.
            if isinstance(error, FailNow) or context["ti"].try_number > context["ti"].max_tries:
                self._keep(points, name, found(proven=False, why=str(error)))
            raise
        rpo, rto = (timedelta(seconds=report.facts[f"{word}_seconds"]) for word in ("rpo", "rto"))
        points.add_proof(name, found(proven=True, rpo=rpo, rto=rto))
        return report

    def _keep(self, points: Points, name: str, proof: Proof) -> None:
        """Keep that a drill failed; when that can't be kept either, the drill's own error is what people must read."""
        try:
            points.add_proof(name, proof)
        except PlatformError as error:
            self.log.warning("The failed drill could not be kept for the report: %s", error)

    def _drill(self, source: Source, points: Points, point: str) -> StepReport:
        manifest, sha256 = points.trusted(point)
        held = witness(manifest, sha256)
        with scratch(_scratch_of(source.name)) as folder:
            measured = drill(KINDS[source.kind](source), opened(points, manifest, self.log.info, times=2), folder)
        facts: dict[str, Any] = {
            "source": source.name,
            "point": measured.point,
            "manifest_sha256": sha256,
            "witness": held,
            "rpo_seconds": round(measured.rpo.total_seconds(), 3),
            "rto_seconds": round(measured.rto.total_seconds(), 3),
            "rpo_target_seconds": source.rpo.total_seconds(),
            "rto_target_seconds": source.rto.total_seconds(),
        }
        refuse_differences(manifest, measured.differences, facts)
        return StepReport(f"{self._sentence(source, manifest, measured.rpo, measured.rto)} {held}", facts=facts)

    @staticmethod
    def _sentence(source: Source, manifest: Manifest, rpo: Any, rto: Any) -> str:
        late = [
            f"{word} is over its target of {target}"
            for word, found, target in (("the loss", rpo, source.rpo), ("the time", rto, source.rto))
            if found > target
        ]
        over = f" But {' and '.join(late)}." if late else ""
        return (
            f"Point {manifest.point} of {source.name} was restored and compared in {rto.total_seconds():.1f} s; "
            f"{rpo.total_seconds() / 3600:.1f} hours of data would have been lost.{over}"
        )


class RemoveLeftovers(StepOperator):
    """Removes what drills of this run that were killed have left: decrypted files, scratch buckets."""

    def run_step(self, context: Context) -> StepReport:
        """Look at every source that was drilled; trouble with one keeps no other from being looked at."""
        chosen = reported(context, CHOOSE).get("sources") or []
        troubles = []
        for name in chosen:
            try:
                sweep(_scratch_of(name))
                source = load_source(name)
                kind = KINDS[source.kind](source)
                if isinstance(kind, Leaves):
                    kind.sweep()
            except TROUBLES as error:
                troubles.append(f"{name}: {error}")
        if troubles:
            raise Leftovers(f"What killed drills may have left could not be looked for. {' '.join(troubles)}")
        if not chosen:
            return StepReport("No drill has left anything.", "not needed")
        return StepReport(f"Nothing of {len(chosen)} drills is left.")


class Leftovers(TryAgain):
    """Something that was decrypted may still lie about."""


class RequireProofs(ChooseSources):
    """Fails when a source has gone without a proof for longer than its catalogue entry allows."""

    def run_step(self, context: Context) -> StepReport:
        """Look at every source, or at those the run was asked for; those that are drilled now say it themselves.

        So a drill that fails keeps nobody from hearing of the other sources.
        """
        now = datetime.now(UTC)
        drilled = reported(context, CHOOSE).get("sources") or []
        late = [told for name in self.wanted(context) if name not in drilled and (told := _late(name, now))]
        if late:
            raise NotProven(f"{' '.join(late)} Start drill_restores for them, and read why if it fails.")
        return StepReport("Every other source that has points was proven within its interval.")

    def result(self, report: StepReport) -> list[str]:  # noqa: ARG002
        """Return nothing: no task is made of this."""
        return []


def _scratch_of(source: str) -> str:
    return f"drill-{source}"


def _late(name: str, now: datetime) -> str:
    """Say since when a source lacks a proof; empty when it does not, or not for longer than it may."""
    try:
        source = load_source(name)
        points = Points.of(source, READER_CONNECTION)
        proven, begun = last_proven(points.proofs(now)), points.begun()
    except TROUBLES as error:
        return f"{name} can't be looked at: {error}"
    late = lateness(source, proven, begun, now)
    return late and f"{name}: {late}"

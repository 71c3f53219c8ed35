"""The steps of ``back_up_sources`` and ``drill_restores``.

A mapped step works for one source. What an earlier step reported is a hint: each reads the point it works on anew.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from platform_ops.backups import copying
from platform_ops.backups.contents import check_contents
from platform_ops.backups.drilling import Opened, drill, refuse_differences, scratch, trusted_manifest
from platform_ops.backups.errors import Contradiction, NoPoint, NotProven
from platform_ops.backups.keys import READER_CONNECTION, identity, listing_key, recipients
from platform_ops.backups.kinds.table import KINDS
from platform_ops.backups.points import RESTORE_TEXT, VERIFIED, Manifest, point_id, point_time
from platform_ops.backups.policies import check
from platform_ops.backups.progress import Progress, amount
from platform_ops.backups.proofs import Proof, last_proven
from platform_ops.backups.pruning import prune
from platform_ops.backups.retention import is_due
from platform_ops.backups.sources import Source, load_source, source_names
from platform_ops.backups.store import Points
from platform_ops.backups.verdicts import TEARDOWNS, judge_run
from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import FailNow, Invalid, PlatformError
from platform_ops.common.operators import StepOperator
from platform_ops.common.report import Link, StepReport, reported
from platform_ops.evidence.conclusion import Conclusion
from platform_ops.evidence.recording import record

if TYPE_CHECKING:
    from airflow.sdk import Context


class ChooseSources(StepOperator):
    """Reads the catalogue and chooses the sources of this run."""

    def wanted(self, context: Context) -> list[str]:
        """Return the names a person asked for; all of them for none.

        :raises Invalid: one is in no catalogue file.
        """
        known = source_names()
        asked = list(dict.fromkeys(context["params"].get("sources") or ()))
        unknown = sorted(set(asked) - set(known))
        if unknown:
            raise Invalid(
                f"There is no source {', '.join(unknown)[:200]} in include/backups; known are {', '.join(known)}."
            )
        return asked or known

    def run_step(self, context: Context) -> StepReport:
        """Choose what is due, or exactly what was asked for."""
        asked = context["params"].get("sources")
        names = self.wanted(context)
        now = datetime.now(UTC)
        chosen = names if asked else [name for name in names if _is_due(load_source(name), now)]
        if not chosen:
            return StepReport("No source is due.", "not needed", {"sources": []})
        return StepReport(f"{len(chosen)} sources are backed up: {', '.join(chosen)}.", facts={"sources": chosen})

    def result(self, report: StepReport) -> list[str]:
        """Return the names, which Airflow makes the mapped tasks of."""
        return list(report.facts["sources"])


def _is_due(source: Source, now: datetime) -> bool:
    points = Points.of(source).all()
    return is_due(source, point_time(points[0]) if points else None, now)


class SourceStep(StepOperator):
    """A step for one source.

    :param source: its name in the catalogue.
    """

    template_fields = ("source",)

    def __init__(self, *, source: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source


class CheckPolicy(SourceStep):
    """Holds a source's retention, lock and keys against its bucket before a byte moves."""

    def run_step(self, context: Context) -> StepReport:  # noqa: ARG002
        """Check; a contradiction stops this source."""
        source = load_source(self.source)
        points = Points.of(source)
        keys = recipients(source)
        found = check(source, points.hook.rules(source.bucket), keys)
        facts = {"source": source.name, "recipients": list(keys or ()), "warnings": list(found.warnings)}
        if found.contradictions:
            raise Contradiction(f"{source.name}: {' '.join(found.contradictions)}", facts=facts)
        warned = f" But: {' '.join(found.warnings)}" if found.warnings else ""
        return StepReport(f"{source.name} can be backed up as the catalogue says.{warned}", facts=facts)


class CopySource(SourceStep):
    """Makes a point of a source; a later try adopts what an earlier one committed."""

    def run_step(self, context: Context) -> StepReport:
        """Copy."""
        source, run = load_source(self.source), context["dag_run"]
        points, run_id = Points.of(source), context["ti"].run_id
        point = point_id(run.run_after, run_id)
        if copying.exists(points, point):
            manifest, sha256 = points.manifest(point)
            return self._report(source, points, manifest, sha256, [], "reused")
        keys = recipients(source)
        if keys == ():
            # The policy was held against what the connection said then.
            raise Contradiction(
                f"{source.name} is to be encrypted, but {source.encryption_connection} names no recipient."
            )
        progress = Progress(self.log.info, self._last_size(points))
        manifest, sha256, notes = copying.copy(
            source,
            KINDS[source.kind](source),
            points,
            point,
            run_id=run_id,
            recipients=keys or (),
            key=listing_key(source),
            told=progress.add,
        )
        return self._report(source, points, manifest, sha256, notes, "done")

    @staticmethod
    def _last_size(points: Points) -> int:
        earlier = points.all()
        return points.manifest(earlier[0])[0].plain_size if earlier else 0

    @staticmethod
    def _report(
        source: Source, points: Points, manifest: Manifest, sha256: str, notes: list[str], outcome: str
    ) -> StepReport:
        facts = {
            "source": source.name,
            "point": manifest.point,
            "manifest_sha256": sha256,
            "state_at": manifest.state_at.isoformat(),
            "plain_size": manifest.plain_size,
            "stored_size": manifest.stored_size,
            "state": {name: value for name, value in manifest.state.items() if isinstance(value, int | str)},
            "notes": notes,
        }
        text = points.key(manifest.point, manifest.place, RESTORE_TEXT)
        link = Link(f"Point {manifest.point}", points.hook.url(points.bucket, text))
        noted = f" {' '.join(notes)}" if notes else ""
        summary = (
            f"{source.name} is in point {manifest.point}: {amount(manifest.plain_size)}, "
            f"{amount(manifest.stored_size)} stored.{noted}"
        )
        return StepReport(summary, outcome, facts, (link,))


class VerifyPoint(SourceStep):
    """Reads the stored bytes of the new point again and compares their sha256."""

    def run_step(self, context: Context) -> StepReport:
        """Verify the point of this run."""
        source, run = load_source(self.source), context["dag_run"]
        points = Points.of(source)
        point = point_id(run.run_after, context["ti"].run_id)
        manifest, sha256 = points.manifest(point)
        progress = Progress(self.log.info, manifest.stored_size)
        for member in manifest.members:
            points.check(manifest, member, progress.add)
        at = datetime.now(UTC)
        noted: dict[str, Any] = {"at": at.isoformat(), "manifest_sha256": sha256, "run": context["ti"].run_id}
        summary = f"All {{}} of point {point} were read again and are what was stored."
        if manifest.contents:
            count, read = check_contents(points, manifest, self._last(points, point), at, progress.add)
            noted |= {"contents": count, "contents_read": read}
            summary = (
                f"{{}} of point {point} were read again and are what was stored; all its {count} contents are there."
            )
        noted["bytes"] = progress.done
        points.note(point, VERIFIED, noted)
        return StepReport(summary.format(amount(progress.done)), facts={"source": source.name, "point": point} | noted)

    @staticmethod
    def _last(points: Points, point: str) -> datetime | None:
        """Return when the newest point before this one was verified."""
        before = [one for one in points.verified(points.all()) if one < point]
        noted = points.noted(before[0], VERIFIED) if before else None
        return datetime.fromisoformat(noted["at"]) if noted else None


class PrunePoints(SourceStep):
    """Deletes the points that no period of the retention keeps."""

    def run_step(self, context: Context) -> StepReport:  # noqa: ARG002
        """Prune."""
        source = load_source(self.source)
        points = Points.of(source)
        done = prune(
            points,
            source.retention,
            lambda fate: self.log.info("%s %s: %s", "keep" if fate.kept else "delete", fate.point, fate.why),
        )
        gone = {fate.point: fate.why for fate in done.fates if not fate.kept}
        facts = {
            "source": source.name,
            "kept": {fate.point: fate.why for fate in done.fates if fate.kept},
            "deleted": gone | dict.fromkeys(done.half, "it never got its manifest"),
            "contents_deleted": done.contents,
        }
        waits = f" {done.waits}" if done.waits else ""
        if not facts["deleted"] and not done.contents:
            return StepReport(f"All {len(done.fates)} points of {source.name} are kept.{waits}", "not needed", facts)
        shared = f", and {done.contents} contents that no point needs" if done.contents else ""
        return StepReport(
            f"{len(gone) + len(done.half)} points of {source.name} were deleted{shared}.{waits}", facts=facts
        )


class ChooseDrills(ChooseSources):
    """Chooses the sources whose last proof is oldest."""

    def run_step(self, context: Context) -> StepReport:
        """Choose; of a source that was copied and has nothing verified, its drill says so.

        One that nobody has begun to copy is told: new in the catalogue, it waits for its first point.
        """
        asked = context["params"].get("sources")
        proofs = {name: _last_proof(load_source(name)) for name in self.wanted(context)}
        new = [name for name, proof in proofs.items() if proof is None and not asked]
        chosen = sorted((name for name in proofs if name not in new), key=lambda name: (proofs[name] or "", name))
        if not asked:
            chosen = chosen[: int(context["params"]["at_most"])]
        facts = {"sources": chosen, "never_copied": new}
        told = f" Never copied yet: {', '.join(new)}." if new else ""
        if not chosen:
            return StepReport(f"There is nothing to restore.{told}", "not needed", facts)
        return StepReport(f"{len(chosen)} sources are restored: {', '.join(chosen)}.{told}", facts=facts)


def _last_proof(source: Source) -> str | None:
    """Return when a drill last proved a point; empty when none ever did, None when nothing was ever copied."""
    points = Points.of(source, READER_CONNECTION)
    proven = last_proven(points.proofs(datetime.now(UTC)))
    if proven:
        return proven.at.isoformat()
    return "" if points.all() or points.unfinished() else None


class DrillRestore(SourceStep):
    """Restores a source's newest verified point into a scratch folder, compares it, and measures."""

    def run_step(self, context: Context) -> StepReport:
        """Drill."""
        source = load_source(self.source)
        points = Points.of(source, READER_CONNECTION)
        verified = points.verified(points.all())
        if not verified:
            raise NoPoint(f"{source.name} has no verified point, so nothing can be proven. Run back_up_sources first.")
        began, run = datetime.now(UTC), context["dag_run"]
        found = partial(Proof, began, verified[0], context["ti"].run_id)
        name = point_id(run.run_after, context["ti"].run_id)
        try:
            report = self._drill(source, points, verified[0])
        except FailNow as error:
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
        manifest, sha256 = trusted_manifest(points, point)
        opened = Opened(points, manifest, identity(bool(manifest.recipients)))
        with scratch(source.name) as folder:
            measured = drill(KINDS[source.kind](source), opened, folder)
        facts: dict[str, Any] = {
            "source": source.name,
            "point": measured.point,
            "manifest_sha256": sha256,
            "rpo_seconds": round(measured.rpo.total_seconds(), 3),
            "rto_seconds": round(measured.rto.total_seconds(), 3),
            "rpo_target_seconds": source.rpo.total_seconds(),
            "rto_target_seconds": source.rto.total_seconds(),
        }
        refuse_differences(manifest, measured.differences, facts)
        return StepReport(self._sentence(source, manifest, measured.rpo, measured.rto), facts=facts)

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


class RequireProofs(ChooseSources):
    """Fails when a source has gone without a proof for longer than its catalogue entry allows."""

    def run_step(self, context: Context) -> StepReport:
        """Look at every source, or at those the run was asked for."""
        now = datetime.now(UTC)
        late = [told for name in self.wanted(context) if (told := _lateness(load_source(name), now))]
        if late:
            raise NotProven(f"{' '.join(late)} Start drill_restores for them, and read why if it fails.")
        return StepReport("Every source that has points was proven within its interval.")

    def result(self, report: StepReport) -> None:
        """Return nothing: no task is made of this."""


def _lateness(source: Source, now: datetime) -> str:
    """Say since when a source lacks a proof; empty when it does not, or not for longer than it may."""
    points = Points.of(source, READER_CONNECTION)
    proven = last_proven(points.proofs(now))
    existing = points.all()
    since = proven.at if proven else point_time(existing[-1]) if existing else now
    if now - since <= source.drill_every:
        return ""
    last = f"was proven last on {since:%Y-%m-%d}" if proven else f"has points since {since:%Y-%m-%d} and no proof"
    return f"{source.name} {last}; {source.drill_every.days} days are allowed."


class RecordEvidence(StepOperator):
    """Stores the run's document."""

    def run_step(self, context: Context) -> StepReport:
        """Store it; the steps have just read what they report, so nobody is asked again."""
        ti = context["ti"]
        run = AirflowApi().run(ti.dag_id, ti.run_id)
        return record(run, judge_run(run), lambda: Conclusion(self.subject(context)), without=TEARDOWNS)

    def subject(self, context: Context) -> dict[str, Any]:
        """Return what the run was about."""
        return {"sources": reported(context, "choose_sources").get("sources") or []}

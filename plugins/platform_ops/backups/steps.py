"""The steps of ``back_up_sources``, and those that ``drill_restores`` shares with it.

A mapped step works for one source. What an earlier step reported is a hint: each reads the point it works on anew.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from platform_ops.backups import copying
from platform_ops.backups.contents import CYCLE, check_contents, check_older_contents
from platform_ops.backups.errors import Contradiction, Corrupt, GivenUp, NoPoint, NotProven
from platform_ops.backups.keys import listing_key, recipients
from platform_ops.backups.kinds.table import KINDS
from platform_ops.backups.names import CHOOSE
from platform_ops.backups.points import MANIFEST, RESTORE_TEXT, VERIFIED, BadManifest, Manifest, point_id, point_time
from platform_ops.backups.points import sha256 as sha256_of
from platform_ops.backups.policies import check
from platform_ops.backups.progress import Progress, amount
from platform_ops.backups.pruning import prune
from platform_ops.backups.recorded import RECORDED
from platform_ops.backups.retention import is_due
from platform_ops.backups.sources import CATALOGUE, Source, load_source
from platform_ops.backups.store import Points
from platform_ops.backups.witness import HELD, witness
from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import Invalid, PlatformError, with_facts
from platform_ops.common.operators import StepOperator
from platform_ops.common.records import RunRecord
from platform_ops.common.report import Link, StepReport, reported
from platform_ops.systems.object_store.errors import ObjectNotFound

if TYPE_CHECKING:
    from airflow.sdk import Context


COPY = "back_up_source.copy_source"
PRUNE = "back_up_source.prune_points"
_ENDED = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})
"""States of a task that nothing comes after."""
SPOILS = (Corrupt, NotProven, BadManifest, ObjectNotFound)
"""What says that a point is not what was stored; a store that can't be asked says nothing of it."""


class ChooseSources(StepOperator):
    """Reads the catalogue and chooses the sources of this run."""

    def wanted(self, context: Context) -> list[str]:
        """Return the names a person asked for; all of them for none.

        :raises Invalid: one is in no catalogue file.
        """
        known = CATALOGUE.names()
        asked = list(dict.fromkeys(context["params"].get("sources") or ()))
        unknown = sorted(set(asked) - set(known))
        if unknown:
            raise Invalid(CATALOGUE.missing(*unknown))
        return asked or known

    def run_step(self, context: Context) -> StepReport:
        """Choose what is due, or what was asked for; what another run is at work on is left to it."""
        names, now = self.wanted(context), datetime.now(UTC)
        if not context["params"].get("sources"):
            names = [name for name in names if _is_due(name, now)]
        try:
            at_work_on, unknown = _busy(context["ti"]), ""
        except TROUBLES as error:
            # Two copies of one source compete and harm nothing; none at all would.
            at_work_on, unknown = set(), f" Whether other runs are at work is not known: {error}"
        busy = [name for name in names if name in at_work_on]
        chosen = [name for name in names if name not in at_work_on]
        facts = {"sources": chosen, "busy": busy}
        told = f" Other runs are still at work on {', '.join(busy)}, which is left to them." if busy else ""
        if not chosen:
            return StepReport(f"No {'other ' if busy else ''}source is due.{told}{unknown}", "not needed", facts)
        return StepReport(f"{len(chosen)} sources are backed up: {', '.join(chosen)}.{told}{unknown}", facts=facts)

    def result(self, report: StepReport) -> list[str]:
        """Return the names, which Airflow makes the mapped tasks of."""
        return list(report.facts["sources"])


NEVER = datetime.min.replace(tzinfo=UTC)
TROUBLES = (PlatformError, AirflowException, ValueError)
"""What one source's entry, connection or store may be like: it must stop that source, and no other."""


def _busy(ti: Any) -> set[str]:
    """Return the sources that other runs are at work on."""
    api = AirflowApi()
    others = [one.run_id for one in api.runs(ti.dag_id) if one.state == "running" and one.run_id != ti.run_id]
    return {name for run_id in others for name in at_work(api.run(ti.dag_id, run_id))}


def at_work(run: RunRecord) -> set[str]:
    """Return the sources whose last step has not ended in a run."""
    ended = {task.map_index for task in run.tasks if task.task_id == PRUNE and task.state in _ENDED}
    return {name for index, name in enumerate(run.facts(CHOOSE).get("sources") or ()) if index not in ended}


def _is_due(name: str, now: datetime) -> bool:
    try:
        source = load_source(name)
        points = Points.of(source)
        newest = next(iter(point for point in points.all() if points.has(point, VERIFIED)), None)
    except TROUBLES:
        # Its own steps meet the same, and say so.
        return True
    return is_due(source, point_time(newest) if newest else None, now)


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
        found = check(source, points.hook.rules(source.bucket, f"{source.name}/"), keys)
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
        if points.exists(point):
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
        try:
            return points.manifest(earlier[0])[0].plain_size if earlier else 0
        except (BadManifest, NoPoint):
            return 0

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
    """Reads the stored bytes of the new point again, and of older ones in turn, and compares their sha256."""

    def run_step(self, context: Context) -> StepReport:
        """Verify the point of this run, then those that were verified longest ago."""
        source, run, ti = load_source(self.source), context["dag_run"], context["ti"]
        points = Points.of(source)
        point = point_id(run.run_after, ti.run_id)
        manifest, sha256 = points.manifest(point)
        said = reported(context, COPY, ti.map_index).get("manifest_sha256")
        before = points.verified_as(point).get("manifest_sha256")
        if {said, before} - {None, sha256}:
            raise NotProven(
                f"The manifest of point {point} of {source.name} is not the one that copy_source wrote: somebody "
                "changed it meanwhile. Find out who; the next run makes another point."
            )
        progress = Progress(self.log.info, manifest.stored_size)
        self._read(points, manifest, progress)
        at = datetime.now(UTC)
        older = [one for one in points.verified(points.all()) if one < point]
        noted: dict[str, Any] = {"at": at.isoformat(), "manifest_sha256": sha256, "run": ti.run_id}
        summary = f"All {{}} of point {point} were read again and are what was stored."
        if manifest.contents:
            last = _verified_at(points, older[0]) if older else None
            count, read = check_contents(points, manifest, last, at, progress.add)
            noted |= {"contents": count, "contents_read": read}
            summary = (
                f"{{}} of point {point} were read again and are what was stored; all its {count} contents are there."
            )
        noted["bytes"] = progress.done
        points.verify(point, noted)
        facts: dict[str, Any] = {"source": source.name, "point": point} | noted
        with with_facts(facts):
            again = self._older(source, points, older, at, manifest)
        unheld = {one: said for one, said in again.items() if said != HELD}
        facts |= {"again": list(again), "not_held": unheld}
        told = f" So are {len(again)} older points." if again else ""
        told += f" {len(unheld)} of them were not held against evidence: {', '.join(unheld)}." if unheld else ""
        return StepReport(summary.format(amount(noted["bytes"])) + told, facts=facts)

    @staticmethod
    def _read(points: Points, manifest: Manifest, progress: Progress) -> None:
        for member in manifest.members:
            points.check(manifest, member, progress.add)
        key = points.key(manifest.point, manifest.place, RESTORE_TEXT)
        text = points.hook.read(points.bucket, key)
        if text is None or sha256_of(text) != manifest.restore_text_sha256:
            raise Corrupt(
                f"{points.bucket}/{key} is not the text that was stored. Read another point's, and find out who."
            )

    def _older(
        self, source: Source, points: Points, older: list[str], at: datetime, newest: Manifest
    ) -> dict[str, str]:
        """Read older points again, so that each is within the cycle; one that is spoilt is no longer verified.

        Of their contents those that the newest point shares have a turn of their own.

        :return: each that was read, with what its evidence says.
        """
        for one in points.verified(points.lost()):
            why = (
                f"The manifest of point {one} of {source.name} is gone or empty, though the point was verified: "
                f"somebody deleted it. Put {points.bucket}/{points.key(one, MANIFEST)} back, and find out who."
            )
            points.spoil(one, why)
            raise Corrupt(why, facts={"object": points.key(one, MANIFEST)})
        verified = {one: _verified_at(points, one) for one in older}
        turn = sorted(older, key=lambda one: verified[one])
        share = math.ceil(len(older) * source.tier.every / CYCLE)
        again = {}
        for one in turn[:share]:
            if at - verified[one] < CYCLE / 2:
                break
            noted = points.verified_as(one)
            try:
                sha256, said = self._look_twice(points, one, newest)
                points.verify(one, noted | {"at": at.isoformat(), "manifest_sha256": sha256})
            except GivenUp:
                continue
            except (*SPOILS, NoPoint) as error:
                if not points.has(one, VERIFIED):
                    # Another run has pruned it meanwhile.
                    continue
                if isinstance(error, SPOILS):
                    points.spoil(one, str(error))
                raise
            again[one] = said
        return again

    def _look_twice(self, points: Points, point: str, newest: Manifest) -> tuple[str, str]:
        """Look at an older point, and once more if something is wrong with it.

        A byte that went wrong on its way is no damage: what is damaged is so again.
        """
        try:
            return self._look(points, point, newest)
        except (*SPOILS, NoPoint) as error:
            self.log.info("Point %s is read once more: %s", point, error)
            return self._look(points, point, newest)

    def _look(self, points: Points, point: str, newest: Manifest) -> tuple[str, str]:
        """Read an older point; return its manifest's sha256, and what its evidence says."""
        manifest, sha256 = points.trusted(point)
        said = witness(manifest, sha256)
        progress = Progress(self.log.info, manifest.stored_size)
        self._read(points, manifest, progress)
        check_older_contents(points, manifest, newest, progress.add)
        return sha256, said


def _verified_at(points: Points, point: str) -> datetime:
    """Return when a point was verified; a note that does not say it calls for another look."""
    try:
        at = datetime.fromisoformat(points.verified_as(point)["at"])
    except (ValueError, KeyError, TypeError):
        return NEVER
    return at if at.tzinfo else NEVER


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


class RecordEvidence(StepOperator):
    """Stores the run's document."""

    def run_step(self, context: Context) -> StepReport:
        """Store it, or adopt the one an earlier try stored."""
        ti = context["ti"]
        return RECORDED[ti.dag_id].record(AirflowApi().run(ti.dag_id, ti.run_id))

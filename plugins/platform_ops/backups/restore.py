"""One run of ``restore_backup``: what is restored, from where, to where, and who must agree."""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_ops.approvals.answers import answers
from platform_ops.approvals.asking import ask, plain
from platform_ops.approvals.gate import Request
from platform_ops.approvals.identities import load_identities
from platform_ops.approvals.policy import ApprovalPolicy
from platform_ops.approvals.rules import binding, judge, may_answer, participants
from platform_ops.backups.destinations import BucketDestination, Destination, FolderDestination
from platform_ops.backups.drilling import Opened, opened
from platform_ops.backups.errors import NoPoint
from platform_ops.backups.keys import READER_CONNECTION
from platform_ops.backups.kinds.shape import Leaves, Selective
from platform_ops.backups.kinds.table import KINDS
from platform_ops.backups.names import GATE
from platform_ops.backups.overview import WINDOW
from platform_ops.backups.placing import Placement
from platform_ops.backups.points import VERIFIED, Manifest, is_point, point_time
from platform_ops.backups.progress import amount
from platform_ops.backups.sources import Source, load_source, source_names
from platform_ops.backups.store import Points
from platform_ops.backups.wishes import (
    BUCKET,
    SYSTEM,
    BadWish,
    Place,
    Wish,
    overlap,
    place_of,
    production_policy,
    refuse_reserved,
    refuse_source,
    wish_from,
)
from platform_ops.common.report import Link
from platform_ops.common.settings import own_folders, run_page_url
from platform_ops.systems.object_store.buckets import BucketHook

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True)
class Restore:
    """What one run restores.

    :param started_by: Airflow account.
    """

    wish: Wish
    source: Source
    dag_id: str
    run_id: str
    started_by: str | None

    @classmethod
    def of(cls, context: Context) -> Restore:
        """Read the form and the catalogue.

        :raises BadWish: the form means nothing.
        :raises BadDocument: there is no such source.
        """
        wish, ti = wish_from(context["params"]), context["ti"]
        starter = context["dag_run"].triggering_user_name
        return cls(wish, load_source(wish.source), ti.dag_id, ti.run_id, starter)

    @cached_property
    def points(self) -> Points:
        """Return the source's points."""
        return Points.of(self.source, READER_CONNECTION)

    @cached_property
    def catalogue(self) -> list[Source]:
        """Return all sources.

        :raises BadDocument: a catalogue file is not in order, so nobody knows what is production.
        """
        return [load_source(name) for name in source_names()]

    @cached_property
    def target(self) -> Place:
        """Return where it is restored to, with the links of a folder followed.

        :raises BadWish: it is, contains or lies in the source, another one for which nobody may approve, or what
            belongs to the machine or to Airflow; or it holds backups.
        """
        wished = self.wish.target
        target = wished.resolve() if isinstance(wished, Path) else wished
        refuse_source(target, _live(self.source))
        for other in self.catalogue:
            if target == f"{BUCKET}{other.bucket}":
                raise BadWish(f"The target {target} holds the backups of {other.name}. Name another bucket.")
            live = _live(other)
            if live and other.approval is None and overlap(target, live):
                raise BadWish(
                    f"The target {target} is, contains or lies in {live}, the source {other.name}, and the catalogue "
                    "names nobody who may approve that. Name another; move or copy from there."
                )
        if isinstance(target, Path):
            reserved = (folder.resolve() for folder in (*SYSTEM, *own_folders()))
            refuse_reserved(target, reserved, overwrite=self.wish.overwrite)
        return target

    @cached_property
    def destination(self) -> Destination:
        """Return where it is restored to.

        :raises BadWish: the kind is not restored to such a target, or a part is asked for that it can't restore.
        """
        target, subset, overwrite = self.target, self.wish.subset, self.wish.overwrite
        if isinstance(target, str):
            return BucketDestination(self._writer(), target.removeprefix(BUCKET), subset, overwrite=overwrite)
        kind = KINDS[self.source.kind](self.source)
        if isinstance(kind, Leaves):
            raise BadWish(f"A source of kind {self.source.kind} is restored into a bucket. Name one as {BUCKET}<name>.")
        if subset and not isinstance(kind, Selective):
            raise BadWish(f"Of the source {self.source.name} only all can be restored; leave the part empty.")
        # Only a directory's part is a path; what another kind makes of a part takes the target's place.
        path = subset if self.source.kind == "directory" else ""
        mark = hashlib.sha256(self.run_id.encode()).hexdigest()[:8]
        return FolderDestination(kind, Placement(target, path, mark), subset, overwrite=overwrite)

    def _writer(self) -> BucketHook:
        if self.source.kind != "bucket":
            raise BadWish(
                f"A source of kind {self.source.kind} is restored into a folder. Name one on the worker, not a bucket."
            )
        if self.source.restore_connection is None:
            raise BadWish(
                f"The catalogue names no account that writes into the buckets to which {self.source.name} is restored: "
                "enter its connection in `restore: connection`. That of the source only reads."
            )
        return BucketHook(self.source.restore_connection)

    @cached_property
    def policy(self) -> ApprovalPolicy | None:
        """Return who must say yes; None where the target is no production.

        :raises BadDocument: a catalogue file is not in order, so nobody knows.
        """
        production = ((one, _production(one)) for one in self.catalogue)
        return production_policy(place_of(self.destination.place), production)

    def choose(self) -> str:
        """Return the point that is asked for.

        :raises NoPoint: there is none.
        """
        if self.wish.point is not None:
            return self.wish.point
        verified, oldest = 0, ""
        for point in self.points.all():
            if not self.points.has(point, VERIFIED):
                continue
            verified, oldest = verified + 1, point
            as_of = self.wish.as_of
            if as_of is None:
                return point
            if point_time(point) <= as_of and self.points.manifest(point)[0].settled_at <= as_of:
                return point
        if not verified:
            raise NoPoint(f"{self.source.name} has no verified point. Run back_up_sources, or name a point.")
        raise NoPoint(
            f"The oldest verified point of {self.source.name}, {oldest}, may hold what is newer than "
            f"{self.wish.as_of}: it was read until later. Ask for a later time, or for that point."
        )

    def manifest(self, point: str) -> tuple[Manifest, str]:
        """Return the manifest of the point and its sha256.

        :raises NoPoint: the source has no such point.
        :raises BadWish: it is not one that was asked for.
        :raises NotProven: its manifest was changed after it was verified.
        """
        if not is_point(point):
            raise BadWish("plan_restore has left no point. Clear plan_restore, with what follows it.")
        try:
            found = self.points.trusted(point) if self.points.has(point, VERIFIED) else self.points.manifest(point)
        except NoPoint as error:
            raise NoPoint(f"{error} {_nearest(point, self.points.all())}") from error
        if not self.wish.accepts(point, found[0].settled_at):
            raise BadWish(f"Point {point} is not what the form asks for. Clear plan_restore, with what follows it.")
        return found

    def opened(self, manifest: Manifest, say: Callable[[str], object] | None = None) -> Opened:
        """Open a point with the private key.

        :param say: takes sentences about how far the reading is.
        """
        return opened(self.points, manifest, say)

    def estimate(self) -> timedelta | None:
        """Return how long it took at worst in the drills of 30 days; None when none has proven a point."""
        proofs = self.points.proofs(datetime.now(UTC) - WINDOW)
        return max((proof.rto for proof in proofs if proof.proven and proof.rto is not None), default=None)

    def question(self, point: str, manifest_sha256: str, policy: ApprovalPolicy) -> tuple[str, tuple[str, ...]]:
        """Return the hash an answer is bound to, and who may answer.

        :raises BadWish: nobody knows who started the run, who may not approve it.
        :raises TooFewApprovers: nobody is left to ask.
        """
        if not self.started_by:
            raise BadWish(
                f"{self.destination.place} is production, and Airflow does not know who started this run, so whoever "
                "did might approve it. Start it from Airflow's pages or its REST API, with an account of your own."
            )
        identities = load_identities()
        excluded = participants(identities, emails=(), mergers=(), starter=self.started_by)
        bound_to = binding(
            {
                "source": self.source.name,
                "point": point,
                "manifest": manifest_sha256,
                "target": self.destination.target,
                "subset": self.wish.subset,
                "overwrite": str(self.wish.overwrite),
                "run": self.run_id,
            }
        )
        return bound_to, may_answer(identities, policy.approvers, excluded, policy.quorum)

    def approved_by(self, point: str, manifest_sha256: str) -> list[str]:
        """Return who said yes on Airflow's server; nobody where nobody needs to.

        :raises ApprovalError: there is no yes.
        """
        if self.policy is None:
            return []
        bound_to, allowed = self.question(point, manifest_sha256, self.policy)
        said = judge(
            answers(self.dag_id, self.run_id, (GATE,)),
            quorum=self.policy.quorum,
            bound_to=bound_to,
            allowed=allowed,
            now=datetime.now(UTC),
            expires_after=self.policy.expires_after,
        )
        return [yes.by for yes in said]

    def asking(self, manifest: Manifest, sha256: str, policy: ApprovalPolicy, planned: Mapping[str, Any]) -> Request:
        """Return what the approvers are shown.

        :param planned: facts of ``plan_restore``.
        """
        bound_to, allowed = self.question(manifest.point, sha256, policy)
        in_the_way = planned.get("in_the_way") or {}
        rows = [
            f"**{self.source.name}** as it was at **{manifest.state_words}**",
            f"- point `{manifest.point}`",
            f"- to {plain(self.destination.place)}, which the catalogue calls production",
            f"- part: {plain(self.wish.subset) or 'all of it'}, {amount(int(planned.get('bytes') or 0))}",
            f"- in the way: {in_the_way.get('count', 0)} entries, which are kept",
            *([f"- reason: {plain(self.wish.reason)}"] if self.wish.reason else []),
            f"- started by {plain(str(self.started_by))}",
            f"- [the run's page]({run_page_url(self.dag_id, self.run_id)})",
        ]
        return ask(
            f"Restore {self.source.name} to {self.destination.place}?",
            "\n".join(rows),
            bound_to=bound_to,
            may_answer=allowed,
            expires_at=datetime.now(UTC) + policy.expires_after,
            page=Link("Run page", run_page_url(self.dag_id, self.run_id)),
            facts={"point": manifest.point, "target": self.destination.place, "answers": []},
        )


def _nearest(point: str, existing: Iterable[str]) -> str:
    """Return the sentence about the points that exist just before and after one that does not."""
    names = sorted(existing)
    at = bisect(names, point)
    near = ", ".join(names[max(at - 2, 0) : at + 2])
    if not near:
        return "It has none: run back_up_sources first."
    return f"The nearest are {near}; the page Backups lists them."


def _live(source: Source) -> Place | None:
    """Return where a source's data lies; None where that is no place a restore can go to."""
    if source.kind == "directory":
        return Path(source.what["path"]).resolve()
    return f"{BUCKET}{source.what['bucket']}" if source.kind == "bucket" else None


def _production(source: Source) -> list[Place]:
    """Return what is restored to only with a yes: what the catalogue says, and where the source's data lies."""
    live = _live(source)
    return [*map(place_of, source.production), *([live] if live else [])]

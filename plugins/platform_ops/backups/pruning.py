"""Delete the points no period keeps, and the contents no point needs.

Fence, for two copies and two prunes of a source at once, each dying between any two lines:

- A copy that shares contents first writes a claim into its point, ``claim-<try>.json``: which point it builds on. Then
  it looks whether that point still exists, and takes another one if not.
- It takes over contents only from the point it builds on; what it stores has a name that holds its own point and try.
- A prune first deletes the manifests of the points that go, then lists the points, then reads the claims of all others.
  Where a claim names a point that is gone, nothing of that point and no content is deleted this time: of a copy that
  looked just before the manifest went, the claim is there to be seen.
- A content goes only when no listed point needs it, and the point that stored it is complete, given up or gone.
- Whatever a manifest does not list is deleted. Therefore only manifests that are still the verified ones are used: a
  doubtful point's leftovers stay, and while any point is doubtful no content is deleted.
- A point without manifest goes when a newer one exists. It gets an empty manifest first, if it has none by then; so a
  copy that is still at work can't commit what is being deleted. Those stay for ``REMEMBERED``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta

from platform_ops.backups.contents import Stored, abort_uploads, index_member, key_of, listed, point_of, present
from platform_ops.backups.errors import NoPoint, NotProven
from platform_ops.backups.points import CLAIM, MANIFEST, SPOILT, VERIFIED, BadManifest, Manifest, is_point, point_time
from platform_ops.backups.retention import Fate, fates
from platform_ops.backups.sources import Retention
from platform_ops.backups.store import Points

REMEMBERED = timedelta(days=30)
"""Longer than any copy runs."""


@dataclass(slots=True)
class Pruned:
    """What a prune did.

    :param half: points that were deleted although they never were complete.
    :param contents: how many contents were deleted.
    :param waits: why leftovers and contents were left for the next time; empty when they were looked at.
    """

    fates: tuple[Fate, ...]
    half: list[str] = field(default_factory=list)
    contents: int = 0
    waits: str = ""


def prune(points: Points, retention: Retention, say: Callable[[Fate], object]) -> Pruned:
    """Delete what is no longer needed.

    :param say: told of each point before anything is deleted.
    """
    half = _give_up(points)
    existing, lost = points.all(), points.lost()
    claimed, trusted = _claimed(points, existing), _trusted(points, existing)
    told = tuple(_kept_for_copy(fate, claimed) for fate in _fates(points, existing, trusted, retention))
    for fate in told:
        say(fate)
    done = Pruned(told, half)
    gone = [fate.point for fate in told if not fate.kept]
    for point in gone:
        points.unmake(point)
    newest = existing[0] if existing else ""
    _abort_uploads(points, newest, claimed)
    # Read again: a copy may have begun to build on what has just gone.
    looked_at, existing = existing, points.all()
    trusted = {point: its for point, its in trusted.items() if point in existing}
    trusted |= _trusted(points, [point for point in existing if point not in looked_at])
    held = set(_claimed(points, [*existing, *gone])) - set(existing)
    for point in (*gone, *points.given_up()):
        if point not in held and point not in lost:
            # Before the rest goes: by that a later prune finds the point, should this one die.
            points.hook.abort_uploads(points.bucket, points.key(point, ""))
            points.clear(point)
    for point in existing[1:]:
        # What belongs to the newest point may still be growing.
        for key in points.strays(trusted[point]) if point in trusted else ():
            points.hook.remove(points.bucket, key)
    done.waits = _waits([*existing, *lost], trusted, held)
    if not done.waits:
        done.contents = _sweep(points, trusted)
    _forget(points, newest)
    return done


def _give_up(points: Points) -> list[str]:
    """Have points without manifest that are older than a complete one never be complete; return them.

    First of all, so that what a dead copy built on is not kept for it.
    """
    existing, lost = points.all(), points.lost()
    claimed, newest = _claimed(points, existing), existing[0] if existing else ""
    half = [point for point in points.unfinished() if point < newest and point not in lost]
    return [point for point in half if point not in claimed and points.give_up(point)]


def _abort_uploads(points: Points, newest: str, claimed: Collection[str]) -> None:
    """Abort what copies of older points left half uploaded: of one that died early nothing else is there."""

    def which(key: str) -> bool:
        point = key.removeprefix(f"{points.source}/").partition("/")[0]
        return is_point(point) and point < newest and point not in claimed

    points.hook.abort_uploads(points.bucket, f"{points.source}/", which)


def _fates(points: Points, existing: list[str], trusted: dict[str, Manifest], retention: Retention) -> Iterator[Fate]:
    """Yield the fates; a point that changed since it was verified stays its time, and stands for no other."""
    once_verified = [point for point in existing if {VERIFIED, SPOILT} & points.parts(point).keys()]
    once = {fate.point for fate in fates(existing, retention, once_verified) if fate.kept}
    for fate in fates(existing, retention, trusted):
        if fate.kept or fate.point not in once:
            yield fate
        else:
            yield Fate(fate.point, kept=True, why="it is not what was verified; somebody has to look")


def _trusted(points: Points, existing: list[str]) -> dict[str, Manifest]:
    """Return the manifests that are those that were verified."""
    trusted = {}
    for point in existing:
        with suppress(NoPoint, BadManifest, NotProven):
            trusted[point] = points.trusted(point)[0]
    return trusted


def _waits(existing: list[str], trusted: dict[str, Manifest], held: set[str]) -> str:
    """Say why contents can't be looked at; empty when they can."""
    said = []
    if held:
        said.append(f"A copy builds on {', '.join(sorted(held))}, so contents are looked at next time.")
    if doubtful := [point for point in existing if point not in trusted]:
        said.append(
            f"{', '.join(doubtful)} are not what was verified, or never were, so their leftovers and all contents "
            "were left. Find out what changed them; what never was verified goes once a newer point is."
        )
    if blind := [point for point, its in trusted.items() if its.contents and not index_member(its)]:
        said.append(f"The contents that {', '.join(blind)} needs are not listed in it, so all contents were left.")
    return " ".join(said)


def _kept_for_copy(fate: Fate, claimed: dict[str, str]) -> Fate:
    if fate.kept or fate.point not in claimed:
        return fate
    return Fate(fate.point, kept=True, why=f"the copy {claimed[fate.point]} builds on it")


def _claimed(points: Points, existing: list[str]) -> dict[str, str]:
    """Return the points that copies build on, each with one such copy.

    :param existing: complete points, which need no other any more.
    """
    claimed = {}
    for point in points.folders():
        if point in existing:
            continue
        parts = points.parts(point)
        if parts.get(MANIFEST) == 0:
            continue
        for name in parts:
            base = (points.noted(point, name) or {}).get("base") if name.startswith(CLAIM) else None
            if base:
                claimed[str(base)] = point
    return claimed


def _sweep(points: Points, manifests: dict[str, Manifest]) -> int:
    """Delete the contents that no point needs; return how many.

    All lists come sorted by name, so they are read side by side and never held.

    :param manifests: of all points that exist.
    """
    for manifest in manifests.values():
        # What a damaged list leaves out would be deleted.
        if member := index_member(manifest):
            points.check(manifest, member, lambda _: None)
    count, settled = 0, _Settled(points, manifests)
    abort_uploads(points, settled)
    with ExitStack() as opened:
        lists = [opened.enter_context(listed(points, manifest)) for manifest in manifests.values()]
        needed = heapq.merge(*(map(_name, one) for one in lists))
        for name in _not_needed(present(points), needed, settled):
            points.hook.remove(points.bucket, key_of(points, name))
            count += 1
    return count


def _name(one: Stored) -> str:
    return one.name


class _Settled:
    """Says whether the point that stored a content is settled: complete, given up or gone.

    Only its list then decides whether it needs the content.
    """

    def __init__(self, points: Points, existing: Iterable[str]) -> None:
        self._points = points
        self._known = dict.fromkeys(existing, True)

    def __call__(self, point: str) -> bool:
        """Look; a copy writes its claim before its first content, so what is at work can be seen."""
        if point not in self._known:
            parts = self._points.parts(point)
            self._known[point] = parts.get(MANIFEST) == 0 or not parts
        return self._known[point]


def _not_needed(
    there: Iterator[tuple[str, int]], needed: Iterator[str], settled: Callable[[str], bool]
) -> Iterator[str]:
    wanted = next(needed, None)
    for name, _ in there:
        while wanted is not None and wanted < name:
            wanted = next(needed, None)
        point = point_of(name)
        if name != wanted and point is not None and settled(point):
            yield name


def _forget(points: Points, newest: str) -> None:
    """Delete the empty manifests of points that nobody can be copying any more."""
    if not newest:
        return
    for point in points.given_up():
        if point_time(newest) - point_time(point) > REMEMBERED:
            points.hook.remove(points.bucket, points.key(point, MANIFEST))

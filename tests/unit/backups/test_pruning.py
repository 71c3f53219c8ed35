"""What goes and what stays, whoever else is at work and wherever somebody dies."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread

import pytest

from platform_ops.backups.contents import listed
from platform_ops.backups.errors import Corrupt, GivenUp
from platform_ops.backups.points import CLAIM, MANIFEST, VERIFIED, sha256, write_manifest
from platform_ops.backups.sources import Retention
from platform_ops.common.errors import NotFound
from tests.unit.backups.bucket_world import DAILY, World
from tests.unit.backups.s3 import Killed

TWO_DAYS = Retention(daily=2, weekly=0, monthly=0, yearly=0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def needed(world: World) -> set[str]:
    """Return the contents that points need, having seen that all are there and right."""
    found = set()
    for point in world.points.all():
        manifest = world.points.manifest(point)[0]
        world.verify(manifest)
        with listed(world.points, manifest) as contents:
            found |= {f"shop-data/contents/{one.name}" for one in contents}
        assert {line["content"] for line in world.lines(manifest)} <= {key.rpartition("/")[2] for key in found}
    return found


def change(world: World, number: int) -> None:
    """Have one object of three go, one change and one come back."""
    world.s3.put("shop", "stays", b"as ever")
    world.s3.put("shop", "changes", f"state {number}".encode())
    if number % 2:
        world.s3.buckets["shop"].keys.pop("sometimes", None)
    else:
        world.s3.put("shop", "sometimes", b"now and then")


def test_what_any_point_needs_stays_and_the_rest_goes(world: World, tmp_path: Path) -> None:
    for number in (0, 1, 24, 25, 48, 49):
        change(world, number)
        world.back_up(number)
    assert len(world.contents()) == 1 + 6 + 3
    done = world.prune(TWO_DAYS)
    assert [fate.point for fate in done.fates if fate.kept] == [world.name_of(49), world.name_of(25)]
    assert set(world.contents()) == needed(world)
    assert done.contents == 10 - len(world.contents())
    assert world.prune(TWO_DAYS).contents == 0
    assert world.drill(world.begin(25), tmp_path).differences == ()


def test_only_a_point_that_shares_contents_has_a_list_of_them(world: World) -> None:
    """A kind may give a part of its own the same name."""
    world.s3.put("shop", "k", b"x")
    manifest = world.begin()
    with listed(world.points, manifest) as contents, listed(world.points, replace(manifest, contents=None)) as none:
        assert len(list(contents)) == 1
        assert list(none) == []


def test_a_manifest_is_read_once(world: World) -> None:
    for number in (0, 1):
        change(world, number)
        world.back_up(number)
    before = world.s3.count("GET", r"/manifest\.json\?")
    world.prune(TWO_DAYS)
    assert world.s3.count("GET", r"/manifest\.json\?") - before == 2


def test_a_point_that_a_copy_builds_on_is_kept_for_it(world: World) -> None:
    change(world, 0)
    old = world.back_up(0)

    def meanwhile(method: str, path: str, query: str) -> None:
        if method == "PUT" and path.endswith("contents.jsonl.zst"):
            world.s3.spoil = lambda *_: None
            change(world, 2)
            world.back_up(2)
            done = world.prune()
            assert {fate.point: fate.kept for fate in done.fates}[old.point]

    change(world, 1)
    world.s3.spoil = meanwhile
    world.begin(3)
    needed(world)


def test_a_damaged_list_lets_no_content_go(world: World) -> None:
    for number in (0, 24):
        change(world, number)
        world.back_up(number)
    manifest = world.points.manifest(world.name_of(0))[0]
    key = world.points.key(manifest.point, manifest.place, "contents.jsonl.zst")
    world.s3.put("backups", key, world.s3.newest("backups", key).body[:-20])
    before = world.contents()
    with pytest.raises(Corrupt, match=key):
        world.prune(TWO_DAYS)
    assert world.contents() == before


def alter(world: World, point: str) -> None:
    """Have a manifest say that its point is of another place, and needs no contents."""
    manifest = replace(world.points.manifest(point)[0], place="elsewhere", members=(), contents=None)
    world.s3.put("backups", world.points.key(point, MANIFEST), write_manifest(manifest))


def garble(world: World, point: str) -> None:
    world.s3.put("backups", world.points.key(point, MANIFEST), b"no manifest")


def spoil_note(world: World, point: str) -> None:
    world.s3.put("backups", world.points.key(point, VERIFIED), b"\xff no note")


@pytest.mark.parametrize("spoil", [alter, garble, spoil_note])
def test_on_a_manifest_that_is_not_the_verified_one_nothing_is_deleted(
    world: World, spoil: Callable[[World, str], None]
) -> None:
    for number in (0, 1, 24, 25, 48):
        change(world, number)
        world.back_up(number)
    spoil(world, world.name_of(25))
    parts, before = world.points.parts(world.name_of(25)), world.contents()
    done = world.prune(TWO_DAYS)
    # It stays beside those that stand for their days, and the others go all the same.
    assert world.points.all() == [world.name_of(number) for number in (48, 25, 24)]
    assert world.points.parts(world.name_of(25)) == parts
    assert (done.contents, world.contents()) == (0, before)
    assert world.name_of(25) in done.waits
    assert world.name_of(24) not in done.waits
    for number in (72, 96):
        change(world, number)
        world.back_up(number)
    # When its time is over it goes, and contents are looked at again.
    assert world.prune(TWO_DAYS).waits == ""
    assert set(world.contents()) == needed(world)


def test_while_the_newest_point_is_not_verified_no_content_goes(world: World) -> None:
    for number in (0, 24):
        change(world, number)
        world.back_up(number)
    change(world, 25)
    world.begin(25)
    before = world.contents()
    done = world.prune()
    assert world.points.all() == [world.name_of(25), world.name_of(24)]
    assert (done.contents, world.contents()) == (0, before)
    assert world.name_of(25) in done.waits


def test_a_point_with_contents_and_no_list_of_them_lets_no_content_go(world: World) -> None:
    for number in (0, 24):
        change(world, number)
        world.back_up(number)
    point = world.name_of(24)
    body = write_manifest(replace(world.points.manifest(point)[0], members=()))
    world.s3.put("backups", world.points.key(point, MANIFEST), body)
    world.points.note(point, VERIFIED, {"manifest_sha256": sha256(body)})
    before = world.contents()
    done = world.prune()
    assert (done.contents, world.contents()) == (0, before)
    assert point in done.waits


def test_uploads_to_what_goes_are_aborted_and_others_are_not(world: World) -> None:
    for number in (0, 24):
        change(world, number)
        world.back_up(number)
    world.points.note(world.name_of(1), f"{CLAIM}x.json", {"base": None})
    # Of 2 nothing is there but the upload: its copy died in it.
    for number in (0, 1, 2, 24, 25):
        key = world.points.key(world.name_of(number), "00000000", "objects.jsonl.zst.age")
        world.points.hook.client._create_multipart_upload("backups", key, {})
    done = world.prune()
    assert done.half == [world.name_of(1)]
    left = {key.split("/")[1] for _, key, _, _ in world.s3.uploads.values()}
    assert left == {world.name_of(24), world.name_of(25)}


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_change_loses_nothing_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    for kill_at in count(1):
        world = World(monkeypatch)
        change(world, 0)
        first = world.back_up(0)
        world.s3.changes, world.s3.kill_at, world.s3.after = 0, kill_at, after
        change(world, 1)
        died = False
        try:
            world.back_up(1)
            world.prune()
        except Killed:
            died = True
        world.s3.revive()
        assert first.point in world.points.all() or world.points.has(world.name_of(1), VERIFIED)
        needed(world)
        # The same run is tried again, and a later one comes.
        for number in (1, 2):
            change(world, number)
            world.back_up(number)
            needed(world)
            world.prune()
        assert world.points.all() == [world.name_of(2)]
        assert set(world.contents()) == needed(world)
        if not died:
            assert kill_at > 15
            return


class Between:
    """What somebody else does between two requests.

    :ivar done: whether that moment came.
    """

    def __init__(self, world: World, moment: int, act: Callable[[], object]) -> None:
        self._world, self._left, self._act = world, moment, act
        self._lock = Lock()
        self.done = False
        world.s3.spoil = self

    def __call__(self, method: str, path: str, query: str) -> None:
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._world.s3.spoil = lambda *_: None
        self.done = True
        self._act()


@pytest.mark.parametrize("own", [1, 9])
def test_runs_beside_a_copy_at_any_moment_take_nothing_from_it(monkeypatch: pytest.MonkeyPatch, own: int) -> None:
    """Between any two requests of a copy, two other runs copy and prune: newer ones and older ones."""
    for moment in count(1):
        world = World(monkeypatch)
        change(world, 0)
        world.back_up(0)
        change(world, 1)

        def others(world: World = world) -> None:
            for number in (3, 4):
                world.s3.put("shop", "stays", f"for once {number}".encode())
                world.back_up(number)
                world.prune()
            world.s3.put("shop", "stays", b"as ever")

        between = Between(world, moment, others)
        try:
            world.begin(own)
        except (GivenUp, NotFound):
            # Given up, or what it was reading just went.
            assert own == 1
        world.s3.spoil = lambda *_: None
        needed(world)
        if not between.done:
            assert moment > 15
            return
        world.back_up(10)
        world.prune()
        assert set(world.contents()) == needed(world)


def test_a_copy_between_any_two_requests_of_a_prune_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in count(1):
        world = World(monkeypatch)
        for number in (0, 1):
            change(world, number)
            world.back_up(number)
        change(world, 2)
        between = Between(world, moment, lambda world=world: world.begin(2))  # type: ignore[misc]
        world.prune(DAILY)
        world.s3.spoil = lambda *_: None
        needed(world)
        if not between.done:
            assert moment > 15
            return


class Paused:
    """A copy in a thread of its own that stops before its claim and before its first content."""

    def __init__(self, world: World, number: int) -> None:
        self._gates = {name: (Event(), Event()) for name in (CLAIM, "/contents/")}
        self._error: BaseException | None = None
        world.s3.spoil = self.stop_here
        self._thread = Thread(target=self._run, args=(world, number))
        self._thread.start()

    def _run(self, world: World, number: int) -> None:
        try:
            world.begin(number)
        except (GivenUp, NotFound) as error:
            self._error = error
        finally:
            for reached, _ in self._gates.values():
                reached.set()

    def stop_here(self, method: str, path: str, query: str) -> None:
        for name, (reached, go_on) in self._gates.items():
            if method == "PUT" and name in path:
                reached.set()
                assert go_on.wait(30)

    def wait_for(self, name: str) -> None:
        assert self._gates[name][0].wait(30)

    def let_go(self, name: str) -> None:
        self._gates[name][1].set()

    def end(self) -> None:
        self._thread.join(30)


def test_a_claim_in_the_midst_of_a_prune_is_seen_by_one_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy has looked for points before the newest was made, so it builds on one that the prune deletes."""
    for moment in count(1):
        world = World(monkeypatch)
        change(world, 0)
        world.back_up(0)
        change(world, 1)
        paused = Paused(world, 9)
        paused.wait_for(CLAIM)
        world.s3.spoil = lambda *_: None
        world.s3.put("shop", "stays", b"for once")
        world.back_up(1)

        def meanwhile(world: World = world, paused: Paused = paused) -> None:
            world.s3.put("shop", "stays", b"as ever")
            world.s3.put("shop", "changes", b"state 9")
            world.s3.spoil = paused.stop_here
            paused.let_go(CLAIM)
            paused.wait_for("/contents/")
            world.s3.spoil = lambda *_: None

        between = Between(world, moment, meanwhile)
        world.prune()
        world.s3.spoil = lambda *_: None
        for name in (CLAIM, "/contents/"):
            paused.let_go(name)
        paused.end()
        needed(world)
        if not between.done:
            assert moment > 15
            return

"""What was restored gets to its place, and nothing that was there is lost, wherever the process dies."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from platform_ops.backups import placing
from platform_ops.backups.placing import Placement
from platform_ops.backups.wishes import BadWish
from platform_ops.common.errors import Busy


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def placement(tmp_path: Path) -> Placement:
    return Placement(tmp_path / "target", "", "0123abcd")


def restore(placement: Placement) -> None:
    staging = placement.stage()
    for name in ("new", "folder/below"):
        (staging / name).parent.mkdir(exist_ok=True)
        (staging / name).write_text("restored")
    placement.put()


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


RESTORED = {"target/folder/below": "restored", "target/new": "restored"}


@pytest.mark.parametrize("exists", [True, False])
def test_an_empty_or_missing_target_takes_it(placement: Placement, tmp_path: Path, exists: bool) -> None:
    if exists:
        placement.target.mkdir(mode=0o750)
    assert placement.check(overwrite=False).count == 0
    assert not placement.is_done()
    restore(placement)
    assert placement.is_done()
    assert placement.aside() == []
    assert tree(tmp_path) == RESTORED
    assert placement.target.stat().st_mode & 0o777 == (0o750 if exists else 0o700)
    placement.forget()
    assert list(tmp_path.iterdir()) == [placement.target]


def test_what_is_not_empty_is_refused_unless_that_is_said(placement: Placement, tmp_path: Path) -> None:
    placement.target.mkdir()
    (placement.target / "old").write_text("mine")
    with pytest.raises(BadWish, match="is not empty: old"):
        placement.check(overwrite=False)
    way = placement.check(overwrite=True)
    assert (way.count, way.names) == (1, ("old",))
    restore(placement)
    assert tree(tmp_path) == RESTORED | {"target.before-0123abcd-1/old": "mine"}
    assert placement.aside() == [tmp_path / "target.before-0123abcd-1"]


def test_a_part_replaces_only_itself(tmp_path: Path) -> None:
    placement = Placement(tmp_path / "target", "folder", "0123abcd")
    for name in ("folder/old", "other"):
        (tmp_path / "target" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "target" / name).write_text("mine")
    assert placement.check(overwrite=True).names == ("old",)
    restore(placement)
    assert placement.is_done()
    assert tree(tmp_path) == {
        "target/folder/below": "restored",
        "target/other": "mine",
        "target.before-0123abcd-1/folder/old": "mine",
    }


def test_a_single_file_is_put_into_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    placement = Placement(tmp_path / "target", "folder/below", "0123abcd")
    assert placement.check(overwrite=False).count == 0
    restore(placement)
    assert tree(tmp_path) == {"target/folder/below": "restored"}


@pytest.mark.parametrize("what", ["no parent", "a file", "a mount point", "a link out"])
def test_places_that_can_not_be_taken_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    placement = Placement(tmp_path / "target", "", "0123abcd")
    if what == "no parent":
        placement = Placement(tmp_path / "nosuch" / "target", "", "0123abcd")
    elif what == "a file":
        placement.target.write_text("mine")
    elif what == "a mount point":
        placement.target.mkdir()
        monkeypatch.setattr(Path, "is_mount", lambda path: path == placement.target)
    else:
        (tmp_path / "outside").mkdir()
        placement.target.mkdir()
        (placement.target / "link").symlink_to(tmp_path / "outside")
        placement = Placement(tmp_path / "target", "link/file", "0123abcd")
    before = tree(tmp_path)
    with pytest.raises(BadWish):
        placement.check(overwrite=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("dies_at", range(1, 9))
def test_killed_anywhere_the_next_try_ends_and_nothing_is_lost(
    placement: Placement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool, dies_at: int
) -> None:
    placement.target.mkdir()
    if overwrite:
        (placement.target / "old").write_text("mine")
    calls = 0
    with monkeypatch.context() as patched:
        for place, name in (
            (Path, "rename"), (Path, "rmdir"), (Path, "write_text"), (Path, "mkdir"), (Path, "chmod"), (placing, "remove"),
        ):  # fmt: skip
            real = getattr(place, name)

            def dying(*arguments, real=real, **options):
                nonlocal calls
                calls += 1
                if calls == dies_at:
                    raise Killed
                return real(*arguments, **options)

            patched.setattr(place, name, dying)
        with pytest.raises(Killed):
            restore(placement)
    if not placement.is_done():
        placement.check(overwrite=overwrite)
        restore(placement)
    placement.forget()
    kept = {"target.before-0123abcd-1/old": "mine"} if overwrite else {}
    assert tree(tmp_path) == RESTORED | kept
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_a_dead_try_left_read_only_is_removed(placement: Placement) -> None:
    staging = placement.stage()
    (staging / "folder").mkdir()
    (staging / "folder" / "file").write_text("x")
    (staging / "link").symlink_to("folder")
    (staging / "folder").chmod(0o500)
    assert list(placement.stage().iterdir()) == []


def test_a_disk_that_refuses_is_named(placement: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    placement.stage()
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(18, "Invalid cross-device link")))
    with pytest.raises(BadWish, match="Invalid cross-device link"):
        placement.put()


@pytest.mark.parametrize("mark", ["0123abcd", "89abcdef"])
def test_one_restore_at_a_time_works_at_a_target(
    placement: Placement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    monkeypatch.setattr(placing, "PATIENCE", 0)
    other = Placement(placement.target, "", mark)
    with placement.hold("run 1, try 1"), pytest.raises(Busy, match="held by run 1, try 1, process"), other.hold("2"):
        raise AssertionError
    with other.hold("run 1, try 2"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_waits_gets_the_target_when_it_is_left(placement: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    first = placement.hold("first")
    first.__enter__()
    monkeypatch.setattr(placing.time, "sleep", lambda _: first.__exit__(None, None, None))
    with placement.hold("second"):
        assert placement._lock.read_text().startswith("second, ")


def test_a_lock_that_is_gone_from_its_place_locks_nothing(
    placement: Placement, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    gone: list[bool] = []

    def late(file: int, how: int) -> None:
        if not gone:
            # Its holder has left between our open and our lock, and somebody else has come.
            gone.append(True)
            placement._lock.rename(placement.target)
            placement._lock.touch()
        real(file, how)

    monkeypatch.setattr(placing.fcntl, "flock", late)
    monkeypatch.setattr(placing.time, "sleep", lambda _: None)
    with placement.hold("second"):
        assert placement._lock.read_text().startswith("second, ")
    assert not placement._lock.exists()


def test_what_a_killed_restore_holds_is_free(placement: Placement) -> None:
    placement._lock.write_text("gone " * 100)
    with placement.hold("next"):
        assert placement._lock.read_text().startswith("next, process")
        assert "gone" not in placement._lock.read_text()


def test_a_part_killed_before_its_rename_is_put_by_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placement = Placement(tmp_path / "target", "folder/below", "0123abcd")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            restore(placement)
    assert (tmp_path / "target" / "folder").is_dir()
    with pytest.raises(BadWish, match="is not empty: folder"):
        Placement(tmp_path / "target", "folder/below", "89abcdef").check(overwrite=False)
    placement.check(overwrite=False)
    restore(placement)
    assert tree(tmp_path) == {"target/folder/below": "restored"}
    (tmp_path / "target/folder/below").write_text("mine")
    with pytest.raises(BadWish, match="is not empty: below"):
        placement.check(overwrite=False)


def test_folders_that_are_made_for_a_part_are_open_to_nobody_else(tmp_path: Path) -> None:
    restore(Placement(tmp_path / "target", "folder/below", "0123abcd"))
    (tmp_path / "target").chmod(0o755)
    restore(Placement(tmp_path / "target", "folder/below", "89abcdef"))
    made = ("target/folder", "target.before-89abcdef-1", "target.before-89abcdef-1/folder")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in made] == [0o700] * 3

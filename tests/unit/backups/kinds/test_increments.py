"""A later point of a directory stores what changed, and is whole all the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.backups.contents import check_contents
from platform_ops.backups.copying import copy
from platform_ops.backups.drilling import Opened, drill
from platform_ops.backups.errors import Contradiction, Corrupt, SourceEmptied
from platform_ops.backups.kinds import directory_packs
from platform_ops.backups.kinds.directory import Directory
from platform_ops.backups.kinds.directory_packs import groups, is_same, unchanged
from platform_ops.backups.kinds.directory_tree import Found
from platform_ops.backups.points import VERIFIED, Manifest, point_id
from platform_ops.backups.pruning import prune
from platform_ops.backups.sources import Retention
from platform_ops.backups.store import Points
from tests.programs import stock_tool
from tests.restore_text import STOPPED, follow, run, scripts

START = datetime(2026, 3, 1, tzinfo=UTC)


class Nights:
    """A directory that is backed up night after night."""

    def __init__(self, source: Any, store: Any, recipients: tuple[str, ...], copier: str, identity: str) -> None:
        self.source, self.store = source, store
        self.recipients, self.copier, self.identity = recipients, copier, identity
        self.number = 0
        self.notes: list[str] = []

    @property
    def points(self) -> Points:
        return Points(self.store, "backups", "tree")

    @property
    def kind(self) -> Directory:
        return Directory(self.source)

    def night(self) -> Manifest:
        """Copy and verify."""
        point = point_id(START + timedelta(days=self.number), f"run {self.number}")
        self.number += 1
        options = {"recipients": self.recipients, "key": self.copier if self.recipients else ""}
        manifest, sha256, self.notes = copy(
            self.source, self.kind, self.points, point, run_id="r", told=lambda _: None, **options
        )
        check_contents(self.points, manifest, None, START, lambda _: None)
        self.points.note(point, VERIFIED, {"manifest_sha256": sha256})
        return manifest

    def opened(self, manifest: Manifest) -> Opened:
        return Opened(self.points, manifest, self.identity if self.recipients else None)

    def packs(self) -> set[str]:
        return {key for key in self.store.objects if key.startswith("tree/contents/")}


@pytest.fixture
def nights(source, store, recipients, copier, key, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    # Else what a test has just written counts as what may still change.
    monkeypatch.setattr(directory_packs, "SETTLES_NS", 0)
    for number in range(20):
        (tree / f"file-{number}").write_bytes(os.urandom(10_000))
    return Nights(source, store, recipients, copier, str(key))


def again(path: Path) -> None:
    """Write other bytes of the same length, and give back the time of the old ones."""
    times, size = path.stat(), path.stat().st_size
    path.write_bytes(os.urandom(size))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("encrypted", [True, False])
def test_only_what_changed_is_stored_and_every_point_is_whole(
    nights: Nights, tree: Path, tmp_path: Path, encrypted: bool
) -> None:
    nights.recipients = nights.recipients if encrypted else ()
    first = nights.night()
    assert nights.night().state["packed"] == 0
    assert len(nights.packs()) == 1
    again(tree / "file-3")
    (tree / "file-4").unlink()
    (tree / "file-5").rename(tree / "moved")
    (tree / "new").write_text("new")
    third = nights.night()
    # A rename changes no byte, but the file's ctime and its path in the pack.
    assert third.state["packed"] == 3
    assert third.contents is not None
    assert third.contents.count == 2
    for number, manifest in enumerate((first, third)):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        differences = drill(nights.kind, nights.opened(manifest), scratch).differences
        assert differences == ()
        assert (scratch / "file-4").exists() == (manifest is first)


@pytest.mark.parametrize(
    "change",
    [
        again,
        lambda path: path.chmod(0o600),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: path.write_bytes(b"shorter"),
        lambda path: [path.rename(path.with_name("aside")), path.write_bytes(bytes(10_000))],
    ],
)
def test_every_change_of_a_file_is_in_the_next_point(
    nights: Nights, tree: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    nights.night()
    change(tree / "file-7")
    (tmp_path / "scratch").mkdir()
    opened = nights.opened(nights.night())
    assert drill(nights.kind, opened, tmp_path / "scratch").differences == ()
    compared = subprocess.run(["diff", "--recursive", "--no-dereference", tree, tmp_path / "scratch"], check=False)
    assert compared.returncode == 0
    restored, live = (tmp_path / "scratch" / "file-7").stat(), (tree / "file-7").stat()
    assert (restored.st_mode, restored.st_mtime_ns) == (live.st_mode, live.st_mtime_ns)


def test_a_file_that_changed_just_before_it_was_read_is_read_again(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_packs, "SETTLES_NS", 10**12)
    first = nights.night()
    assert nights.night().state["packed"] == first.state["packed"]


def test_all_is_read_again_where_the_catalogue_says_so(nights: Nights) -> None:
    first = nights.night()
    nights.source = replace(nights.source, what=dict(nights.source.what) | {"read_all": True})
    assert nights.night().state["packed"] == first.state["packed"]


def test_what_is_left_of_a_pack_that_is_mostly_dead_is_packed_anew(nights: Nights, tree: Path) -> None:
    nights.night()
    for number in range(15):
        again(tree / f"file-{number}")
    manifest = nights.night()
    assert manifest.contents is not None
    assert manifest.contents.count == 1


def test_a_damaged_pack_is_stored_anew(nights: Nights, tmp_path: Path) -> None:
    first = nights.night()
    (key,) = nights.packs()
    nights.store.objects[key] = nights.store.objects[key][:-1]
    second = nights.night()
    assert second.state["packed"] == first.state["packed"]
    assert "damaged" in nights.notes[0]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(Corrupt, match=key):
        drill(nights.kind, nights.opened(first), scratch)
    sound = tmp_path / "sound"
    sound.mkdir()
    assert drill(nights.kind, nights.opened(second), sound).differences == ()


def test_packs_go_when_no_point_needs_them(nights: Nights, tree: Path) -> None:
    nights.night()
    again(tree / "file-1")
    nights.night()
    one_night = Retention(daily=1, weekly=0, monthly=0, yearly=0)
    assert prune(nights.points, one_night, lambda _: None).contents == 0
    for number in range(20):
        again(tree / f"file-{number}")
    newest = nights.night()
    assert prune(nights.points, one_night, lambda _: None).contents > 0
    assert newest.contents is not None
    assert len(nights.packs()) == newest.contents.count


def test_without_the_key_of_those_who_copy_nothing_is_stored(nights: Nights) -> None:
    nights.copier = ""
    with pytest.raises(Contradiction, match="needs a password"):
        nights.night()
    assert nights.store.objects == {}


def test_a_pack_that_the_point_does_not_list_is_named(nights: Nights, tmp_path: Path) -> None:
    manifest = nights.night()
    lost = replace(manifest, members=tuple(one for one in manifest.members if "contents" not in one.name))
    with pytest.raises(Corrupt, match="does not list"):
        nights.kind.restore(nights.opened(lost), tmp_path)


@pytest.mark.parametrize(("encrypted", "spoilt"), [(True, False), (False, False), (True, True), (False, True)])
def test_stock_tools_restore_it_by_the_text_beside_it(
    nights: Nights, tree: Path, tmp_path: Path, encrypted: bool, spoilt: bool
) -> None:
    nights.recipients = nights.recipients if encrypted else ()
    for name in (b"not utf-8 \xff", b"-rf", b"new\nline", b"*"):
        (tree / os.fsdecode(name)).write_bytes(name)
    (tree / "closed" / "below").mkdir(parents=True)
    (tree / "closed" / "link").symlink_to("below")
    (tree / "closed").chmod(0o500)
    os.utime(tree / "closed", ns=(1, 1))
    nights.night()
    again(tree / "file-1")
    (tree / "file-2").unlink()
    manifest = nights.night()
    store, folder = tmp_path / "store", tmp_path / "disaster"
    for key, body in nights.store.objects.items():
        (store / key).parent.mkdir(parents=True, exist_ok=True)
        (store / key).write_bytes(body)
    (store / "tree" / manifest.point / manifest.place).rename(folder)
    (folder / "key.txt").write_text(nights.identity)
    blocks = scripts((folder / "RESTORE.md").read_text())
    # What stands for the S3 client copies from a folder; a real one does it in the functional tests.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "aws").write_text(f'#!/bin/sh\ncp "{tmp_path}/${{4#s3://}}" "$5"\n')
    (tmp_path / "bin" / "aws").chmod(0o700)
    path = [tmp_path / "bin", *(stock_tool(name).parent for name in ("age", "zstd", "tar"))]
    if spoilt:
        pack = next((store / "tree" / "contents").iterdir())
        pack.write_bytes(pack.read_bytes()[:-1])
        ran = run(blocks, folder, {"STORE": "store"}, path)
        assert ran.returncode != 0
        assert ran.stderr.splitlines()[-1] == STOPPED
        assert not (folder / "restored" / "closed").exists()
        return
    follow(blocks, folder, {"STORE": "store"}, path)
    assert nights.kind.compare(nights.opened(manifest), folder / "restored") == []
    closed = (folder / "restored" / "closed").stat()
    assert (closed.st_mode & 0o777, closed.st_mtime_ns) == (0o500, 1)
    (folder / "restored" / "closed").chmod(0o700)


def found(path: str, size: int) -> Found:
    return Found(path, os.stat_result((0o100644, 1, 1, 1, 0, 0, size, 0, 0, 0), {"st_mtime_ns": 0, "st_ctime_ns": 0}))


@given(st.lists(st.integers(0, directory_packs.PACK_BYTES * 2), max_size=30))
def test_every_file_is_in_one_group_and_no_group_is_too_large(sizes: list[int]) -> None:
    files = [found(str(number), size) for number, size in enumerate(sizes)]
    divided = list(groups(files))
    assert [one for group in divided for one in group] == files
    for group in divided:
        assert sum(one.stat.st_size for one in group[:-1]) < directory_packs.PACK_BYTES
        assert len(group) <= directory_packs.PACK_FILES


def test_files_are_taken_from_packs_that_are_to_be_had_and_mostly_alive() -> None:
    files = [found(name, 1_000_000) for name in ("alive", "lonely", "lost", "new")]
    stamps = {"mtime_ns": 0, "ctime_ns": 0, "ino": 1}
    earlier = {
        name: {"type": "file", "path": name, "size": 1_000_000, "pack": name} | stamps
        for name in ("alive", "lonely", "lost", "gone")
    }
    sizes = {"alive": 1_500_000, "lonely": 5_000_000, "gone": 1}
    assert set(unchanged(files, earlier, sizes.get)) == {"alive"}


@pytest.mark.parametrize("other", [{"size": 2}, {"mtime_ns": 1}, {"ctime_ns": 1}, {"ino": 2}, {"type": "same"}])
def test_a_file_is_another_when_anything_of_it_is(other: dict[str, Any]) -> None:
    line = {"type": "file", "size": 1, "mtime_ns": 0, "ctime_ns": 0, "ino": 1}
    assert is_same(found("a", 1).stat, line)
    assert not is_same(found("a", 1).stat, line | other)
    del line["ctime_ns"]
    assert not is_same(found("a", 1).stat, line)


def test_a_directory_that_is_empty_now_is_no_backup_unless_the_catalogue_says_so(nights: Nights, tree: Path) -> None:
    first = nights.night()
    rmtree(tree)
    tree.mkdir()
    with pytest.raises(SourceEmptied, match=rf"has no files now, and point {first.point} holds {first.state['files']}"):
        nights.night()
    assert nights.points.all() == [first.point]
    (tree / "one").write_text("x")
    nights.night()
    assert f"It has 1 files; point {first.point} holds" in " ".join(nights.notes)
    (tree / "one").unlink()
    nights.source = replace(nights.source, what={**nights.source.what, "may_be_empty": True})
    assert nights.night().state["files"] == 0

"""A directory: what comes back is what was there, whatever it is called and whatever happens meanwhile."""

import json
import os
import stat
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from platform_ops.backups.copying import copy
from platform_ops.backups.drilling import Opened
from platform_ops.backups.kinds.directory import FILES, Directory
from platform_ops.backups.kinds.directory_tree import DirectoryMissing, FileUnreadable
from platform_ops.backups.store import Points
from tests.folders import deepen
from tests.unit.backups.memory_store import MemoryStore

POINT = "20261125T000000Z-0123abcd"


@dataclass(frozen=True)
class Read(Opened):
    """A point of a directory, in a store of its own."""

    notes: list[str] = field(default_factory=list)

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.manifest.state)

    @property
    def index(self) -> dict[str, dict[str, Any]]:
        with self.open(FILES) as plain:
            lines = b"".join(iter(lambda: plain.read(1000), b"")).splitlines()
        return {line["path"]: line for line in map(json.loads, lines)}


def read(source: Any) -> Read:
    store: Any = MemoryStore()
    points = Points(store, "backups", "tree")
    manifest, _, notes = copy(source, Directory(source), points, POINT, run_id="r", recipients=(), told=lambda _: None)
    return Read(points, manifest, None, notes)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def restored(source: Any, scratch: Path) -> list[str]:
    found = read(source)
    kind = Directory(source)
    kind.restore(found, scratch)
    return kind.compare(found, scratch)


def test_modes_links_and_times_come_back(source, tree: Path, scratch: Path) -> None:
    os.utime(tree / "folder" / "text", ns=(1, 1_700_000_000_123_456_789))
    assert restored(source, scratch) == []
    text = scratch / "folder" / "text"
    assert text.stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert text.stat().st_mode & 0o777 == 0o640
    assert text.samefile(scratch / "same")
    assert (scratch / "link").readlink() == Path("folder/text")


@pytest.mark.parametrize("name", [b"not utf-8 \xff\xfe", b"new\nline", b"-rf", b"x" * 255, "größe ü".encode()])
def test_names_in_any_encoding_come_back(source, tree: Path, scratch: Path, name: bytes) -> None:
    (tree / os.fsdecode(name)).write_bytes(b"here")
    assert restored(source, scratch) == []
    assert (scratch / os.fsdecode(name)).read_bytes() == b"here"


def test_what_is_excluded_is_not_there(changed, tree: Path) -> None:
    found = read(changed(what={"path": str(tree), "exclude": ["folder/*", "*.tmp"]}))
    assert list(found.index) == ["folder", "link", "same"]


def test_equal_trees_are_read_alike(source) -> None:
    first, second = ([line | {"pack": ""} for line in read(source).index.values()] for _ in range(2))
    assert first == second


def spoil_bytes(root: Path) -> None:
    path = root / "folder" / "text"
    times = path.stat()
    path.write_text("two\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_bytes, "has other bytes"),
        (lambda root: (root / "folder" / "text").write_text("longer\n"), "bytes instead of"),
        (lambda root: (root / "folder" / "below" / "empty").unlink(), "is missing"),
        (lambda root: (root / "more").touch(), "was not backed up"),
        (lambda root: (root / "folder" / "below" / "empty").chmod(0o777), "has mode 777"),
        (lambda root: os.utime(root / "folder" / "below" / "empty", (1, 1)), "has another time"),
        (lambda root: [(root / "link").unlink(), (root / "link").symlink_to("folder")], "leads somewhere else"),
    ],
)
def test_every_difference_is_named(source, scratch: Path, spoil: Any, words: str) -> None:
    found = read(source)
    kind = Directory(source)
    kind.restore(found, scratch)
    spoil(scratch)
    assert any(words in sentence for sentence in kind.compare(found, scratch))


def test_what_is_no_file_is_left_out_and_told(source, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    os.mknod(tree / "listens", stat.S_IFSOCK | 0o600)
    found = read(source)
    assert found.state["left_out"] == 2
    assert "listens, pipe" in found.notes[0]


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Any, *, before: str = "") -> None:
    """Let something happen when the first file has been opened, or before the one of a name is."""
    real, done = os.open, []

    def opened(name: Any, flags: int, *arguments: Any, **options: Any) -> int:
        folder = options.get("dir_fd")
        path = Path(f"/proc/self/fd/{folder}").readlink() / name if folder is not None else Path(name)
        due = path.name == before if before else not flags & os.O_DIRECTORY
        if before and due and not done:
            done.append(path)
            happens(path)
        number = real(name, flags, *arguments, **options)
        if due and not done:
            done.append(path)
            happens(path)
        return number

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.parametrize("content", ["", "much longer than it was\n" * 1000])
def test_a_file_that_changes_while_it_is_read_is_told(
    source, tree: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    real, done = tarfile.TarFile.addfile, []

    def added(tar: Any, info: tarfile.TarInfo, file: Any = None) -> None:
        if file and not done:
            done.append(info)
            (tree / info.name).write_text(content)
        real(tar, info, file)

    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "addfile", added)
        found = read(source)
    assert found.state["changed"] == 1
    assert "changed while they were read" in found.notes[0]
    kind = Directory(source)
    kind.restore(found, scratch)
    assert kind.compare(found, scratch) == []


def test_a_file_that_vanishes_is_told(source, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "z").write_text("soon gone")
    with monkeypatch.context() as patched:
        meanwhile(patched, lambda _: (tree / "z").unlink())
        found = read(source)
    assert found.state["vanished"] == 1
    assert ": z." in found.notes[0]


def test_a_directory_that_is_not_there_is_named(changed) -> None:
    with pytest.raises(DirectoryMissing, match="/no/such"):
        read(changed(what={"path": "/no/such"}))


def taken_by(make: Any) -> Any:
    """Let something else take a name."""

    def happens(path: Path) -> None:
        path.rename(path.with_name("elsewhere"))
        make(path)

    return happens


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), lambda path: path.mkdir()])
def test_a_file_whose_name_something_else_takes_is_told_and_not_waited_for(
    source, tree: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    with monkeypatch.context() as patched:
        meanwhile(patched, taken_by(make), before="empty")
        found = read(source)
    assert found.state["vanished"] == 1
    assert "folder/below/empty" in found.notes[0]
    kind = Directory(source)
    kind.restore(found, scratch)
    assert kind.compare(found, scratch) == []


def test_the_file_that_takes_anothers_name_is_backed_up_whole(
    source, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        meanwhile(patched, taken_by(lambda path: path.write_text("new and longer")), before="empty")
        found = read(source)
    assert found.notes == []
    kind = Directory(source)
    kind.restore(found, scratch)
    assert kind.compare(found, scratch) == []
    assert (scratch / "folder" / "below" / "empty").read_text() == "new and longer"


def test_a_hard_link_whose_first_name_vanishes_keeps_its_content(
    source, tree: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "third").hardlink_to(tree / "same")
    with monkeypatch.context() as patched:
        meanwhile(patched, lambda path: path.unlink(), before="same")
        found = read(source)
    assert found.state["vanished"] == 1
    kind = Directory(source)
    kind.restore(found, scratch)
    assert kind.compare(found, scratch) == []
    assert (scratch / "folder" / "text").read_text() == "one\n"


@pytest.mark.parametrize("at", ["below", "folder"])
def test_a_folder_that_a_link_replaces_is_not_followed(
    source, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    (outside / "below" / "foreign").touch()
    (outside / "foreign").touch()

    def swap(_: Path) -> None:
        path = next(path for path in (tree / at, tree / "folder" / at) if path.exists())
        path.rename(tmp_path / "aside")
        path.symlink_to(outside)

    with monkeypatch.context() as patched:
        meanwhile(patched, swap, before="below")
        found = read(source)
    assert "folder" in found.index
    assert not any("foreign" in path for path in found.index)


def test_a_folder_that_was_not_recorded_is_not_entered(
    source, tree: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def vanishing(name: Any, **options: Any) -> os.stat_result:
        if name == "below" and "dir_fd" in options:
            raise FileNotFoundError(2, "No such file or directory")
        return real(name, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", vanishing)
        found = read(source)
    assert found.state["vanished"] == 1
    assert "folder" in found.index
    assert not any("below" in path for path in found.index)


@pytest.mark.parametrize("name", ["same", "folder", "folder/below/empty"])
def test_what_may_not_be_read_is_named_with_the_next_step(source, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        meanwhile(patched, refuse, before=Path(name).name)
        with pytest.raises(FileUnreadable, match=f"tree/{name} may not be read .*exclude it in the catalogue"):
            read(source)


def test_a_path_that_is_too_long_is_named_with_the_next_step(source, tree: Path) -> None:
    deepen(tree, 25)
    with pytest.raises(FileUnreadable, match="Exclude a folder above it"):
        read(source)


def test_a_root_whose_link_leads_elsewhere_meanwhile_is_read_to_its_end(
    changed, tree: Path, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "same").write_text("foreign")
    root = tmp_path / "current"
    root.symlink_to(tree)
    source = changed(what={"path": str(root)})

    def flip(_: Path) -> None:
        root.unlink()
        root.symlink_to(other)

    with monkeypatch.context() as patched:
        meanwhile(patched, flip, before="folder")
        found = read(source)
    assert found.notes == []
    Directory(source).restore(found, scratch)
    assert (scratch / "same").read_text() == "one\n"
    assert (scratch / "folder" / "text").read_text() == "one\n"


def test_a_hard_link_is_not_made_to_a_file_that_took_the_number_of_another(
    source, tree: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(_: Path) -> None:
        for name in ("folder/text", "same"):
            (tree / name).unlink()
            (tree / name).write_text(name)

    with monkeypatch.context() as patched:
        meanwhile(patched, replaced, before="same")
        found = read(source)
    Directory(source).restore(found, scratch)
    for name in ("folder/text", "same"):
        assert (scratch / name).read_text() == name


def test_a_part_that_is_a_link_is_not_followed(source, tree: Path, scratch: Path) -> None:
    (tree / "away").symlink_to("/etc")
    found = read(source)
    kind = Directory(source)
    kind.restore_some(found, scratch, "away")
    assert kind.compare_some(found, scratch, "away") == []

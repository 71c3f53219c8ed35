"""A directory: what comes back is what was there, whatever it is called and whatever happens meanwhile."""

import io
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from platform_ops.backups.kinds.directory import FILES, INDEX, Directory, DirectoryMissing


@dataclass
class Read:
    """A directory that was read: what a point of it holds."""

    parts: dict[str, bytes] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, name: str) -> Iterator[io.BytesIO]:
        yield io.BytesIO(self.parts[name])


def read(source: Any) -> Read:
    found = Read()
    with Directory(source).read() as reading:
        for part in reading.parts:
            out = io.BytesIO()
            part.write(out)
            found.parts[part.name] = out.getvalue()
    found.state, found.notes = reading.state, reading.notes
    return found


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def restored(source: Any, scratch: Path) -> list[str]:
    found: Any = read(source)
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


def test_stock_tar_reads_it(source, tree: Path, scratch: Path) -> None:
    (tree / os.fsdecode(b"not utf-8 \xff")).write_bytes(b"here")
    found: Any = read(source)
    tar = ["tar", "--extract", "--file", "-", "--preserve-permissions"]
    subprocess.run(tar, cwd=scratch, input=found.parts[FILES], check=True)
    assert Directory(source).compare(found, scratch) == []


def test_what_is_excluded_is_not_there(changed, tree: Path) -> None:
    found = read(changed(what={"path": str(tree), "exclude": ["folder/*", "*.tmp"]}))
    paths = [json.loads(line)["path"] for line in found.parts[INDEX].splitlines()]
    assert paths == ["folder", "link", "same"]


def test_equal_trees_are_read_alike(source) -> None:
    assert read(source) == read(source)


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
    found: Any = read(source)
    kind = Directory(source)
    kind.restore(found, scratch)
    spoil(scratch)
    assert any(words in sentence for sentence in kind.compare(found, scratch))


def test_what_is_no_file_is_left_out_and_told(source, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    found = read(source)
    assert found.state["left_out"] == 1
    assert "pipe" in found.notes[0]


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    """Let something happen when the first file has been opened."""
    real, done = Path.open, []

    def opened(path: Path, *arguments: Any, **options: Any) -> Any:
        file = real(path, *arguments, **options)
        if not done:
            done.append(path)
            happens(path)
        return file

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize("content", ["", "much longer than it was\n" * 1000])
def test_a_file_that_changes_while_it_is_read_is_told(
    source, tree: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    with monkeypatch.context() as patched:
        meanwhile(patched, lambda path: path.write_bytes(content.encode()))
        found: Any = read(source)
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

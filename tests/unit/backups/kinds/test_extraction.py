"""Whatever an archive says, nothing is written outside the target."""

import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from platform_ops.backups.kinds.extraction import HostileArchive, extract, write_sparse

OUTSIDE = "outside"


def archive(*entries: tuple[str, bytes, str], body: bytes = b"evil") -> io.BytesIO:
    """Return a tar of entries: name, type, link name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, link in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, link, 0o755
            info.size = len(body) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(body) if info.size else None)
    out.seek(0)
    return out


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


FILE, FOLDER, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "entries",
    [
        [("/etc/cron.d/evil", FILE, "")],
        [("../outside", FILE, "")],
        [("folder", FOLDER, ""), ("folder/../../outside", FILE, "")],
        [("link", LINK, ".."), ("link/outside", FILE, "")],
        [("link", LINK, "/tmp"), ("link/outside", FOLDER, "")],
        [("file", FILE, ""), ("file", FILE, "")],
        [("file", FILE, ""), ("file/below", FILE, "")],
        [("hard", HARD, "../outside")],
        [("hard", HARD, "/etc/passwd")],
        [("link", LINK, "/etc/passwd"), ("hard", HARD, "link")],
        [("link", LINK, ".."), ("link/evil", LINK, "x")],
        [("file", FILE, ""), ("link", LINK, ".."), ("link/evil", HARD, "file")],
        [("link", LINK, ".."), ("hard", HARD, "link/outside")],
        [("no folder/link", LINK, "x")],
        [("device", tarfile.CHRTYPE, "")],
        [("pipe", tarfile.FIFOTYPE, "")],
        [("n" * 5000, FILE, "")],
        [("deep/" * 8000 + "n", FILE, "")],
        [("no folder/file", FILE, "")],
    ],
    ids=lambda entries: " ".join(entry[0][:30] for entry in entries),
)
def test_what_would_leave_the_target_is_refused_by_name(target: Path, entries: list[tuple[str, bytes, str]]) -> None:
    (target.parent / OUTSIDE).write_text("mine")
    with pytest.raises(HostileArchive):
        extract(archive(*entries), target)
    assert (target.parent / OUTSIDE).read_text() == "mine"
    assert not os.path.lexists(target.parent / "evil")
    assert (target.parent / OUTSIDE).stat().st_nlink == 1


@given(
    names=st.lists(
        st.lists(st.sampled_from(["a", "b", "..", ".", "", "/", "l"]), min_size=1, max_size=4).map("/".join), max_size=6
    ),
    kinds=st.lists(st.sampled_from([FILE, FOLDER, LINK, HARD]), min_size=6, max_size=6),
)
@settings(max_examples=200, deadline=None)
def test_nothing_is_ever_written_outside(tmp_path_factory, names: list[str], kinds: list[bytes]) -> None:
    room = tmp_path_factory.mktemp("room")
    (room / "target").mkdir()
    entries = [(name, kind, ".." if kind == LINK else "a") for name, kind in zip(names, kinds, strict=False)]
    with suppress(HostileArchive):
        extract(archive(*entries), room / "target")
    assert [path.name for path in room.iterdir()] == ["target"]


def test_the_stream_is_read_to_its_end_before_a_link_is_made(target: Path) -> None:
    """Its sums are compared there, and an error of theirs must not come too late."""

    class Spoilt(Exception):
        pass

    class Stream:
        def __init__(self) -> None:
            self.body = archive(("link", LINK, "elsewhere"))

        def read(self, size: int = -1, /) -> bytes:
            data = self.body.read(size)
            if not data:
                raise Spoilt
            return data

    with pytest.raises(Spoilt):
        extract(Stream(), target)
    assert list(target.iterdir()) == []


def test_a_link_that_leads_outside_is_restored_as_the_link_it_was(target: Path) -> None:
    extract(archive(("link", LINK, "../outside")), target)
    assert (target / "link").readlink() == Path("../outside")


class Hole:
    """A tar with one file: some words, zeros, some words."""

    def __init__(self, zeros: int, end: bytes) -> None:
        info = tarfile.TarInfo("disk")
        info.size = 5 + zeros + len(end)
        self._parts = [info.tobuf(tarfile.PAX_FORMAT), b"begin", zeros, end + bytes(-info.size % 512 + 1024)]

    def read(self, size: int = -1, /) -> bytes:
        while self._parts:
            first = self._parts[0]
            data = bytes(min(size, first)) if isinstance(first, int) else first[:size]
            self._parts[0] = first - len(data) if isinstance(first, int) else first[size:]
            if data:
                return data
            del self._parts[0]
        return b""


@pytest.mark.parametrize("end", [b"end", b""])
def test_a_hole_takes_no_room_when_it_is_restored(target: Path, end: bytes) -> None:
    zeros = 1 << 30
    extract(Hole(zeros, end), target)
    found = (target / "disk").stat()
    assert found.st_size == 5 + zeros + len(end)
    assert found.st_blocks * 512 < 1 << 20
    with (target / "disk").open("rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek(-4, os.SEEK_END)
        assert file.read() == (b"\0" + end if end else bytes(4))


@given(
    st.lists(st.tuples(st.sampled_from([b"\0", b"x", b"\0x"]), st.integers(1, 9000)), max_size=6),
    st.integers(1, 40_000),
)
@example(runs=[(b"x", 4096), (b"\0", 8192)], size=6144)
@example(runs=[(b"\0", 8192)], size=8192)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_what_was_read(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[bytes, int]], size: int
) -> None:
    body = b"".join(filler * length for filler, length in runs)
    read = io.BytesIO(body)

    class Short:
        def read(self, _: int = -1, /) -> bytes:
            return read.read(size)

    path = tmp_path_factory.mktemp("room") / "file"
    with path.open("wb") as file:
        write_sparse(Short(), file.fileno())
    assert path.read_bytes() == body


def test_a_disk_that_takes_less_than_it_was_given_is_given_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, body = os.write, os.urandom(10_000)
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:999]))
    with (tmp_path / "file").open("wb") as file:
        write_sparse(io.BytesIO(body), file.fileno())
    assert (tmp_path / "file").read_bytes() == body

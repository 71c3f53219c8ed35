"""How programs get into the cache: by a `go` that is a script here."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sandbox.processes import ROOT, SandboxError
from sandbox.real import programs
from sandbox.real.programs import NoGoError, Program
from tests.waiting import wait_until

HELLO = Program("hello", "example.com/hello/cmd/hello", "v1.2.3")
BUILD = 'echo "example.com/hello"; echo "$@" >> "$CALLS"; printf "made by %s" "$CGO_ENABLED" > "$GOBIN/hello"\n'


class Go:
    """A `go` of the test's own.

    :param folder: of its program, of what it was asked, and of the cache.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.cache, self.calls = folder / "bin", folder / "cache", folder / "calls"
        self.bin.mkdir()
        monkeypatch.setenv("PATH", f"{self.bin}{os.pathsep}{os.defpath}")
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache))
        monkeypatch.setenv("CALLS", str(self.calls))

    def does(self, script: str) -> None:
        program = self.bin / "go"
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)

    def asked(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def kept(self) -> set[str]:
        """Return what lies in our cache."""
        return {str(path.relative_to(self.cache / "platform-ops")) for path in (self.cache / "platform-ops").rglob("*")}


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    return Go(tmp_path, monkeypatch)


WHOLE = {"hello-v1.2.3", "hello-v1.2.3/hello"}


def test_a_program_is_built_once_for_each_version(go: Go) -> None:
    go.does(BUILD)
    told: list[str] = []
    path = programs.get(HELLO, told.append)
    assert path == HELLO.path == go.cache / "platform-ops/hello-v1.2.3/hello"
    assert path.read_text() == "made by 0"
    assert programs.get(HELLO, pytest.fail) == path
    assert go.asked() == ["install -v -trimpath -ldflags -s -w example.com/hello/cmd/hello@v1.2.3"]
    assert go.kept() == WHOLE
    programs.get(Program("hello", HELLO.package, "v1.2.4"), told.append)
    assert go.asked()[1].endswith("@v1.2.4")


def test_a_relative_cache_does_not_count(go: Go, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for unusable in ("caches", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert programs.cache() == tmp_path / ".cache" / "platform-ops"


def test_without_go_the_reason_is_told(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(go.bin))
    with pytest.raises(NoGoError, match="hello is built from its Go module, and there is no `go`"):
        programs.get(HELLO, pytest.fail)


def test_what_was_built_needs_no_go(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    go.does(BUILD)
    programs.get(HELLO, str)
    (go.bin / "go").unlink()
    monkeypatch.setenv("PATH", str(go.bin))
    assert programs.get(HELLO, pytest.fail) == HELLO.path


@pytest.mark.parametrize(
    ("script", "end"),
    [
        (
            "echo 'hello.go:1: no such thing' >&2; printf half > \"$GOBIN/hello\"; exit 2\n",
            "ended with 2.*no such thing",
        ),
        ("echo done\n", "ended with 0.*done"),
    ],
)
def test_a_build_that_fails_leaves_nothing_and_tells_its_end(go: Go, script: str, end: str) -> None:
    go.does(script)
    with pytest.raises(SandboxError, match=f"(?s)hello can't be built.*{end}"):
        programs.get(HELLO, str)
    assert go.kept() == set()


def test_a_long_build_tells_how_far_it_is(go: Go, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "TELL_SECONDS", 0.01)
    go.does(f'echo "example.com/first"; while [ ! -e "{tmp_path}/told" ]; do sleep 0.01; done\n{BUILD}')

    def tell(sentence: str) -> None:
        if "1 modules and packages" in sentence and "now example.com/first" in sentence:
            (tmp_path / "told").touch()

    assert programs.get(HELLO, tell).exists()


def test_a_build_without_end_is_given_up(go: Go, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "TELL_SECONDS", 0.01)
    monkeypatch.setattr(programs, "BUILD_SECONDS", 0.0)
    go.does(f'echo $$ > "{tmp_path}/pid"; exec sleep 600\n')
    with pytest.raises(SandboxError, match="given up"):
        programs.get(HELLO, str)
    assert go.kept() == set()


def test_an_interrupted_build_ends_its_compilers(go: Go, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "TELL_SECONDS", 0.01)
    compiler = tmp_path / "compiler"
    go.does(f'sleep 600 & echo $! > "{compiler}.new"; mv "{compiler}.new" "{compiler}"; wait\n')

    def interrupt(sentence: str) -> None:
        if compiler.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        programs.get(HELLO, interrupt)
    assert go.kept() == set()
    wait_until(lambda: not _runs(int(compiler.read_text())), "the end of the compiler")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


GET = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from sandbox.real import programs
programs.get(programs.Program(*{(HELLO.name, HELLO.package, HELLO.version)!r}), str)
"""


def test_what_a_killed_build_leaves_is_no_program_and_goes_with_the_next(go: Go, tmp_path: Path) -> None:
    half = tmp_path / "half"
    go.does(f'printf half > "$GOBIN/hello"; echo $$ > "{half}.new"; mv "{half}.new" "{half}"; exec sleep 600\n')
    with subprocess.Popen([sys.executable, "-c", GET]) as build:
        wait_until(half.exists, "half a program")
        build.kill()
    os.kill(int(half.read_text()), signal.SIGKILL)
    assert not HELLO.path.exists()
    assert go.kept() != set()
    go.does(BUILD)
    assert programs.get(HELLO, str).read_text() == "made by 0"
    assert go.kept() == WHOLE


def test_two_copies_may_build_at_once(go: Go, tmp_path: Path) -> None:
    meet = tmp_path / "meet"
    meet.mkdir()
    go.does(f'touch "{meet}/$$"; while [ "$(ls "{meet}" | wc -l)" -lt 2 ]; do sleep 0.01; done\n{BUILD}')
    made: list[Path] = []
    builds = [threading.Thread(target=lambda: made.append(programs.get(HELLO, str))) for _ in range(2)]
    for build in builds:
        build.start()
    for build in builds:
        build.join()
    assert made == [HELLO.path] * 2
    assert len(go.asked()) == 2
    assert go.kept() == WHOLE

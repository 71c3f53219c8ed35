"""A whole repository: real git, and stand-ins for what takes long or fails."""

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_ops.common.git_command import GIT_SECONDS
from platform_ops.systems.git.errors import GitFailed, RefMoved
from platform_ops.systems.git.hook import GitHook
from platform_ops.systems.git.mirror import Mirror
from tests.unit.systems.git.test_repository import remote, run

__all__ = ["remote"]


@pytest.fixture
def mirror(remote: Path, tmp_path: Path) -> Mirror:
    made = Mirror(tmp_path / "mirror.git")
    made.clone(f"file://{remote}")
    return made


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """How long each of git's verbs may take."""
    found: dict[str, float] = {}
    real = subprocess.run

    def watched(command, **options):
        found[command[1]] = max(options["timeout"], found.get(command[1], 0))
        return real(command, **options)

    monkeypatch.setattr(subprocess, "run", watched)
    return found


def bundle(mirror: Mirror, path: Path) -> Path:
    with path.open("wb") as file:
        mirror.write_bundle(file)
    return path


def test_what_a_bundle_holds_comes_back(mirror: Mirror, tmp_path: Path) -> None:
    again = Mirror(tmp_path / "again.git")
    again.restore(bundle(mirror, tmp_path / "bundle"), mirror.head())
    assert again.refs() == mirror.refs() != {}
    assert again.head() == "refs/heads/main"
    assert again.check() == []


def test_what_a_killed_copy_left_goes_with_the_next(
    remote: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CODE", json.dumps({"conn_type": "git", "host": f"file://{remote}"}))
    (temporary / "platform-ops-mirror-code-0123abcd" / "repository.git").mkdir(parents=True)
    with GitHook("code").mirror() as mirror:
        assert mirror.refs()
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


def test_what_goes_through_all_of_a_repository_may_take_hours(
    remote: Path, tmp_path: Path, limits: dict[str, float]
) -> None:
    mirror, again = Mirror(tmp_path / "a.git"), Mirror(tmp_path / "b.git")
    mirror.clone(f"file://{remote}")
    assert limits.pop("fetch") > 3600
    again.restore(bundle(mirror, tmp_path / "bundle"), "")
    again.check()
    assert limits.pop("fetch") > 3600
    assert limits.pop("fsck") > 3600
    assert set(limits.values()) == {GIT_SECONDS}


def test_a_default_branch_that_does_not_exist_is_no_fault(remote: Path, tmp_path: Path) -> None:
    run(remote, "symbolic-ref", "HEAD", "refs/heads/unborn")
    mirror = Mirror(tmp_path / "mirror.git")
    mirror.clone(f"file://{remote}")
    run(tmp_path / "mirror.git", "symbolic-ref", "HEAD", "refs/heads/unborn")
    assert mirror.check() == []


def test_a_detached_default_branch_is_no_fault(remote: Path, tmp_path: Path) -> None:
    run(remote, "update-ref", "--no-deref", "HEAD", run(remote, "rev-parse", "main"))
    mirror = Mirror(tmp_path / "mirror.git")
    mirror.clone(f"file://{remote}")
    assert mirror.check() == []


def test_a_spoilt_object_is_a_fault(mirror: Mirror, remote: Path, tmp_path: Path) -> None:
    blob = run(remote, "rev-parse", "main:pin.yaml")
    packs = tmp_path / "mirror.git" / "objects"
    for pack in packs.rglob("*.pack"):
        aside = pack.rename(tmp_path / "pack")
        pack.with_suffix(".idx").unlink()
        subprocess.run(
            ["git", "unpack-objects", "-q"], cwd=tmp_path / "mirror.git", input=aside.read_bytes(), check=True
        )
    (packs / blob[:2] / blob[2:]).unlink()
    assert any(blob in line for line in mirror.check())


def test_many_complaints_do_not_stop_a_bundle(tmp_path: Path) -> None:
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\nhead -c 300000 /dev/zero | tr '\\0' x >&2; echo whole; echo ' is bad' >&2; exit 3\n")
    git.chmod(0o700)
    mirror = Mirror(tmp_path, {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    out = io.BytesIO()
    with pytest.raises(GitFailed, match="xxx is bad"):
        mirror.write_bundle(out)
    assert out.getvalue() == b"whole\n"


def test_a_ref_that_moves_while_it_is_fetched_is_a_reason_to_try_again(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.run

    def moved(command, **options):
        if command[1] != "fetch":
            return real(command, **options)
        return subprocess.CompletedProcess(
            command, 128, "", f"fatal: remote error: upload-pack: not our ref {'a' * 40}"
        )

    monkeypatch.setattr(subprocess, "run", moved)
    with pytest.raises(RefMoved, match=str(remote)):
        Mirror(tmp_path / "mirror.git").clone(f"file://{remote}")

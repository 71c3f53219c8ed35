"""The frame of RESTORE.md: what a shell makes of its blocks when a step fails."""

import hashlib
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from platform_ops.backups.points import Manifest, Member
from platform_ops.backups.restore_text import restore_text
from tests.restore_text import STOPPED, follow, run, scripts

AT = datetime(2026, 11, 25, tzinfo=UTC)
PLAIN = b"what was backed up"
STORED = zstandard.compress(PLAIN)
MEMBER = Member(
    "part.zst",
    plain_size=len(PLAIN),
    plain_sha256=hashlib.sha256(PLAIN).hexdigest(),
    stored_size=len(STORED),
    stored_sha256=hashlib.sha256(STORED).hexdigest(),
)
MANIFEST = Manifest("shop", "git", "point", "place", "run", AT, AT, AT, {}, (MEMBER,), {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "part.zst").write_bytes(STORED)
    return tmp_path


def blocks(commands: str, manifest: Manifest = MANIFEST) -> list[str]:
    return scripts(restore_text(manifest, "backups", commands))


def test_the_blocks_lead_to_the_plain_parts(folder: Path) -> None:
    assert follow(blocks("cat part"), folder).encode() == PLAIN


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
@pytest.mark.parametrize("broken", ["false", 'echo "$NOWHERE"', "nosuchprogram", "found=$(false)"])
def test_a_step_that_fails_ends_the_block_and_says_so(folder: Path, shell: str, broken: str) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"no {shell} on this machine")
    (folder / "bin").mkdir()
    (folder / "bin" / "sh").symlink_to(found)
    ran = run(blocks(f"{broken}\ntouch done"), folder, path=[folder / "bin"])
    assert ran.returncode != 0
    assert ran.stderr.splitlines()[-1] == STOPPED
    assert not (folder / "done").exists()


def test_other_bytes_end_it_before_they_are_used(folder: Path) -> None:
    (folder / "part.zst").write_bytes(zstandard.compress(b"forged"))
    ran = run(blocks("touch done"), folder)
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (1, STOPPED)
    assert not (folder / "part").exists()


def test_what_comes_of_the_bytes_is_checked_too(folder: Path) -> None:
    other = replace(MEMBER, plain_sha256=hashlib.sha256(b"other").hexdigest())
    ran = run(blocks("touch done", replace(MANIFEST, members=(other,))), folder)
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (1, STOPPED)
    assert not (folder / "done").exists()

"""Scratch folders: lent, locked while they are used, removed when their user is gone."""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from platform_ops.common.errors import TryAgain
from platform_ops.common.scratch import scratch


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_killed_users_left_is_removed_and_nothing_else(temporary: Path) -> None:
    dead = temporary / "platform-ops-drill-tree-0123abc_"
    (dead / "folder").mkdir(parents=True)
    (dead / "folder" / "secret").write_text("x")
    (dead / "folder").chmod(0o500)
    others = ["platform-ops-drill-tree-a-0123abcd", "platform-ops-drill-tree-0123abcd-0123abcd", "elsewhere"]
    for name in others:
        (temporary / name).mkdir()
    (temporary / "elsewhere" / "mine").write_text("x")
    (temporary / "platform-ops-drill-tree-aaaaaaaa").symlink_to("elsewhere")
    with scratch("drill-tree") as folder:
        assert (folder.parent, names(folder)) == (temporary, [])
    assert names(temporary) == sorted([*others, "platform-ops-drill-tree-aaaaaaaa"])
    assert names(temporary / "elsewhere") == ["mine"]


def test_a_folder_in_use_is_left_alone(temporary: Path) -> None:
    with scratch("copy") as first:
        (first / "decrypted").write_text("x")
        with suppress(ZeroDivisionError), scratch("copy") as second:
            assert second != first
            raise ZeroDivisionError
        assert names(first) == ["decrypted"]
        assert not second.exists()
    assert names(temporary) == []


def test_a_folder_that_was_swept_before_it_was_locked_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = tempfile.mkdtemp, []

    def swept(**options: Any) -> str:
        made.append(real(**options))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    with scratch("copy") as folder:
        assert (folder.is_dir(), str(folder)) == (True, made[1])


def test_a_place_where_no_folder_can_be_locked_is_told(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "platform_ops.common.scratch.fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(37, "No locks"))
    )
    with pytest.raises(TryAgain, match=f"below {temporary} could be locked: .*No locks"), scratch("copy"):
        raise AssertionError
    assert names(temporary) == []


def test_what_was_left_and_can_not_be_removed_is_told(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = temporary / "platform-ops-copy-0123abcd"
    dead.mkdir()
    monkeypatch.setattr(
        "platform_ops.common.scratch.remove", lambda _: (_ for _ in ()).throw(PermissionError(1, "not permitted"))
    )
    with pytest.raises(TryAgain, match=f"{dead}, which .* not permitted"), scratch("copy"):
        raise AssertionError

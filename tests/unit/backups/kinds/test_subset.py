"""A part of a directory is restored as it was, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.backups.copying import copy
from platform_ops.backups.drilling import Opened
from platform_ops.backups.errors import NoPoint
from platform_ops.backups.kinds.directory import Directory
from platform_ops.backups.kinds.directory_compare import within
from platform_ops.backups.kinds.git import GitRepository
from platform_ops.backups.kinds.shape import Selective
from platform_ops.backups.store import Points

POINT = "20261125T000000Z-0123abcd"


@pytest.fixture
def opened(source: Any, points: Points, tree: Path) -> Opened:
    (tree / "folder-2").mkdir()
    (tree / "folder-2" / "hard").hardlink_to(tree / "folder" / "text")
    copy(source, Directory(source), points, POINT, run_id="r", recipients=(), told=lambda _: None)
    return Opened(points, points.manifest(POINT)[0], None)


@pytest.mark.parametrize(
    ("subset", "found"),
    [
        (
            "",
            {
                "folder",
                "folder/below",
                "folder/below/empty",
                "folder/text",
                "link",
                "same",
                "folder-2",
                "folder-2/hard",
            },
        ),
        # What the hard links in it lead to comes along.
        ("folder", {"folder", "folder/below", "folder/below/empty", "folder/text", "same"}),
        ("folder/below", {"folder", "folder/below", "folder/below/empty"}),
        ("folder/text", {"folder", "folder/text", "same"}),
        ("link", {"link"}),
    ],
)
def test_a_part_is_restored_with_the_folders_above_it(
    source: Any, opened: Opened, tmp_path: Path, subset: str, found: set[str]
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    kind = Directory(source)
    kind.restore_some(opened, target, subset)
    assert {str(path.relative_to(target)) for path in target.rglob("*")} == found
    assert kind.compare_some(opened, target, subset) == []


def test_a_hard_link_of_a_part_has_its_content_though_the_first_name_is_not_in_it(
    source: Any, opened: Opened, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    Directory(source).restore_some(opened, target, "folder-2")
    assert (target / "folder-2" / "hard").read_text() == "one\n"


def test_what_differs_in_a_part_is_named_and_what_lies_beside_it_is_not(
    source: Any, opened: Opened, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    kind = Directory(source)
    kind.restore_some(opened, target, "folder")
    (target / "beside").touch()
    assert kind.compare_some(opened, target, "folder") == []
    (target / "folder" / "text").write_text("two\n")
    (target / "folder" / "more").touch()
    (target / "folder" / "below" / "empty").unlink()
    wrong = kind.compare_some(opened, target, "folder")
    assert sorted(sentence.split()[0] for sentence in wrong) == ["folder/below/empty", "folder/more", "folder/text"]


def test_it_says_how_much_a_part_is(source: Any, opened: Opened) -> None:
    kind = Directory(source)
    assert (kind.select(opened, "folder").files, kind.select(opened, "folder").bytes) == (2, 4)
    with pytest.raises(NoPoint, match="has nothing at 'nosuch'"):
        kind.select(opened, "nosuch")


def test_kinds_say_whether_they_can_restore_a_part(source: Any) -> None:
    assert isinstance(Directory(source), Selective)
    assert not isinstance(GitRepository(source), Selective)


@given(st.lists(st.sampled_from(["a", "ab", "b"]), min_size=1, max_size=4), st.integers(0, 4))
def test_a_path_is_within_those_above_it_and_no_others(parts: list[str], depth: int) -> None:
    path, above = "/".join(parts), "/".join(parts[:depth])
    assert within(path, above)
    assert not above or not within(path, above + "x")

"""Sources that do not hold still while they are read: a point is of one moment, or it is none."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

import pytest

from tests.faults.bucket import Stored
from tests.faults.installation import Installation
from tests.faults.sources import LARGE, git, run_git

pytestmark = pytest.mark.faults

COPIES = 10


@contextmanager
def meanwhile(act: Callable[[int], object]) -> Iterator[None]:
    """Do something again and again while the block runs."""
    over, failed = threading.Event(), list[Exception]()

    def repeat() -> None:
        try:
            for number in count():
                if over.is_set():
                    return
                act(number)
        except Exception as error:  # noqa: BLE001 - it is shown to whoever waits
            failed.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert failed == []


def test_a_repository_that_is_rewritten_and_collected_meanwhile(installation: Installation) -> None:
    source, change = git(installation, "a-git")
    folder = installation.room / "repositories" / source.name
    change(0)

    def rewrite(number: int) -> None:
        (folder / "file").write_bytes(Random(number).randbytes(300_000))
        run_git(folder, "commit", "--quiet", "--all", "--amend", "--message", f"Rewritten {number}")
        run_git(
            folder, "-c", "gc.reflogExpire=now", "-c", "gc.reflogExpireUnreachable=now", "gc", "--quiet", "--prune=now"
        )

    with meanwhile(rewrite):
        for number in range(COPIES):
            ended = source.tries(number, "copy", "verify", "drill")
            assert [one for one in ended if one.error and not one.again] == []
    source.back_up(COPIES)
    assert [broken for point in Stored(installation.store.owner, source.name).points() for broken in
            Stored(installation.store.owner, source.name).broken(point)] == []  # fmt: skip


def test_files_that_grow_and_vanish_meanwhile(installation: Installation) -> None:
    folder = installation.room / "files"
    folder.mkdir()
    (folder / "grows").write_bytes(Random(1).randbytes(LARGE))
    for number in range(200):
        (folder / f"{number}").write_text("there")
    source = installation.enter("a-directory", "directory", {"path": str(folder)})

    def churn(number: int) -> None:
        with (folder / "grows").open("ab") as file:
            file.write(b"more")
        (folder / f"{number % 200}").unlink(missing_ok=True)
        (folder / f"{(number + 100) % 200}").write_text("there again")

    told = list[str]()
    for number in range(COPIES):
        with meanwhile(churn):
            (copied,) = source.does(number, "copy")
        told += copied.report["facts"]["notes"]
        source.does(number, "verify", "drill")
        os.truncate(folder / "grows", LARGE)
    assert any("grows" in note for note in told)


def test_a_file_that_becomes_shorter_meanwhile(installation: Installation) -> None:
    folder = installation.room / "files"
    folder.mkdir()
    file = folder / "shrinks"
    source = installation.enter("a-directory", "directory", {"path": str(folder)})

    def churn(number: int) -> None:
        os.truncate(file, LARGE if number % 2 else 10)

    for number in range(COPIES):
        file.write_bytes(Random(number).randbytes(LARGE))
        with meanwhile(churn):
            source.does(number, "copy")
        source.does(number, "verify", "drill")


def test_a_folder_without_its_disk(installation: Installation, tmp_path: Path) -> None:
    """What is mounted where the catalogue says is gone: an empty folder is no backup of nothing, it is missing."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "file").write_text("x")
    source = installation.enter("a-directory", "directory", {"path": str(folder)})
    source.back_up(0)
    (folder / "file").unlink()
    (ended,) = source.tries(1, "copy")
    assert (ended.error, ended.again) == ("SourceEmptied", False)
    folder.rmdir()
    (ended,) = source.tries(1, "copy")
    assert (ended.error, ended.again) == ("DirectoryMissing", False)

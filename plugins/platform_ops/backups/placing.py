"""Put what was restored in its place, so that a kill between any two lines loses nothing.

All is restored beside the target first and then renamed: what was in the way is renamed too, and kept. Fence: a note
beside the target holds the number of the file or folder that is about to be renamed; what has that number at the place
is ours, and the restore is done. A lock beside the target lets one restore at a time work there, also where Airflow has
started a second copy of a task that it took for dead.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import IO

from platform_ops.backups.wishes import BadWish
from platform_ops.common.errors import Busy
from platform_ops.common.scratch import remove

NAMED = 20
PATIENCE = 20.0
"""Seconds to wait for another restore to leave the target."""


@dataclass(frozen=True, slots=True)
class InTheWay:
    """What is at the place already.

    :param count: of its entries; 1 for a file.
    :param names: the first of them.
    """

    count: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where something is restored to.

    :param target: resolved.
    :param subset: path below the target of what is restored; empty for all of it.
    :param mark: tells this run's names from other runs'.
    """

    target: Path
    subset: str
    mark: str

    @property
    def place(self) -> Path:
        """Return where it ends up, with the links above it followed."""
        place = self.target / self.subset if self.subset else self.target
        return place.parent.resolve() / place.name

    @property
    def staging(self) -> Path:
        """Return where it is restored first: beside the target, since a rename does not leave a file system."""
        return self.target.with_name(f".{self.target.name}.restoring-{self.mark}")

    @property
    def _note(self) -> Path:
        return self.target.with_name(f".{self.target.name}.restored-{self.mark}.json")

    @property
    def _lock(self) -> Path:
        return self.target.with_name(f".{self.target.name}.restoring.lock")

    @contextmanager
    def hold(self, who: str) -> Iterator[None]:
        """Keep other restores away from the target; the lock of a process that was killed is free.

        :param who: is told to those who find it held.
        :raises Busy: another restore holds it.
        """
        with self._locked() as held:
            held.write(f"{who}, process {os.getpid()} on {socket.gethostname()}")
            held.flush()
            yield

    @contextmanager
    def _locked(self) -> Iterator[IO[str]]:
        until = time.monotonic() + PATIENCE
        while True:
            with _told(f"{self._lock} can't be opened"):
                file = os.fdopen(os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")
            with file:
                if self._is_taken(file):
                    try:
                        file.truncate(0)
                        yield file
                    finally:
                        # While it is held: whoever has opened it meanwhile sees that it is gone.
                        self._lock.unlink(missing_ok=True)
                    return
                if time.monotonic() >= until:
                    raise Busy(
                        f"The target {self.target} is held by {file.read(500) or 'a restore that has just begun'}. "
                        "Wait until that has ended; the next try goes on from there."
                    )
            time.sleep(1)

    def _is_taken(self, file: IO[str]) -> bool:
        """Say whether the lock is ours now, and still the one that others find."""
        with _told(f"{self._lock} can't be locked"):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self._lock.stat().st_ino == os.fstat(file.fileno()).st_ino
            except (BlockingIOError, FileNotFoundError):
                return False

    def check(self, *, overwrite: bool) -> InTheWay:
        """Return what is in the way.

        :raises BadWish: nothing may be put there, or not without saying so.
        """
        with _told(f"The target {self.target} can't be looked at"):
            return self._check(overwrite=overwrite)

    def _check(self, *, overwrite: bool) -> InTheWay:
        parent = self.target.parent
        if not parent.is_dir():
            raise BadWish(f"There is no folder {parent} where this task runs. Create it, or name another target.")
        if os.path.lexists(self.target) and not self.target.is_dir():
            raise BadWish(f"The target {self.target} is no folder. Name one that is empty or does not exist.")
        if self.target.is_mount():
            raise BadWish(f"The target {self.target} is a mount point, which can't be replaced. Name a folder in it.")
        if not self.place.is_relative_to(self.target):
            raise BadWish(f"{self.subset} leads out of the target by a link, to {self.place}. Name another target.")
        # With our note, what is above the place may be of an earlier try.
        found = _entries(self.place if overwrite or self._note.is_file() else self.target)
        if found.count and not overwrite:
            raise BadWish(
                f"The target {self.target} is not empty: {', '.join(found.names)}{' …' * (found.count > NAMED)}. "
                "Name an empty folder, or say overwrite: what is in the way is then moved aside."
            )
        return found

    def free(self) -> int:
        """Return the bytes that are free where it is restored."""
        return shutil.disk_usage(self.target.parent).free

    def is_done(self) -> bool:
        """Say whether this run has put it in its place."""
        if not self._note.is_file():
            return False
        noted = json.loads(self._note.read_text() or "null")
        return os.path.lexists(self.place) and noted == {"inode": self.place.lstat().st_ino}

    def stage(self) -> Path:
        """Return the empty folder to restore into; what an earlier try left there is removed."""
        with _told(f"{self.staging} can't be made"):
            remove(self.staging)
            self.staging.mkdir(mode=0o700)
        return self.staging

    def put(self) -> None:
        """Rename what was restored to its place, after what is in the way.

        :raises BadWish: the file system does not let us.
        """
        staged = self.staging / self.subset if self.subset else self.staging
        with _told(f"What was restored to {staged} can't be moved to {self.place}"):
            if not self.subset:
                # Nobody knows the mode of the source's own folder: a new one is open to nobody else.
                mode = self.target.stat().st_mode & 0o7777 if self.target.is_dir() else 0o700
                # What a kind opened for a server's user stays open.
                staged.chmod(mode | staged.stat().st_mode & 0o011)
            self._note.write_text(json.dumps({"inode": staged.lstat().st_ino}))
            self._move_aside()
            _make(self.place.parent)
            staged.rename(self.place)
            remove(self.staging)

    def _move_aside(self) -> None:
        if not os.path.lexists(self.place):
            return
        if self.place.is_dir() and not self.place.is_symlink() and not any(self.place.iterdir()):
            self.place.rmdir()
            return
        kept = next(path for number in count(1) if not os.path.lexists(path := self._aside(number)))
        aside = kept / self.subset if self.subset else kept
        _make(aside.parent)
        self.place.rename(aside)

    def _aside(self, number: int) -> Path:
        return self.target.with_name(f"{self.target.name}.before-{self.mark}-{number}")

    def aside(self) -> list[Path]:
        """Return the folders that hold what this run moved aside."""
        return list(takewhile(os.path.lexists, map(self._aside, count(1))))

    def forget(self) -> None:
        """Remove the note, and what a killed try has left: the restore was compared, and nobody looks for it again."""
        with _told(f"{self.staging} can't be removed"):
            remove(self.staging)
            self._note.unlink(missing_ok=True)


def _entries(place: Path) -> InTheWay:
    if not os.path.lexists(place):
        return InTheWay(0, ())
    if place.is_symlink() or not place.is_dir():
        return InTheWay(1, (place.name,))
    names = sorted(entry.name for entry in place.iterdir())
    return InTheWay(len(names), tuple(os.fsencode(name).decode(errors="replace") for name in names[:NAMED]))


def _make(folder: Path) -> None:
    """Make a folder and those above it that are missing, open to nobody else."""
    missing = list(takewhile(lambda path: not path.is_dir(), (folder, *folder.parents)))
    for path in reversed(missing):
        path.mkdir(mode=0o700)


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadWish(f"{what}: {error.strerror or error}. Look at the folder and its permissions.") from error

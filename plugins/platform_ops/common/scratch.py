"""Folders that go with whoever uses them, also when that is killed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from platform_ops.common.errors import TryAgain

TRIES = 5
"""Folders to make until one is not taken for a leftover by somebody else."""


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """Lend an empty folder; what killed processes have left of those lent for the same purpose is removed first.

    :raises TryAgain: what one has left can't be removed, or no folder can be locked.
    """
    sweep(purpose)
    prefix = _prefix(purpose)
    why: OSError | None = None
    for _ in range(TRIES):
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        with _locked(folder) as refused:
            # Another process may have taken it for a leftover before it was locked.
            if refused or not folder.is_dir():
                why = refused or why
                with suppress(OSError):
                    folder.rmdir()
                continue
            try:
                yield folder
            finally:
                remove(folder)
            return
    raise TryAgain(
        f"No folder that was made below {tempfile.gettempdir()} could be locked: {why or 'each was taken'}. "
        "Give the worker a TMPDIR on a disk of its own."
    ) from why


def sweep(purpose: str) -> None:
    """Remove what killed processes have left of the folders lent for a purpose.

    :raises TryAgain: what one has left can't be removed.
    """
    for left in Path(tempfile.gettempdir()).iterdir():
        # Of the characters that mkdtemp takes, so that no other purpose begins with this one.
        if re.fullmatch(re.escape(_prefix(purpose)) + "[a-z0-9_]{8}", left.name):
            _sweep(left)


def _prefix(purpose: str) -> str:
    return f"platform-ops-{purpose}-"


def _sweep(left: Path) -> None:
    with _locked(left) as refused:
        if refused:
            return
        try:
            remove(left)
        except OSError as error:
            raise TryAgain(
                f"{left}, which a killed task has left, can't be removed: {error.strerror or error}. "
                "Remove it by hand where this task runs."
            ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[OSError | None]:
    """Lock a folder of ours while the block runs; say why not where it is locked, gone, a link or somebody else's."""
    with ExitStack() as stack:
        refused: OSError | None = None
        try:
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, held)
            if os.fstat(held).st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it is somebody else's")
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            refused = error
        yield refused


def remove(folder: Path) -> None:
    """Remove a folder of ours, also one in which folders are read-only."""
    if not os.path.lexists(folder):
        return
    for at, folders, _ in os.walk(folder):
        for name in folders:
            below = Path(at, name)
            if not below.is_symlink():
                below.chmod(0o700)
    shutil.rmtree(folder)

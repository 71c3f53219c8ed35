"""Folders that are hard to read."""

import os
from pathlib import Path


def deepen(folder: Path, levels: int) -> None:
    """Make folders of long names below each other: 20 of them are a path that no system call takes at once."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 200, dir_fd=at)
        at, above = os.open("d" * 200, os.O_RDONLY, dir_fd=at), at
        os.close(above)
    os.close(at)

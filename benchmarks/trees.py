"""A tree of files as people have them: source text, and binaries of which a half does not compress."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

FILES = 20_000
SIZE = 1_000_000_000
TEXTS = 0.9
"""Share of the files that are text."""
TEXT_BYTES = 0.6
"""Share of the bytes that are text."""
CHANGED_EVERY = 100
_POOL = 100 * 1024 * 1024
_PIECES = {".py": 2048, ".so": 64 * 1024}
"""Lengths of the pieces that are cut out of this machine's Python, by what they are cut of."""
_FOLDER_FILES = 50


class Pieces:
    """Cuts pieces out of this machine's Python and puts them together anew.

    :param seed: equal seeds give equal bytes on one machine.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._pools = {suffix: _pool(suffix) for suffix in _PIECES}

    def size(self, mean: float) -> int:
        """Return a length: most are small, a few are many times the mean."""
        return 1 + int(self._random.expovariate(1 / mean))

    def text(self, size: int) -> bytes:
        """Return source text, cut at the ends of lines."""
        return self._joined(".py", size, lambda pool, at: pool.find(b"\n", at) + 1)

    def binary(self, size: int) -> bytes:
        """Return the bytes of shared libraries, or such that do not compress."""
        if self._random.random() < 0.5:
            return self._random.randbytes(size)
        return self._joined(".so", size, lambda _, at: at)

    def _joined(self, suffix: str, size: int, begin: Callable[[bytes, int], int]) -> bytes:
        pool, length, parts, left = self._pools[suffix], _PIECES[suffix], list[bytes](), size
        while left > 0:
            at = begin(pool, self._random.randrange(len(pool) - length))
            parts.append(pool[at : at + min(length, left)])
            left -= len(parts[-1])
        return b"".join(parts)


def make(folder: Path, pieces: Pieces, files: int = FILES, size: int = SIZE) -> None:
    """Write a tree of about so many bytes."""
    texts = int(files * TEXTS)
    for number in range(files):
        path = folder / f"{number // _FOLDER_FILES:04}" / f"{number:06}.{'py' if number < texts else 'bin'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_content(path, pieces, size * TEXT_BYTES / texts, size * (1 - TEXT_BYTES) / (files - texts)))


def change(folder: Path, pieces: Pieces, turn: int) -> int:
    """Write every hundredth file anew, each turn others; return the bytes."""
    written = 0
    for path in sorted(_files(folder))[turn::CHANGED_EVERY]:
        size = path.stat().st_size
        written += path.write_bytes(_content(path, pieces, size, size))
    return written


def _content(path: Path, pieces: Pieces, of_text: float, of_binary: float) -> bytes:
    if path.suffix == ".py":
        return pieces.text(pieces.size(of_text))
    return pieces.binary(pieces.size(of_binary))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _pool(suffix: str) -> bytes:
    """Return what Python's own files hold, and those of what is installed for it."""
    found, left = list[bytes](), _POOL
    for name in ("stdlib", "platlib"):
        for path in sorted(Path(sysconfig.get_path(name)).rglob(f"*{suffix}")):
            if left <= 0:
                break
            found.append(path.read_bytes()[:left])
            left -= len(found[-1])
    return b"".join(found)

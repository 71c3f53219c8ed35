"""Bytes without end, and the memory of a process that lets them pass."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from platform_ops.backups.streams import Writer

_MIB = 1024 * 1024
_BLOCK = 16 * _MIB
"""Longer than zstd looks back: what repeats does so unseen."""
_CHUNK = 256 * 1024
_QUARTERS = 4
SAMPLE_SECONDS = 0.1


class Bytes:
    """As many bytes as are asked for, which do not compress and cost next to nothing to make."""

    def __init__(self, size: int) -> None:
        self._size = size

    def write(self, out: Writer) -> None:
        """Write them."""
        block, left = memoryview(os.urandom(_BLOCK)), self._size
        while left:
            at = (self._size - left) % _BLOCK
            data = bytes(block[at : at + min(_CHUNK, left)])
            out.write(data)
            left -= len(data)


class Memory:
    """Looks at the resident memory of this process, and keeps the peak of each quarter of the work.

    :ivar quarters: in MiB.
    """

    def __init__(self) -> None:
        self.quarters = [0.0] * _QUARTERS
        self._quarter = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def reached(self, share: float) -> None:
        """Note how much of the work is done."""
        self._quarter = min(int(share * _QUARTERS), _QUARTERS - 1)

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.quarters[self._quarter] = max(self.quarters[self._quarter], pages * os.sysconf("SC_PAGE_SIZE") / _MIB)

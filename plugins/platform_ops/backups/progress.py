"""What a long copy says while it goes on: how much, how fast, how much is left."""

from __future__ import annotations

import time
from collections.abc import Callable

EVERY_SECONDS = 5.0
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Progress:
    """Says every few seconds how far something is.

    :param say: takes a sentence.
    :param expected: bytes; 0 when nobody knows.
    :param clock: seconds that never go back.
    """

    def __init__(
        self, say: Callable[[str], object], expected: int = 0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._expected = expected
        self._clock = clock
        self._began = self._last = clock()
        self.done = 0

    def add(self, size: int) -> None:
        """Count more bytes, and speak when it is time."""
        self.done += size
        now = self._clock()
        if now - self._last < EVERY_SECONDS:
            return
        self._last = now
        rate = self.done / (now - self._began)
        left = ""
        if self._expected > self.done and rate:
            left = f", about {(self._expected - self.done) / rate:.0f} s left"
        self._say(f"{amount(self.done)} so far, {amount(rate)}/s{left}")


def amount(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError  # pragma: no cover

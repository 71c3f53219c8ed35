"""Which contents a copy has at hand and which it needs, in a file of its own: a million of them take no memory."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from platform_ops.backups.contents import Stored, hash_of

_TABLE = """
create table contents (
    hash blob primary key, name text, plain integer, stored integer, sha256 text, needed integer
) without rowid
"""
_CACHE_KIB = 64 * 1024


class Ledger:
    """Contents by the hash of their plain bytes; several threads may ask at once."""

    def __init__(self) -> None:
        # An empty name is a temporary file that goes with the connection.
        self._file = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._file.execute(f"pragma cache_size = -{_CACHE_KIB}")
        self._file.execute("pragma synchronous = off")
        self._file.execute(_TABLE)
        self._file.execute("begin")
        self._changed = threading.Condition()
        self._in_work: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def load(self, found: Iterable[Stored]) -> None:
        """Take over contents that may be needed."""
        self._file.executemany("insert or replace into contents values (?, ?, ?, ?, ?, 0)", map(_row, found))

    def need(self, hashed: str, name: str = "") -> Stored | None:
        """Return the content with this hash and note that it is needed; None when there is none.

        :param name: accept only the content of this name; empty accepts any.
        """
        with self._changed:
            return self._need(hashed, name)

    def begin(self, hashed: str) -> Stored | None:
        """Return the content like ``need``; None when the caller is to store it, and to say ``done`` or ``fail``.

        While another thread stores the same bytes, this waits for it.
        """
        with self._changed:
            self._changed.wait_for(lambda: hashed not in self._in_work)
            found = self._need(hashed, "")
            if found is None:
                self._in_work.add(hashed)
            return found

    def done(self, one: Stored) -> None:
        """Note a content that was stored, and is needed."""
        with self._changed:
            self._file.execute("insert or replace into contents values (?, ?, ?, ?, ?, 1)", _row(one))
            self._in_work.discard(hash_of(one.name))
            self._changed.notify_all()

    def fail(self, hashed: str) -> None:
        """Note that a content could not be stored."""
        with self._changed:
            self._in_work.discard(hashed)
            self._changed.notify_all()

    def needed(self) -> Iterator[Stored]:
        """Yield the contents that are needed, by name."""
        rows = self._file.execute("select name, plain, stored, sha256 from contents where needed order by hash")
        return (Stored(*row) for row in rows)

    def size_of(self, name: str) -> int | None:
        """Return the plain bytes of a content, needed or not; None when there is none of that name."""
        with self._changed:
            found = self._row_of(hash_of(name))
        return found[1] if found and found[0] == name else None

    def _need(self, hashed: str, name: str) -> Stored | None:
        row = self._row_of(hashed)
        if row is None or (name and row[0] != name):
            return None
        if not row[4]:
            self._file.execute("update contents set needed = 1 where hash = ?", (bytes.fromhex(hashed),))
        return Stored(*row[:4])

    def _row_of(self, hashed: str) -> tuple[str, int, int, str, int] | None:
        """Return name, plain size, stored size, sha256, and whether it is needed."""
        found: tuple[str, int, int, str, int] | None = self._file.execute(
            "select name, plain, stored, sha256, needed from contents where hash = ?", (bytes.fromhex(hashed),)
        ).fetchone()
        return found


def _row(one: Stored) -> tuple[bytes, str, int, int, str]:
    return bytes.fromhex(hash_of(one.name)), one.name, one.plain_size, one.stored_size, one.stored_sha256

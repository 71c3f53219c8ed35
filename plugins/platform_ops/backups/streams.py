"""Bytes on their way into a point and out of it: hashed, compressed with zstd, encrypted with age, all as streams.

What is stored is what ``zstd`` and ``age`` write, so they read it without this software.
"""

from __future__ import annotations

import hashlib
import io
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, Self, cast

from platform_ops.common.errors import FailNow, Invalid

if TYPE_CHECKING:
    import pyrage
    from _typeshed import ReadableBuffer, WriteableBuffer

CHUNK = 1024 * 1024
TAR_BLOCK = 16 * 1024
"""What tarfile holds at once: for each header of half a kilobyte it moves all of it."""
LEVEL = 3
_JOB = 2 * 1024 * 1024
"""What a thread of zstd compresses at once; by default it would be four times as much, and take 120 MiB for it."""
JOIN_SECONDS = 30.0
_WAITING_CHUNKS = 8


class Reader(Protocol):
    """What bytes are read from; an empty answer is the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes."""


class Writer(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Take all of the bytes."""


class BadRecipient(Invalid):
    """Something else than a public key of age is named as recipient."""


class BadIdentity(Invalid):
    """The private key is none of age."""


class Undecipherable(FailNow):
    """Stored bytes are not what age or zstd wrote, or not for this key."""


@dataclass(frozen=True, slots=True)
class Sum:
    """How much went by, and its sha256 in hex."""

    size: int
    sha256: str


class Counter:
    """Hashes and counts what goes by.

    :param hashes: False to count only; the sha256 is empty then.
    """

    def __init__(self, told: Callable[[int], object] = lambda _: None, *, hashes: bool = True) -> None:
        self._hash = hashlib.sha256() if hashes else None
        self._told = told
        self.size = 0

    def add(self, data: bytes) -> None:
        """Count more bytes."""
        if self._hash:
            self._hash.update(data)
        self.size += len(data)
        self._told(len(data))

    @property
    def sum(self) -> Sum:
        """Return what has gone by so far."""
        return Sum(self.size, self._hash.hexdigest() if self._hash else "")


class CountingReader:
    """Reads on from another reader and counts."""

    def __init__(self, inner: Reader, counter: Counter) -> None:
        self._inner = inner
        self._counter = counter

    def read(self, size: int = -1, /) -> bytes:
        """Read at most so many bytes."""
        data = self._inner.read(size)
        self._counter.add(data)
        return data


class CountingWriter:
    """Writes on to another writer and counts."""

    def __init__(self, inner: Writer, counter: Counter) -> None:
        self._inner = inner
        self._counter = counter

    def write(self, data: bytes, /) -> int:
        """Write all of the bytes."""
        self._inner.write(data)
        self._counter.add(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


class Limited:
    """Passes on at most ``most`` bytes: a few stored bytes could unpack to more than any disk holds.

    :raises Undecipherable: there is more.
    """

    def __init__(self, inner: Writer, most: int) -> None:
        self._inner = inner
        self._left = most

    def write(self, data: bytes, /) -> int:
        """Write all of the bytes."""
        self._left -= len(data)
        if self._left < 0:
            raise Undecipherable("It unpacks to more than was backed up.")
        return self._inner.write(data)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


class _AgeReads(io.RawIOBase):
    """What age reads from, a buffer between them: it asks for 8 KiB at a time, each time waiting for Python's lock.

    The error that ended it is kept: age would turn it into one of its own.
    """

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self.error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        try:
            data = self._inner.read(len(view))
        except BaseException as error:
            self.error = error
            raise
        view[: len(data)] = data
        return len(data)


class _AgeWrites(io.RawIOBase):
    """What age writes to, likewise."""

    def __init__(self, inner: Writer) -> None:
        self._inner = inner
        self.error: BaseException | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            self._inner.write(bytes(data))
        except BaseException as error:
            self.error = error
            raise
        return len(memoryview(data))


class _AgeRefused(Exception):
    """Age can't do its work with these bytes."""


class _GivenUp(Exception):
    """The reader went away."""


class Piped:
    """What a function writes, as something to read: the function runs in a thread of its own.

    An error of the function is raised where the reading meets its end, so nobody takes half for the whole. Leaving
    the block early ends the function at its next write.

    :param produce: takes the writer.
    """

    def __init__(self, produce: Callable[[Writer], object]) -> None:
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_WAITING_CHUNKS)
        self._written = bytearray()
        self._left = b""
        self._at = 0
        self._ended = False
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(produce,), name="piped", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        # One that hangs in a read of its own must not keep a task from ending.
        self._thread.join(JOIN_SECONDS)

    def _run(self, produce: Callable[[Writer], object]) -> None:
        try:
            produce(self)
        except _GivenUp:
            return
        except BaseException as error:  # noqa: BLE001 - it is raised again in the reading thread
            self._error = error
        try:
            self.flush()
            self._put(None)
        except _GivenUp:
            return

    def _put(self, chunk: bytes | None) -> None:
        while not self._over.is_set():
            try:
                self._chunks.put(chunk, timeout=0.2)
            except queue.Full:
                continue
            return
        raise _GivenUp

    def write(self, data: bytes, /) -> int:
        """Hand bytes to the reader, waiting while it is behind; small ones are gathered first.

        To hand something over costs as much as to pack a few thousand bytes, and lists are written line by line.
        """
        if self._written or len(data) < CHUNK:
            self._written += data
            if len(self._written) >= CHUNK:
                self.flush()
        else:
            self._put(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Hand over what was gathered."""
        if self._written:
            self._put(bytes(self._written))
            self._written.clear()

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes; all that are left for a negative size."""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        if self._at == len(self._left) and not self._ended:
            self._at, self._left = 0, self._next()
        data = self._left[self._at : self._at + size]
        self._at += len(data)
        return data

    def _next(self) -> bytes:
        chunk = self._chunks.get()
        if chunk is not None:
            return chunk
        self._ended = True
        if self._error:
            raise self._error
        return b""


def encode(write: Callable[[Writer], object], out: Writer, recipients: Sequence[str], plain: Counter) -> None:
    """Have a part written, and compress and encrypt it on the way.

    :param write: writes the plain part.
    :param recipients: public keys of age; without any the part is only compressed.
    :param plain: counts the plain bytes.
    """
    import zstandard

    keys = parse_recipients(recipients)
    # Two threads beside the reading one; the frame is an ordinary one.
    how = zstandard.ZstdCompressionParameters.from_level(LEVEL, threads=2, job_size=_JOB, write_checksum=True)
    compressor = zstandard.ZstdCompressor(compression_params=how)
    with Piped(lambda pipe: write(CountingWriter(pipe, plain))) as written:
        packed = compressor.stream_reader(cast("IO[bytes]", written), read_size=CHUNK)
        if keys:
            _encrypt(packed, out, keys)
        else:
            while data := packed.read(CHUNK):
                out.write(data)


def encode_whole(plain: bytes, recipients: Sequence[str]) -> bytes:
    """Do what ``encode`` does with bytes that are all there: no thread, no pipe."""
    import pyrage
    import zstandard

    packed = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(plain)
    keys = parse_recipients(recipients)
    return bytes(pyrage.encrypt(packed, keys)) if keys else packed


def _encrypt(plain: Reader, out: Writer, keys: list[pyrage.x25519.Recipient]) -> None:
    import pyrage

    _through_age(lambda source, target: pyrage.encrypt_io(source, target, keys), plain, out)


def decode(stored: Reader, out: Writer, identity: str | None) -> None:
    """Undo ``encode``.

    :param identity: a private key of age; None for what was not encrypted.
    :raises Undecipherable: the bytes are not what was stored, or for another key.
    """
    import zstandard

    unpacked = zstandard.ZstdDecompressor().stream_writer(cast("IO[bytes]", out), closefd=False)
    try:
        if identity is None:
            while data := stored.read(CHUNK):
                unpacked.write(data)
        else:
            _decrypt(stored, unpacked, parse_identity(identity))
    except zstandard.ZstdError as error:
        raise Undecipherable(f"zstd can't decompress what is stored: {error}.") from error


def _decrypt(stored: Reader, out: Writer, key: pyrage.x25519.Identity) -> None:
    import pyrage

    try:
        _through_age(lambda source, target: pyrage.decrypt_io(source, target, [key]), stored, out)
    except _AgeRefused as error:
        raise Undecipherable(f"age can't decrypt what is stored: {error}.") from error


def _through_age(work: Callable[[IO[bytes], IO[bytes]], object], source: Reader, out: Writer) -> None:
    """Have age do its work, with a buffer on either side.

    :raises _AgeRefused: age says so; an error of a side is raised as it is.
    """
    import pyrage

    reads, writes = _AgeReads(source), _AgeWrites(out)
    target = io.BufferedWriter(writes, CHUNK)
    refused: Exception | None = None
    try:
        work(cast("IO[bytes]", io.BufferedReader(reads, CHUNK)), cast("IO[bytes]", target))
        target.flush()
    except (pyrage.EncryptError, pyrage.DecryptError, OSError) as error:
        refused = error
    # pyrage 1.4 says nothing of an error in its last write.
    if own := reads.error or writes.error:
        raise own
    if refused:
        raise _AgeRefused(str(refused)) from refused


def parse_recipients(recipients: Sequence[str]) -> list[pyrage.x25519.Recipient]:
    """Return age's public keys.

    :raises BadRecipient: one is none.
    """
    import pyrage

    keys = []
    for text in recipients:
        try:
            keys.append(pyrage.x25519.Recipient.from_str(text))
        except pyrage.RecipientError as error:
            raise BadRecipient(f"{text[:70]!r} is no public key of age (age1…): {error}") from error
    return keys


def parse_identity(text: str) -> pyrage.x25519.Identity:
    """Return age's private key.

    :raises BadIdentity: it is none; the message does not repeat it.
    """
    import pyrage

    try:
        return pyrage.x25519.Identity.from_str(text.strip())
    except pyrage.IdentityError as error:
        raise BadIdentity("The connection's password is no private key of age (AGE-SECRET-KEY-1…).") from error

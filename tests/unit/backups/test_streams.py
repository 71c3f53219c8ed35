"""Bytes into a point and back, and everything that may go wrong on the way."""

import hashlib
import io
import os
import threading
from typing import Any

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_ops.backups.streams import (
    CHUNK,
    BadIdentity,
    BadRecipient,
    Counter,
    Limited,
    Piped,
    Sum,
    Undecipherable,
    decode,
    encode,
    encode_whole,
    parse_identity,
    parse_recipients,
)


class Trouble(Exception):
    """An error of a source or a store."""


class Failing:
    def read(self, size: int = -1, /) -> bytes:
        raise Trouble("read")

    def write(self, data: bytes, /) -> int:
        raise Trouble("write")


def stored(plain: bytes, recipients: tuple[str, ...]) -> bytes:
    out = io.BytesIO()
    told: list[int] = []
    counter = Counter(told.append)
    encode(lambda to: to.write(plain), out, recipients, counter)
    assert counter.sum == Sum(len(plain), hashlib.sha256(plain).hexdigest())
    assert sum(told) == len(plain)
    return out.getvalue()


@pytest.mark.parametrize("encrypted", [True, False])
@given(parts=st.lists(st.binary(max_size=5000), max_size=5))
@settings(max_examples=30, deadline=None)
def test_what_was_encoded_is_decoded(key, recipients, encrypted: bool, parts: list[bytes]) -> None:
    out = io.BytesIO()
    encode(lambda to: [to.write(part) for part in parts], out, recipients if encrypted else (), Counter())
    back = io.BytesIO()
    decode(io.BytesIO(out.getvalue()), back, str(key) if encrypted else None)
    assert back.getvalue() == b"".join(parts)


def test_nothing_of_the_plain_bytes_is_stored(recipients) -> None:
    assert b"secret" not in stored(b"secret" * 1000, recipients)


def test_every_recipient_can_read_it(key) -> None:
    other = pyrage.x25519.Identity.generate()
    body = stored(b"for both", (str(key.to_public()), str(other.to_public())))
    for one in (key, other):
        back = io.BytesIO()
        decode(io.BytesIO(body), back, str(one))
        assert back.getvalue() == b"for both"


def test_another_key_reads_nothing(recipients) -> None:
    with pytest.raises(Undecipherable, match="age can't decrypt"):
        decode(io.BytesIO(stored(b"x", recipients)), io.BytesIO(), str(pyrage.x25519.Identity.generate()))


@pytest.mark.parametrize(
    "spoil", [lambda body: body[:-1], lambda body: body[:200], lambda body: b"", lambda body: b"x"]
)
def test_half_of_it_or_something_else_is_refused(key, recipients, spoil: Any) -> None:
    body = stored(bytes(range(256)) * 1000, recipients)
    with pytest.raises(Undecipherable):
        decode(io.BytesIO(spoil(body)), io.BytesIO(), str(key))


@given(place=st.integers(min_value=0))
@settings(max_examples=40, deadline=None)
def test_a_flipped_byte_is_refused(key, recipients, place: int) -> None:
    body = bytearray(stored(b"content " * 50, recipients))
    body[place % len(body)] ^= 1
    with pytest.raises(Undecipherable):
        decode(io.BytesIO(bytes(body)), io.BytesIO(), str(key))


def test_compressed_bytes_that_are_none_are_refused() -> None:
    with pytest.raises(Undecipherable, match="zstd"):
        decode(io.BytesIO(b"no zstd frame at all"), io.BytesIO(), None)


@pytest.mark.parametrize("encrypted", [True, False])
def test_an_error_of_the_source_keeps_its_class(recipients, encrypted: bool) -> None:
    def write(to: Any) -> None:
        to.write(b"half")
        raise Trouble("the source")

    with pytest.raises(Trouble, match="the source"):
        encode(write, io.BytesIO(), recipients if encrypted else (), Counter())


@pytest.mark.parametrize("encrypted", [True, False])
def test_an_error_of_the_store_keeps_its_class(key, recipients, encrypted: bool) -> None:
    with pytest.raises(Trouble, match="write"):
        encode(lambda to: to.write(b"x" * 10**6), Failing(), recipients if encrypted else (), Counter())
    with pytest.raises(Trouble, match="read"):
        decode(Failing(), io.BytesIO(), str(key) if encrypted else None)
    body = stored(b"y" * 10**6, recipients if encrypted else ())
    with pytest.raises(Trouble, match="write"):
        decode(io.BytesIO(body), Failing(), str(key) if encrypted else None)


@pytest.mark.parametrize("decrypts", [True, False])
def test_a_store_that_failed_in_the_middle_is_asked_no_more(key, recipients, decrypts: bool) -> None:
    plain = os.urandom(4 * CHUNK)
    body, asked = stored(plain, recipients), list[int]()

    class Once:
        def write(self, data: bytes, /) -> int:
            asked.append(len(data))
            raise Trouble("write")

    def work() -> None:
        if decrypts:
            decode(io.BytesIO(body), Once(), str(key))
        else:
            encode(lambda to: to.write(plain), Once(), recipients, Counter())

    with pytest.raises(Trouble):
        work()
    assert len(asked) == 1


def test_an_error_of_the_source_is_not_replaced_by_one_of_the_store(key, recipients) -> None:
    body = stored(os.urandom(CHUNK // 2), recipients)

    class Half:
        def __init__(self) -> None:
            self.left = [body[: len(body) // 2]]

        def read(self, size: int = -1, /) -> bytes:
            if self.left:
                return self.left.pop()
            raise Trouble("the network")

    with pytest.raises(Trouble, match="the network"):
        decode(Half(), Failing(), str(key))


def test_who_reads_a_pipe_to_its_end_learns_of_the_error() -> None:
    def produce(to: Any) -> None:
        to.write(b"half")
        raise Trouble("later")

    with Piped(produce) as pipe:
        assert pipe.read(4) == b"half"
        with pytest.raises(Trouble):
            pipe.read(1)


def test_who_stops_reading_ends_the_writer() -> None:
    ended: list[str] = []

    def produce(to: Any) -> None:
        try:
            while True:
                to.write(b"x" * 10_000)
        finally:
            ended.append("yes")

    with Piped(produce) as pipe:
        pipe.read(10)
    assert ended == ["yes"]


@pytest.mark.parametrize("text", ["", "age1nonsense", "AGE-SECRET-KEY-1", "ssh-ed25519 AAAA"])
def test_what_is_no_recipient_is_named(text: str) -> None:
    with pytest.raises(BadRecipient, match="no public key of age"):
        parse_recipients([text])


def test_what_is_no_private_key_is_not_repeated() -> None:
    with pytest.raises(BadIdentity) as refused:
        parse_identity("hunter2hunter2")
    assert "hunter2" not in str(refused.value)


def test_what_unpacks_to_more_than_was_backed_up_is_stopped_where_it_does() -> None:
    stored, plain = io.BytesIO(encode_whole(bytes(1 << 26), ())), io.BytesIO()
    with pytest.raises(Undecipherable, match="more than was backed up"):
        decode(stored, Limited(plain, 1000), None)
    assert len(plain.getvalue()) <= 1000


def test_small_writes_are_handed_over_together():
    def produce(pipe):
        for _ in range(CHUNK // 16):
            pipe.write(b"a short line 16b")
        pipe.write(b"the end")

    with Piped(produce) as pipe:
        assert [len(pipe.read(CHUNK)) for _ in range(3)] == [CHUNK, 7, 0]


def test_what_was_flushed_can_be_read_at_once():
    goes_on = threading.Event()

    def produce(pipe):
        pipe.write(b"first")
        pipe.flush()
        goes_on.wait(10)

    with Piped(produce) as pipe:
        assert pipe.read(CHUNK) == b"first"
        goes_on.set()

"""Only what GitLab signed, or who knows the token, is let in."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.common.webhook_secrets import Secrets, read_secrets
from platform_ops.web.signatures import WINDOW_SECONDS, Unproven, judge
from tests.unit.web.hook_world import EVENT_ID, KEY, NOW, SECRET, SIGNING_TOKEN, sign

BOTH = read_secrets({"token": SECRET, "signing_token": SIGNING_TOKEN})
SIGNED_ONLY = read_secrets({"signing_token": SIGNING_TOKEN})
TOKEN_ONLY = read_secrets({"token": SECRET})
EVENT = EVENT_ID.encode()
STAMP = b"%d" % NOW
BODY = b'{"object_kind": "push"}'

ids = st.text("abcXYZ0189_-", min_size=1, max_size=128).map(str.encode)
stamps = st.integers(int(NOW) - WINDOW_SECONDS, int(NOW) + WINDOW_SECONDS).map(lambda stamp: b"%d" % stamp)
bodies = st.binary(max_size=200)


def headers(event_id=EVENT, stamp=STAMP, signature=None, body=BODY, **more):
    signature = sign(event_id, stamp, body).encode() if signature is None else signature
    rows = [(b"webhook-id", event_id), (b"webhook-timestamp", stamp), (b"webhook-signature", signature)]
    return rows + [(name.replace("_", "-").encode(), value) for name, value in more.items()]


def accepted(rows, body=BODY, secrets=BOTH, now=NOW):
    try:
        signed = judge(rows, secrets, now=now)
    except Unproven:
        return False
    return signed is None or signed.covers(body)


def test_the_example_of_the_specification():
    # https://github.com/standard-webhooks/standard-webhooks, spec: its key has 24 bytes, GitLab's have 32.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    rows = headers(b"msg_p5jXN8AQM9LWM0D4loKWxJek", b"1614265330", b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    assert accepted(rows, b'{"test": 2432232314}', Secrets(None, key), now=1614265330)


def test_the_key_is_what_the_token_encodes():
    assert SIGNED_ONLY.signing_key == KEY
    assert str(BOTH) == "Secrets()"


@given(ids, stamps, bodies)
def test_what_gitlab_signed_is_accepted(event_id, stamp, body):
    assert accepted(headers(event_id, stamp, body=body), body)


@given(st.data(), ids, stamps, bodies.filter(bool))
def test_one_changed_byte_is_refused(data, event_id, stamp, body):
    parts = {"event_id": event_id, "stamp": stamp, "body": body, "signature": sign(event_id, stamp, body).encode()}
    name = data.draw(st.sampled_from(sorted(parts)))
    at = data.draw(st.integers(0, len(parts[name]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != parts[name][at]))
    parts[name] = parts[name][:at] + bytes([other]) + parts[name][at + 1 :]
    assert not accepted(headers(**parts), parts["body"])


@given(ids, stamps, bodies, st.binary(min_size=1, max_size=20))
def test_what_is_longer_or_shorter_is_refused(event_id, stamp, body, more):
    signature = sign(event_id, stamp, body).encode()
    assert not accepted(headers(event_id, stamp, signature), body + more)
    assert not accepted(headers(event_id, stamp, signature), more + body)
    assert not accepted(headers(event_id + more, stamp, signature), body)
    assert not accepted(headers(event_id, stamp + more, signature), body)


@given(bodies)
def test_what_was_signed_can_not_be_cut_apart_in_another_way(rest):
    signature = sign(b"event", STAMP, STAMP + b"." + rest).encode()
    assert accepted(headers(b"event", STAMP, signature), STAMP + b"." + rest)
    assert not accepted(headers(b"event." + STAMP, STAMP, signature), rest)


@pytest.mark.parametrize(
    ("off", "fine"),
    [(0, True), (-300, True), (300, True), (-301, False), (301, False), (-86_400, False), (86_400, False)],
)
def test_the_stamp_may_be_off_by_five_minutes(off, fine):
    assert accepted(headers(stamp=b"%d" % (int(NOW) + off))) is fine


@pytest.mark.parametrize(
    "stamp",
    [
        b"",
        b"-1",
        b"+1795600000",
        b" 1795600000",
        b"1795600000\n",
        b"1795600000.0",
        b"1_795_600_000",
        b"0x6b0685c0",
        b"\xd9\xa1",
        "\u0661\u0667\u0669".encode(),
        b"\xff",
        b"9" * 5000,
        b"2026-11-25T09:00:00Z",
    ],
)
def test_what_is_no_stamp(stamp):
    assert not accepted(headers(stamp=stamp))


@pytest.mark.parametrize("event_id", [b"", b"a.b", b"a b", b"a\x00", b"\xff\xfe", "\u00fc".encode(), b"a" * 129])
def test_what_is_no_id(event_id):
    assert not accepted(headers(event_id))


RIGHT = sign(EVENT, STAMP, BODY).encode()
WRONG = sign(EVENT, STAMP, BODY, b"another key").encode()


@pytest.mark.parametrize(
    ("signatures", "fine"),
    [
        (RIGHT + b" " + WRONG, True),
        (WRONG + b" v1a,what-ed25519-would-be " + RIGHT, True),
        (WRONG + b" " + WRONG, False),
        (RIGHT.replace(b"v1,", b"v2,"), False),
        (RIGHT.removeprefix(b"v1,"), False),
        (RIGHT.rstrip(b"="), False),
        (RIGHT + b"=", False),
        (RIGHT.lower(), False),
        (RIGHT + b"," + WRONG, False),
        (b"v1,", False),
        (b"v1", False),
        (b" ", False),
        (b"", False),
        (b"\xff", False),
    ],
)
def test_one_of_several_signatures_has_to_be_right(signatures, fine):
    assert accepted(headers(signature=signatures)) is fine


@pytest.mark.parametrize("name", [b"webhook-id", b"webhook-timestamp", b"webhook-signature"])
def test_a_header_that_is_missing_or_sent_twice(name):
    rows = headers()
    twice = [row for row in rows if row[0] == name]
    assert not accepted(rows + twice)
    assert not accepted([row for row in rows if row[0] != name], secrets=SIGNED_ONLY)


def test_the_signature_decides_before_the_token():
    assert not accepted(headers(signature=WRONG, x_gitlab_token=SECRET.encode()))
    assert accepted(headers(x_gitlab_token=b"wrong"))


def test_the_token_counts_where_nothing_is_signed():
    rows = [(b"x-gitlab-token", SECRET.encode())]
    # GitLab sends id and stamp also where it doesn't sign.
    unsigned = [*headers()[:2], *rows]
    assert [accepted(unsigned, secrets=one) for one in (BOTH, TOKEN_ONLY, SIGNED_ONLY)] == [True, True, False]
    assert not accepted(rows + rows)
    assert not accepted([(b"x-gitlab-token", b"wrong")])
    assert not accepted([])


def test_a_signature_nobody_can_check_leaves_the_token_to_decide():
    rows = headers(signature=WRONG)
    assert accepted([*rows, (b"x-gitlab-token", SECRET.encode())], secrets=TOKEN_ONLY)
    assert not accepted(rows, secrets=TOKEN_ONLY)

"""Judges whether a delivery comes from GitLab: by its signature over the body, or by its plain secret token.

Since GitLab 19.0 a delivery carries an id and a stamp, and is signed where the webhook has a signing token, as
https://www.standardwebhooks.com specifies (GitLab, doc/user/project/integrations/webhooks.md, "Signing tokens").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from platform_ops.common.errors import Invalid
from platform_ops.common.webhook_secrets import Secrets

WINDOW_SECONDS = 300
"""How far a stamp may be off: what was overheard can't be sent again later."""

TOKEN = b"x-gitlab-token"
ID = b"webhook-id"
STAMP = b"webhook-timestamp"
SIGNATURE = b"webhook-signature"

# An id without dots: id and stamp can't be cut apart in two ways.
_ID = re.compile(rb"[A-Za-z0-9_-]{1,128}")
_STAMP = re.compile(rb"[0-9]{1,12}")

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, as ASGI has them."""


class Unproven(Invalid):
    """The sender did not prove to be GitLab."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed delivery whose body is still to be read.

    :param id: of the event; GitLab keeps it when the event is sent again.
    :param stamp: second of this try.
    """

    id: bytes
    stamp: bytes
    signatures: tuple[bytes, ...]
    key: bytes = field(repr=False)

    def covers(self, body: bytes) -> bool:
        """Say whether one of the signatures is that of this body; compared as bytes, in constant time."""
        signer = hmac.new(self.key, self.id + b"." + self.stamp + b".", hashlib.sha256)
        signer.update(body)
        expected = b"v1," + base64.b64encode(signer.digest())
        return any(hmac.compare_digest(expected, one) for one in self.signatures)


def judge(headers: Headers, secrets: Secrets, *, now: float) -> Signed | None:
    """Judge what can be judged before the body is read: the token, or the form and the time of a signature.

    A signature decides as soon as there is a key to check it with. Without one it is passed over: whoever knows the
    token could leave it out.

    :param now: seconds of the Unix epoch.
    :return: the signature that the body must match; None when the token was right.
    :raises Unproven: the delivery is refused as it is.
    """
    if secrets.signing_key is not None and any(name == SIGNATURE for name, _ in headers):
        return _signed(headers, secrets.signing_key, now)
    if secrets.token is None:
        raise Unproven("webhook-signature is missing, and nothing else is taken")
    if not hmac.compare_digest(_only(headers, TOKEN), secrets.token):
        raise Unproven("X-Gitlab-Token is wrong")
    return None


def _signed(headers: Headers, key: bytes, now: float) -> Signed:
    event, stamp, signatures = (_only(headers, name) for name in (ID, STAMP, SIGNATURE))
    if not _ID.fullmatch(event):
        raise Unproven("webhook-id is not 1 to 128 letters, digits, '-' and '_'")
    if not _STAMP.fullmatch(stamp):
        raise Unproven("webhook-timestamp is not a number of seconds")
    if abs(now - int(stamp)) > WINDOW_SECONDS:
        raise Unproven(f"webhook-timestamp is off by more than {WINDOW_SECONDS} seconds")
    return Signed(event, stamp, tuple(signatures.split(b" ")), key)


def _only(headers: Headers, wanted: bytes) -> bytes:
    found = [value for name, value in headers if name == wanted]
    if len(found) != 1:
        raise Unproven(f"{wanted.decode()} is {'sent more than once' if found else 'missing'}")
    return found[0]

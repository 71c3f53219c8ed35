"""AWS Signature Version 4 as S3 checks it: signed headers and presigned addresses.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
REGION = "us-east-1"
SKEW_SECONDS = 15 * 60
LONGEST_EXPIRY = 7 * 24 * 3600
TIME = "%Y%m%dT%H%M%SZ"


class S3Error(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Sent:
    """A request as it arrived.

    :param path: still percent-encoded.
    :param query: the raw query string.
    :param headers: names in lower case; repeated ones joined by commas.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def parameters(self) -> list[tuple[str, str]]:
        pairs = [part.partition("=") for part in self.query.split("&") if part]
        return [(unquote(name), unquote(value)) for name, _, value in pairs]


@dataclass(frozen=True)
class _Claim:
    credential: str
    signed_headers: list[str]
    signature: str
    date: str
    payload: str


def check(sent: Sent, secrets: Mapping[str, str], now: float) -> str:
    """Let a rightly signed request pass, and return whose it is.

    :param secrets: the secret key of each access key.
    :raises S3Error: it is not.
    """
    parameters = dict(sent.parameters())
    if "X-Amz-Algorithm" in parameters:
        claim = _presigned(parameters, now)
    elif "authorization" in sent.headers:
        claim = _header_signed(sent, now)
    else:
        raise S3Error(403, "AccessDenied", "Access Denied.")
    key, _, scope = claim.credential.partition("/")
    day, _, place = scope.partition("/")
    if key not in secrets:
        raise S3Error(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    if place != f"{REGION}/s3/aws4_request" or not claim.date.startswith(day):
        message = (
            f"The authorization header is malformed; the credential's scope {scope} is wrong; expecting {REGION}/s3"
        )
        raise S3Error(400, "AuthorizationHeaderMalformed", message)
    unsigned = {name for name in sent.headers if name.startswith("x-amz-")} - set(claim.signed_headers)
    if "host" not in claim.signed_headers or unsigned:
        raise S3Error(403, "AccessDenied", "There were headers present in the request which were not signed")
    text = "\n".join((ALGORITHM, claim.date, scope, _sha256(_canonical(sent, claim).encode())))
    signing_key = f"AWS4{secrets[key]}".encode()
    for part in scope.split("/"):
        signing_key = _hmac(signing_key, part)
    if not hmac.compare_digest(_hmac(signing_key, text).hex().encode(), claim.signature.encode()):
        message = (
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        )
        raise S3Error(403, "SignatureDoesNotMatch", message)
    if claim.payload not in (UNSIGNED, _sha256(sent.body)):
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise S3Error(400, "XAmzContentSHA256Mismatch", message)
    return key


def _presigned(parameters: Mapping[str, str], now: float) -> _Claim:
    try:
        claim = _Claim(
            credential=parameters["X-Amz-Credential"],
            signed_headers=parameters["X-Amz-SignedHeaders"].split(";"),
            signature=parameters["X-Amz-Signature"],
            date=parameters["X-Amz-Date"],
            payload=UNSIGNED,
        )
        seconds = int(parameters["X-Amz-Expires"])
        signed_at = _seconds(claim.date)
    except (KeyError, ValueError) as error:
        message = "Query-string authentication version 4 requires the X-Amz-* parameters."
        raise S3Error(400, "AuthorizationQueryParametersError", message) from error
    if parameters["X-Amz-Algorithm"] != ALGORITHM or not 1 <= seconds <= LONGEST_EXPIRY:
        message = "X-Amz-Algorithm or X-Amz-Expires is wrong."
        raise S3Error(400, "AuthorizationQueryParametersError", message)
    if now > signed_at + seconds or now < signed_at - SKEW_SECONDS:
        raise S3Error(403, "AccessDenied", "Request has expired")
    return claim


def _header_signed(sent: Sent, now: float) -> _Claim:
    match = re.fullmatch(
        rf"{ALGORITHM}\s+Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]+)",
        sent.headers["authorization"],
    )
    try:
        signed_at = _seconds(sent.headers["x-amz-date"])
    except (KeyError, ValueError) as error:
        raise S3Error(403, "AccessDenied", "AWS authentication requires a valid x-amz-date header") from error
    if match is None:
        raise S3Error(400, "AuthorizationHeaderMalformed", "The authorization header is malformed.")
    if abs(now - signed_at) > SKEW_SECONDS:
        message = "The difference between the request time and the current time is too large."
        raise S3Error(403, "RequestTimeTooSkewed", message)
    payload = sent.headers.get("x-amz-content-sha256", "")
    if payload != UNSIGNED and not re.fullmatch("[0-9a-f]{64}", payload):
        message = f"x-amz-content-sha256 must be {UNSIGNED} or the payload's SHA-256."
        raise S3Error(400, "InvalidArgument", message)
    return _Claim(match[1], match[2].split(";"), match[3], sent.headers["x-amz-date"], payload)


def _canonical(sent: Sent, claim: _Claim) -> str:
    query = sorted((_encode(name), _encode(value)) for name, value in sent.parameters() if name != "X-Amz-Signature")
    names = sorted(claim.signed_headers)
    return "\n".join(
        (
            sent.method,
            quote(unquote(sent.path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{' '.join(sent.headers.get(name, '').split())}" for name in names),
            "",
            ";".join(claim.signed_headers),
            claim.payload,
        )
    )


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")


def _seconds(text: str) -> float:
    return datetime.strptime(text, TIME).replace(tzinfo=UTC).timestamp()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

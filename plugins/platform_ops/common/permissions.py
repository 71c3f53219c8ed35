"""What an account needs, what it must not have, and what its system says of both: one shape for all rooms."""

from __future__ import annotations

import base64
import binascii
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from platform_ops.common.errors import PlatformError

WARN_BEFORE = timedelta(days=14)


class State(StrEnum):
    """What a check found, the worst first; only ``missing`` keeps work from being done."""

    MISSING = "missing"
    EXPIRES = "expires"
    TOO_MUCH = "too much"
    UNKNOWN = "unknown"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Permission:
    """One single thing an account may do, in the words of its system.

    :param why: what it is needed for, or what harm it allows.
    :param wanted: False for what the account must not be able to do.
    """

    name: str
    why: str
    wanted: bool = True

    def judge(self, *, allowed: bool, where: str, do: str) -> Finding:
        """Compare what the system allows with what we want.

        :param where: for which object it was asked.
        :param do: where a person grants it or takes it away.
        """
        if allowed and self.wanted:
            return Finding(self, State.OK, f"{self.name} is granted {where}.")
        if allowed:
            return Finding(self, State.TOO_MUCH, f"{self.name} is granted {where}: {self.why}. Take it away: {do}.")
        if self.wanted:
            return Finding(self, State.MISSING, f"{self.name} is not granted {where}: {self.why}. Grant it: {do}.")
        return Finding(self, State.OK, f"{self.name} is not granted {where}, as it should be.")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a system said about one permission.

    :param sentence: the object, the state found and, unless all is well, the next step.
    """

    permission: Permission
    state: State
    sentence: str


VALID = Permission("a credential that lasts", f"a run must not meet one that ends; {WARN_BEFORE.days} days' warning")


def lasts(until: datetime | None, *, now: datetime, renew: str) -> Finding:
    """Judge when a credential ends.

    :param until: None when it never does.
    :param renew: what a person does to get a new one.
    """
    if until is None:
        return Finding(VALID, State.OK, "The credential has no end.")
    day = f"{until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if until <= now:
        return Finding(VALID, State.MISSING, f"The credential ended at {day}. {renew}.")
    if until <= now + WARN_BEFORE:
        left = (until - now).days
        return Finding(VALID, State.EXPIRES, f"The credential ends at {day}, in {left} days. {renew}.")
    return Finding(VALID, State.OK, f"The credential lasts until {day}.")


def day_lasts(day: str | None, *, now: datetime, renew: str) -> Finding:
    """Judge a credential that ends at a day's midnight UTC, as GitLab's tokens do.

    :param day: in ISO 8601; None when it never ends.
    """
    return lasts(datetime.fromisoformat(day).replace(tzinfo=UTC) if day else None, now=now, renew=renew)


def token_lasts(token: str, *, now: datetime, renew: str) -> Finding:
    """Judge when a bearer token ends; only a JSON Web Token says so itself (RFC 7519, section 4.1.4)."""
    claims = _claims(token)
    if claims is None:
        sentence = "The token does not say when it ends: it is no JSON Web Token. Ask who issued it."
        return Finding(VALID, State.UNKNOWN, sentence)
    end = claims.get("exp")
    until = datetime.fromtimestamp(end, UTC) if isinstance(end, (int, float)) else None
    return lasts(until, now=now, renew=renew)


def _claims(token: str) -> dict[str, Any] | None:
    """Return the claims; the signature is the server's to judge."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, the worst first."""
    order = list(State)
    return sorted(findings, key=lambda finding: order.index(finding.state))


def summary(findings: Sequence[Finding]) -> str:
    """Return one line: the worst sentence, and how much else there is."""
    counts = {state: sum(finding.state is state for finding in findings) for state in State}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    worst = worst_first(findings)
    if not worst or worst[0].state is State.OK:
        return f"Everything needed is there and nothing more ({told or 'nothing was asked'})."
    return f"{worst[0].sentence} ({told})"


def is_broken(findings: Sequence[Finding]) -> bool:
    """Say whether something needed is missing."""
    return any(finding.state is State.MISSING for finding in findings)


class CheckedConnection(ABC):
    """A connection that can be asked what its account may do."""

    @abstractmethod
    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Ask what the account may do, without changing anything.

        :param places: the objects of the catalogue it must be allowed for; without any, only the account is checked.
        :raises PlatformError: there is no answer, or the credential is refused.
        """

    def test_connection(self) -> tuple[bool, str]:
        """Say whether the account may do what is needed of it everywhere; Airflow's contract of hooks."""
        try:
            findings = self.check_permissions()
        except (PlatformError, ValueError) as error:
            return False, str(error)
        return not is_broken(findings), summary(findings)

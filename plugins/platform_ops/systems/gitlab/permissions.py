"""What our account needs at GitLab."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from platform_ops.common.permissions import VALID, Finding, Permission, State, day_lasts

API = Permission("scope api", "reading projects, setting commit statuses and recording deployments need it")
DEVELOPER = Permission(
    "role Developer", "setting commit statuses and recording deployments need it, in every source project"
)
MORE_SCOPES = Permission("scopes beyond api", "a stolen token could do more than releases do", wanted=False)
MAINTAINER = Permission("role Maintainer or Owner", "it can change webhooks and protected branches", wanted=False)
ADMINISTRATOR = Permission("administrator", "it can read and change every project of the instance", wanted=False)
PERMISSIONS = (API, DEVELOPER, VALID, MORE_SCOPES, MAINTAINER, ADMINISTRATOR)

WITHIN_API = frozenset({"api", "read_api", "read_user", "read_repository", "write_repository"})
"""Scopes that allow nothing beyond ``api`` (doc/security/tokens, personal access token scopes)."""
ROLES = {0: "no role", 5: "Minimal access", 10: "Guest", 15: "Planner", 20: "Reporter", 30: "Developer"}
"""Access levels below the next full role (doc/api/members.md); 40 and 50 are Maintainer and Owner."""
DEVELOPER_LEVEL, MAINTAINER_LEVEL = 30, 40


def judge_scopes(scopes: Collection[str]) -> tuple[Finding, Finding]:
    """Judge the scopes of the token."""
    more = sorted(set(scopes) - WITHIN_API)
    held = f"for this token, which has {', '.join(scopes) or 'no scope'}"
    return (
        API.judge(allowed="api" in scopes, where=held, do="make a new token of the account with scope api"),
        Finding(MORE_SCOPES, State.TOO_MUCH, f"The token has {', '.join(more)}: {MORE_SCOPES.why}. Make one with api.")
        if more
        else Finding(MORE_SCOPES, State.OK, "The token has no scope beyond api."),
    )


def judge_role(level: int, project: str, user: str) -> tuple[Finding, Finding]:
    """Judge the access level of the account in a project; 0 when it is no member."""
    where = f"in {project}, where {user} has {ROLES.get(level, 'role Maintainer or Owner')}"
    members = f"GitLab, {project}, Manage, Members"
    return (
        DEVELOPER.judge(allowed=level >= DEVELOPER_LEVEL, where=where, do=members),
        MAINTAINER.judge(allowed=level >= MAINTAINER_LEVEL, where=where, do=members),
    )


def judge_account(user: str, *, administrator: bool) -> Finding:
    """Judge whether the account is more than a user."""
    return ADMINISTRATOR.judge(allowed=administrator, where=f"for {user}", do="use the account of a bot")


def judge_end(expires_on: str | None) -> Finding:
    """Judge the token's last day; it ends at that day's midnight UTC (doc/user/profile/personal_access_tokens.md)."""
    return day_lasts(expires_on, now=datetime.now(UTC), renew="Make a new token and enter it in the connection")

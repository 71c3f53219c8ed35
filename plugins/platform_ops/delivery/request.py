"""The text of a release's request for approval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from platform_ops.approvals.asking import ask, plain
from platform_ops.approvals.gate import Request
from platform_ops.approvals.rules import Yes
from platform_ops.common.report import Link
from platform_ops.delivery.permission import Question
from platform_ops.delivery.release import Release

LISTED_COMMITS = 20


def request(
    release: Release, asked: Question, given: Sequence[Yes], *, build: Mapping[str, Any], image: Mapping[str, Any]
) -> Request:
    """Return what a gate shows to those who have not said yes yet, for as long as the earlier yes counts.

    :param given: at the gates before.
    :param build: facts of ``build_image``.
    :param image: facts of ``verify_image``.
    """
    name = f"{release.service.name} {release.commit[:12]}"
    earlier = tuple(yes.by for yes in given)
    may_answer = tuple(one for one in asked.may_answer if one not in earlier)
    expires_at = min([datetime.now(UTC), *(yes.at for yes in given)]) + asked.policy.expires_after
    so_far = f"{' and '.join(earlier)} said yes. " if earlier else ""
    return ask(
        f"Release {name} to {release.environment}?",
        body(release, asked, given, build, image),
        bound_to=asked.bound_to,
        may_answer=may_answer,
        expires_at=expires_at,
        page=Link("Release page", release.page),
        facts={
            "diff": asked.diff,
            "answers": [{"by": yes.by, "said": "yes", "at": yes.at.isoformat(timespec="seconds")} for yes in given],
        },
        so_far=so_far,
    )


def body(
    release: Release, asked: Question, given: Sequence[Yes], build: Mapping[str, Any], image: Mapping[str, Any]
) -> str:
    """Return the Markdown text: what, why, who agrees, what it brings, what was found, what changes."""
    commits = [f"- `{one.sha[:12]}` {plain(one.title)} ({plain(one.author_name)})" for one in asked.commits]
    more = len(commits) - LISTED_COMMITS
    rows = [
        f"**{release.service.name}** to **{release.environment}**, from branch {plain(release.branch)}",
        f"- commit `{release.commit}`",
        f"- image `{asked.digest}`",
        f"- tests: {_tests(build)}",
        f"- scan: {_scan(image)}",
        *([f"- reason: {plain(release.reason)}"] if release.reason else []),
        *([f"- {asked.policy.quorum} people must agree; {_agreed(given)}"] if asked.policy.quorum > 1 else []),
        f"- [the release's page]({release.page})",
        "",
        f"**{len(commits)} commits since the last release**",
        "",
        *commits[:LISTED_COMMITS],
        *([f"- and {more} more"] if more > 0 else []),
        "",
        "**What changes in GitOps**",
        "",
        *(f"    {line}" for line in asked.diff.splitlines()),
    ]
    return "\n".join(rows)


def _agreed(given: Sequence[Yes]) -> str:
    told = [f"{plain(yes.by)} said yes at {yes.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" for yes in given]
    return " and ".join(told) or "you are the first"


def _tests(build: Mapping[str, Any]) -> str:
    counts = build.get("tests")
    if isinstance(counts, dict):
        return ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped") if name in counts)
    return "passed when this source tree was built"


def _scan(image: Mapping[str, Any]) -> str:
    counts = image.get("counts")
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count) if isinstance(counts, dict) else ""
    return f"{found or 'nothing found'}; allowed up to {image.get('allowed')}"

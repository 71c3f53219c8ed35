"""The text of a release's request for approval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platform_ops.approvals.gate import Request, expiry
from platform_ops.common.report import Link, StepReport
from platform_ops.delivery.permission import Question
from platform_ops.delivery.release import Release

LISTED_COMMITS = 20


def request(release: Release, asked: Question, *, build: Mapping[str, Any], image: Mapping[str, Any]) -> Request:
    """Return what the gate shows.

    :param build: facts of ``build_image``.
    :param image: facts of ``verify_image``.
    """
    name = f"{release.service.name} {release.commit[:12]}"
    people = " or ".join(asked.may_answer)
    facts = {
        "binding": asked.bound_to,
        "diff": asked.diff,
        "expires_at": expiry(asked.policy.expires_after),
        "may_answer": list(asked.may_answer),
    }
    return Request(
        subject=f"Release {name} to {release.environment}?",
        body=body(release, asked, build, image),
        bound_to=asked.bound_to,
        may_answer=asked.may_answer,
        expires_after=asked.policy.expires_after,
        report=StepReport(
            f"{people} may say yes or no until {facts['expires_at']}.",
            facts=facts,
            links=(Link("Release page", release.page),),
        ),
    )


def body(release: Release, asked: Question, build: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    """Return the Markdown text: what, why, what it brings, what was found, what changes."""
    commits = [f"- `{one.sha[:12]}` {plain(one.title)} ({plain(one.author_name)})" for one in asked.commits]
    more = len(commits) - LISTED_COMMITS
    rows = [
        f"**{release.service.name}** to **{release.environment}**, from branch {plain(release.branch)}",
        f"- commit `{release.commit}`",
        f"- image `{asked.digest}`",
        f"- tests: {_tests(build)}",
        f"- scan: {_scan(image)}",
        *([f"- reason: {plain(release.reason)}"] if release.reason else []),
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


def plain(text: str) -> str:
    """Return foreign text as Markdown code, on one line, so that it can't look like ours."""
    line = " ".join(text.split()).replace("`", "'")
    return f"`{line[:200]}`" if line else ""


def _tests(build: Mapping[str, Any]) -> str:
    counts = build.get("tests")
    if isinstance(counts, dict):
        return ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped") if name in counts)
    return "passed when this source tree was built"


def _scan(image: Mapping[str, Any]) -> str:
    counts = image.get("counts")
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count) if isinstance(counts, dict) else ""
    return f"{found or 'nothing found'}; allowed up to {image.get('allowed')}"

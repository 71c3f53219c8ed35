"""Merge requests, as a maintainer opens and merges them at GitLab."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import httpx

from sandbox.processes import SandboxError


def merge(environment: Mapping[str, str], project: str, source: str, target: str) -> str:
    """Merge a branch into another and return the merge commit."""
    headers = {"PRIVATE-TOKEN": environment["GITLAB_MAINTAINER_TOKEN"]}
    base = f"{environment['GITLAB_URL']}/api/v4/projects/{quote(project, safe='')}/merge_requests"
    with httpx.Client(headers=headers, timeout=30, trust_env=False) as client:
        wanted = {"source_branch": source, "target_branch": target, "title": f"Bring {source} to {target}"}
        opened = client.post(base, json=wanted)
        if opened.status_code == 409:
            opened = client.get(base, params={"state": "opened", "source_branch": source, "target_branch": target})
            iid = opened.json()[0]["iid"]
        else:
            iid = opened.json().get("iid")
        merged = client.put(f"{base}/{iid}/merge")
    if merged.status_code != 200:
        raise SandboxError(f"GitLab did not merge {source} into {target} of {project}: {merged.text[:300]}")
    return str(merged.json()["merge_commit_sha"])

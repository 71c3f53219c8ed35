"""Read images, claim tags and scan, by Harbor's API v2.0 (goharbor/harbor, api/v2.0/swagger.yaml)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import product
from typing import Any

import httpx
from airflow.sdk import BaseHook

from platform_ops.common.connections import base_url, tls_verify
from platform_ops.common.errors import NotFound, PlatformError
from platform_ops.common.fail_points import changes
from platform_ops.common.http import HttpApi, httpx_client, url_path
from platform_ops.systems.harbor.errors import (
    LatestRefused,
    NotADigest,
    ProjectMissing,
    ReportMissing,
    TagVanished,
    UnknownWord,
)
from platform_ops.systems.harbor.models import Artifact, Scan, ScanStatus, Severity, Tag, Vulnerability

API = "/api/v2.0"
REPORTS = (
    "application/vnd.security.vulnerability.report; version=1.1",
    "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0",
)
"""Report types, the better first; without the header Harbor answers only in the old one."""
ACCEPT_REPORTS = {"X-Accept-Vulnerabilities": ", ".join(REPORTS)}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MUST_BE_IMMUTABLE = {
    "tree-*": ("tree-" + "0" * 40, "tree-" + "f" * 40),
    "40 hex digits": ("0" * 40, "f" * 40),
}
"""What the claim tag and the commit tag look like, each with examples that a rule must cover."""


class HarborHook(BaseHook):
    """Harbor's REST API v2.0, as far as releases need it.

    :param inner: replaces the network in tests.
    """

    conn_name_attr = "harbor_conn_id"
    default_conn_name = "harbor_default"
    conn_type = "harbor"
    hook_name = "Harbor"

    def __init__(self, harbor_conn_id: str = default_conn_name, *, inner: httpx.BaseTransport | None = None) -> None:
        super().__init__()
        self.harbor_conn_id = harbor_conn_id
        self._inner = inner

    @cached_property
    def address(self) -> str:
        """Return Harbor's base URL."""
        return base_url(self.get_connection(self.harbor_conn_id))

    @cached_property
    def api(self) -> HttpApi:
        """Return the client."""
        connection = self.get_connection(self.harbor_conn_id)
        client = httpx_client(
            self.address + API,
            auth=(connection.login or "", connection.password or ""),
            verify=tls_verify(connection),
            inner=self._inner,
        )
        return HttpApi("Harbor", client, error_text=_error_text)

    def artifact(self, project: str, repository: str, reference: str) -> Artifact | None:
        """Return an image by tag or digest; None when it or its whole repository is missing.

        :raises ProjectMissing: the project does not exist.
        :raises LatestRefused: the reference is ``latest``.
        """
        _refuse_latest(project, repository, reference)
        what = f"artifact {project}/{repository}:{reference}"
        response = self.api.call(
            "GET",
            _artifact_path(project, repository, reference),
            what=what,
            accept=(404,),
            params={
                "with_tag": True,
                "with_scan_overview": True,
                "with_immutable_status": True,
                "with_label": False,
            },
            headers=ACCEPT_REPORTS,
        )
        if response.status_code == 404:
            self._explain_missing(project, what, _error_text(response))
            return None
        return self._artifact(project, repository, _document(response, what))

    def _explain_missing(self, project: str, what: str, said: str) -> None:
        """Tell a missing image from other 404s.

        A robot that may see everything gets the same 404 for a missing project as for a missing repository
        (``HasProjectPermission`` in src/server/v2.0/handler/base.go), so the project is asked for by itself.
        """
        if not re.fullmatch(r"(artifact|repository) \S+ not found", said):
            raise NotFound(
                f"Harbor answered 404 for {what} in words that do not mean a missing image: {said or 'nothing'}. "
                "Check that the connection's address is Harbor's own, without a path."
            )
        response = self.api.call(
            "HEAD", "/projects", what=f"project {project}", accept=(404,), params={"project_name": project}
        )
        if response.status_code == 404:
            raise ProjectMissing(
                f"Harbor at {self.address} has no project {project}. Create it, or correct the catalogue entry."
            )

    def _artifact(self, project: str, repository: str, found: Mapping[str, Any]) -> Artifact:
        page = url_path("harbor", "projects", str(found["project_id"]), "repositories", repository)
        config = (found.get("extra_attrs") or {}).get("config") or {}
        return Artifact(
            digest=found["digest"],
            tags=tuple(Tag(tag["name"], bool(tag.get("immutable"))) for tag in found.get("tags") or ()),
            labels=config.get("Labels") or {},
            scan=_scan(found.get("scan_overview"), f"{project}/{repository}@{found['digest']}"),
            pushed_at=found.get("push_time", ""),
            url=f"{self.address}{page}/artifacts-tab/artifacts/{found['digest']}",
        )

    @changes("harbor.add_tag")
    def add_tag(self, project: str, repository: str, digest: str, tag: str) -> str:
        """Put a tag on an image unless the tag exists, and return the digest it sits on afterwards.

        A tag never moves: when another image has it, that image's digest is returned.

        :raises LatestRefused: the tag is ``latest``.
        :raises TagVanished: the tag existed and was deleted meanwhile.
        """
        _refuse_latest(project, repository, tag)
        response = self.api.call(
            "POST",
            _artifact_path(project, repository, _digest(digest)) + "/tags",
            what=f"tag {tag} on {project}/{repository}@{digest}",
            # 409: the name is taken, also by this very image; 412: it is taken and immutable.
            accept=(409, 412),
            json={"name": tag},
        )
        if response.status_code < 400:
            return digest
        winner = self.artifact(project, repository, tag)
        if winner is None:
            raise TagVanished(
                f"Harbor refused tag {tag} in {project}/{repository} as taken ({_error_text(response)}), yet nothing "
                "carries it now. It is tried again; if this lasts, find out who deletes tags there."
            )
        return winner.digest

    @changes("harbor.start_scan")
    def start_scan(self, project: str, repository: str, digest: str) -> None:
        """Start a scan; one that is already going on is fine."""
        self.api.call(
            "POST",
            _artifact_path(project, repository, _digest(digest)) + "/scan",
            what=f"scan of {project}/{repository}@{digest}",
            accept=(409,),
        )

    def vulnerabilities(self, project: str, repository: str, digest: str) -> tuple[Vulnerability, ...]:
        """Return every finding of the newest scan.

        :raises ReportMissing: no scan ended with success.
        """
        what = f"vulnerabilities of {project}/{repository}@{digest}"
        path = _artifact_path(project, repository, _digest(digest)) + "/additions/vulnerabilities"
        reports = _document(self.api.call("GET", path, what=what, headers=ACCEPT_REPORTS), what)
        report = _newest_report(reports)
        if report is None:
            raise ReportMissing(f"Harbor has no {what}: no scan ended with success. Start a scan and wait for its end.")
        return tuple(
            Vulnerability(
                id=item["id"],
                package=item["package"],
                version=item.get("version", ""),
                severity=_severity(item.get("severity", ""), what),
                fix_version=item.get("fix_version") or "",
            )
            for item in report.get("vulnerabilities") or ()
        )

    def reference(self, project: str, repository: str, digest: str) -> str:
        """Return the image's full name for a pod: registry, project, repository and digest."""
        return f"{self.address.partition('://')[2]}/{project}/{repository}@{_digest(digest)}"

    def test_connection(self) -> tuple[bool, str]:
        """Check health, credentials, and, with ``extra.project``, that the tags releases rely on are immutable."""
        try:
            health = self.api.json("GET", "/health", what="health")
            if health.get("status") != "healthy":
                ill = [part["name"] for part in health.get("components", ()) if part.get("status") != "healthy"]
                return False, f"Harbor at {self.address} is not healthy: {', '.join(ill) or 'no reason given'}."
            visible = self.api.call("GET", "/projects", what="projects", params={"page_size": 1})
            total = visible.headers.get("X-Total-Count", "?")
            project = str(self.get_connection(self.harbor_conn_id).extra_dejson.get("project") or "")
            # The list of projects and the system information also answer strangers, so neither proves the credentials.
            exists = self.api.call(
                "HEAD",
                "/projects",
                what="the credentials",
                accept=(404,),
                params={"project_name": project or "library"},
            )
            if not project:
                return True, f"Harbor at {self.address} is healthy, knows us and shows {total} projects."
            if exists.status_code == 404:
                return False, f"Harbor at {self.address} knows us but has no project {project}."
            unprotected = self._unprotected(project)
        except PlatformError as error:
            return False, str(error)
        if unprotected:
            return False, (
                f"Tags {' and '.join(unprotected)} of project {project} can be moved or deleted. "
                "Add a rule for them under Policy, Tag Immutability, for repositories matching **."
            )
        return True, (
            f"Harbor at {self.address} is healthy, knows us and shows {total} projects; "
            f"tags {' and '.join(MUST_BE_IMMUTABLE)} of project {project} are immutable."
        )

    def _unprotected(self, project: str) -> list[str]:
        rules = self.api.json(
            "GET",
            url_path("projects", project, "immutabletagrules"),
            what=f"immutability rules of project {project}",
            params={"page_size": 100},
            # Without it Harbor takes a project named by digits only for an id.
            headers={"X-Is-Resource-Name": "true"},
        )
        covering = [rule for rule in rules or () if not rule.get("disabled") and _for_every_repository(rule)]
        return [
            name
            for name, examples in MUST_BE_IMMUTABLE.items()
            if not all(any(_covers(rule, tag) for rule in covering) for tag in examples)
        ]


def _error_text(response: httpx.Response) -> str:
    try:
        return "; ".join(str(error["message"]) for error in response.json()["errors"])
    except (ValueError, KeyError, TypeError):
        return response.text.strip()[:200]


def _document(response: httpx.Response, what: str) -> dict[str, Any]:
    try:
        parsed = response.json()
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise NotFound(f"What answers for {what} is not Harbor. Check the connection's address.")
    return parsed


def _refuse_latest(project: str, repository: str, reference: str) -> None:
    if reference == "latest":
        raise LatestRefused(
            f"{project}/{repository}:latest is refused: it says nothing about what it points to. "
            "Name the image by digest or by its commit's tag."
        )


def _digest(digest: str) -> str:
    if not DIGEST.fullmatch(digest):
        raise NotADigest(f"{digest!r} is not a digest (sha256: and 64 hex digits); a tag may point elsewhere tomorrow.")
    return digest


def _artifact_path(project: str, repository: str, reference: str) -> str:
    # Harbor decodes the repository's name a second time: a slash encoded once is a 404 that looks like a missing image.
    nested = url_path(repository).removeprefix("/")
    return url_path("projects", project, "repositories", nested, "artifacts", reference)


def _newest_report(reports: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((reports[kind] for kind in REPORTS if reports.get(kind)), None)


def _severity(word: str, what: str) -> Severity:
    try:
        return Severity[word.upper()] if word else Severity.UNKNOWN
    except KeyError as error:
        raise UnknownWord(f"Harbor reports severity {word!r} for {what}, which is not known here.") from error


def _scan(overview: Mapping[str, Any] | None, what: str) -> Scan:
    newest = _newest_report(overview or {})
    if newest is None:
        return Scan(ScanStatus.NOT_SCANNED, Severity.UNKNOWN, {}, 0, 0, "not scanned")
    try:
        status = ScanStatus(newest["scan_status"])
    except ValueError as error:
        raise UnknownWord(f"Harbor reports scan status {newest['scan_status']!r} for {what}.") from error
    summary = newest.get("summary") or {}
    severity = _severity(newest.get("severity", ""), what)
    counts = dict(summary.get("summary") or {})
    words = [status.value.lower()]
    if status is ScanStatus.SUCCESS:
        words.append(f"{summary.get('total', 0)} findings, worst {severity.word}")
    elif status.is_going_on:
        words.append(f"{newest.get('complete_percent', 0)} %")
    return Scan(status, severity, counts, summary.get("total", 0), summary.get("fixable", 0), ", ".join(words))


def _for_every_repository(rule: Mapping[str, Any]) -> bool:
    selectors = (rule.get("scope_selectors") or {}).get("repository") or [{}]
    return (selectors[0].get("decoration"), selectors[0].get("pattern")) == ("repoMatches", "**")


def _covers(rule: Mapping[str, Any], tag: str) -> bool:
    """Say whether a rule protects a tag; only its first tag selector counts (src/pkg/immutable/match/rule)."""
    selector = (rule.get("tag_selectors") or [{}])[0]
    matched = any(fnmatchcase(tag, pattern) for pattern in _alternatives(selector.get("pattern", "")))
    return not matched if selector.get("decoration") == "excludes" else matched


def _alternatives(pattern: str) -> list[str]:
    """Write out ``{a,b}``, which fnmatch lacks; tags have no slash, so ``**`` is ``*``."""
    parts = [part.split(",") if number % 2 else [part] for number, part in enumerate(re.split(r"[{}]", pattern))]
    return ["".join(choice).replace("[^", "[!") for choice in product(*parts)]

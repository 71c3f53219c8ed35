"""Read images, claim tags and scan, by Harbor's API v2.0 (goharbor/harbor, api/v2.0/swagger.yaml)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import httpx
from airflow.sdk import BaseHook

from platform_ops.common.connections import base_url, tls_verify
from platform_ops.common.errors import Busy, NotFound
from platform_ops.common.fail_points import changes
from platform_ops.common.http import HttpApi, httpx_client, url_path
from platform_ops.common.permissions import VALID, CheckedConnection, Finding, State, lasts
from platform_ops.systems.harbor.errors import (
    LatestRefused,
    NotADigest,
    ProjectMissing,
    TagVanished,
    UnknownWord,
)
from platform_ops.systems.harbor.models import Artifact, Scan, ScanStatus, Severity, Tag
from platform_ops.systems.harbor.permissions import IMMUTABLE, MUST_BE_IMMUTABLE, UNWANTED, WANTED, unprotected

API = "/api/v2.0"
REPORTS = (
    "application/vnd.security.vulnerability.report; version=1.1",
    "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0",
)
"""Report types, the better first; without the header Harbor answers only in the old one."""
ACCEPT_REPORTS = {"X-Accept-Vulnerabilities": ", ".join(REPORTS)}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class HarborHook(CheckedConnection, BaseHook):
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
    def _connection(self) -> Any:
        return self.get_connection(self.harbor_conn_id)

    @cached_property
    def address(self) -> str:
        """Return Harbor's base URL."""
        return base_url(self._connection)

    @cached_property
    def api(self) -> HttpApi:
        """Return the client."""
        client = httpx_client(
            self.address + API,
            auth=(self._connection.login or "", self._connection.password or ""),
            verify=tls_verify(self._connection),
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

    def reference(self, project: str, repository: str, digest: str) -> str:
        """Return the image's full name for a pod: registry, project, repository and digest."""
        return f"{self.address.partition('://')[2]}/{project}/{repository}@{_digest(digest)}"

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Ask whether Harbor is healthy, what we may do in each project, and whether our tags are immutable there.

        :param places: names of projects.
        :raises AuthenticationFailed: the robot is refused.
        :raises Busy: Harbor is not healthy.
        :raises Unreachable: Harbor does not answer.
        """
        health = self.api.json("GET", "/health", what="health")
        if health.get("status") != "healthy":
            ill = [part["name"] for part in health.get("components", ()) if part.get("status") != "healthy"]
            raise Busy(f"Harbor at {self.address} is not healthy: {', '.join(ill) or 'no reason given'}.")
        # Health, the list of projects and the system information also answer strangers: none proves the credential.
        self.api.call("GET", "/users/current/permissions", what="our own permissions")
        login = str(self._connection.login or "")
        findings = [self._robot_lasts(login, None)] if "+" not in login else []
        for name in places:
            findings += self._check_project(name, login)
        return tuple(findings)

    def _check_project(self, name: str, login: str) -> Iterator[Finding]:
        named: dict[str, str | int | bool] = {"name": name, "page_size": 100}
        shown = self.api.json("GET", "/projects", what=f"project {name}", params=named) or []
        number = next((row["project_id"] for row in shown if row["name"] == name), None)
        if number is None:
            sentence = f"Harbor shows no project {name} to {login}. Create it, or give the robot permissions in it."
            yield Finding(WANTED[0], State.MISSING, sentence)
            return
        told = self.api.json(
            "GET",
            "/users/current/permissions",
            what=f"our permissions in {name}",
            params={"scope": f"/project/{number}", "relative": True},
        )
        held = {f"{each['resource']}:{each['action']}" for each in told or ()}
        for row in (*WANTED, *UNWANTED):
            do = f"the permissions of the robot {login} for project {name}"
            yield row.judge(allowed=row.name in held, where=f"in project {name} for {login}", do=do)
        if login.startswith(f"robot${name}+"):
            yield self._robot_lasts(login, number)
        if "immutable-tag:list" in held:
            yield self._check_tags(name)

    def _check_tags(self, name: str) -> Finding:
        rules = self.api.json(
            "GET",
            url_path("projects", name, "immutabletagrules"),
            what=f"immutability rules of project {name}",
            params={"page_size": 100},
            # Without it Harbor takes a project named by digits only for an id.
            headers={"X-Is-Resource-Name": "true"},
        )
        movable = unprotected(rules or [])
        if not movable:
            tags = " and ".join(MUST_BE_IMMUTABLE)
            return Finding(IMMUTABLE, State.OK, f"Tags {tags} of project {name} can't be moved or deleted.")
        sentence = (
            f"Tags {' and '.join(movable)} of project {name} can be moved or deleted: {IMMUTABLE.why}. "
            "Add a rule for them under Policy, Tag Immutability, for repositories matching **."
        )
        return Finding(IMMUTABLE, State.MISSING, sentence)

    def _robot_lasts(self, login: str, project: int | None) -> Finding:
        """Judge when our robot's secret ends; Harbor tells it to those who may list robots.

        :param project: number of the project the robot belongs to; None for a robot of the whole Harbor.
        """
        level = "Level=system" if project is None else f"Level=project,ProjectID={project}"
        params: dict[str, str | int | bool] = {"q": level, "page_size": 100}
        answer = self.api.call("GET", "/robots", what="robots", accept=(401, 403), params=params)
        shown = [] if answer.status_code >= 400 else answer.json() or []
        own = next((robot for robot in shown if robot["name"] == login), None)
        if own is None:
            sentence = (
                f"Harbor does not tell {login} when its secret ends. Look at Robot Accounts, or grant robot:list."
            )
            return Finding(VALID, State.UNKNOWN, sentence)
        until = datetime.fromtimestamp(own["expires_at"], UTC) if own["expires_at"] > 0 else None
        return lasts(until, now=datetime.now(UTC), renew=f"Renew robot {login} in Harbor")


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

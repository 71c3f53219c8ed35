"""Jenkins's remote access API, as far as builds need it."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import httpx
from airflow.sdk import BaseHook

from platform_ops.common.connections import base_url, tls_verify
from platform_ops.common.errors import AuthenticationFailed, Invalid, Unreachable
from platform_ops.common.fail_points import changes
from platform_ops.common.http import HttpApi, httpx_client, url_path
from platform_ops.common.permissions import CheckedConnection, Finding, State
from platform_ops.systems.jenkins.errors import JobDisabled, UnknownResult
from platform_ops.systems.jenkins.models import Build, QueueItem, Result, TestReport
from platform_ops.systems.jenkins.permissions import ADMINISTER, IN_BLUE_OCEAN, READ

BUILDS_AT_ONCE = 50
_PARAMETERS = "actions[parameters[name,value]]"
_ITEM = f"id,why,cancelled,executable[number],task[url],{_PARAMETERS}"
_BUILD = f"number,queueId,building,result,timestamp,duration,{_PARAMETERS}"
_COUNTS = "passCount,failCount,skipCount"
_MATRIX = "Jenkins, Manage Jenkins, Security, or the folder's own authorization"
_BAD_CASES = frozenset({"FAILED", "REGRESSION"})  # hudson.tasks.junit.CaseResult.Status


class JenkinsHook(CheckedConnection, BaseHook):
    """Jenkins by user name and API token, which is exempt from crumbs.

    Jobs are named by their path: ``shop/storefront``.
    """

    conn_name_attr = "jenkins_conn_id"
    default_conn_name = "jenkins_default"
    conn_type = "jenkins"
    hook_name = "Jenkins"

    def __init__(self, jenkins_conn_id: str = default_conn_name, *, inner: httpx.BaseTransport | None = None) -> None:
        super().__init__()
        self.jenkins_conn_id = jenkins_conn_id
        self._inner = inner

    @cached_property
    def _connection(self) -> Any:
        return self.get_connection(self.jenkins_conn_id)

    @cached_property
    def _address(self) -> str:
        return base_url(self._connection)

    @cached_property
    def api(self) -> HttpApi:
        """Return the client of this connection."""
        client = httpx_client(
            self._address,
            auth=(self._connection.login or "", self._connection.password or ""),
            verify=tls_verify(self._connection),
            inner=self._inner,
        )
        return HttpApi("Jenkins", client, error_text=_error_text)

    def queue_item(self, item_id: int) -> QueueItem | None:
        """Return a queue item; None when Jenkins does not know it, or no longer."""
        path = url_path("queue", "item", str(item_id), "api", "json")
        what = f"queue item {item_id}"
        response = self.api.call("GET", path, what=what, params={"tree": _ITEM}, accept=(404,))
        return None if response.status_code == 404 else _item(self._object(response, what))

    def queue(self, job: str) -> tuple[QueueItem, ...]:
        """Return a job's items in the queue, the newest first."""
        listed = self.api.json("GET", "/queue/api/json", what="the queue", params={"tree": f"items[{_ITEM}]"})["items"]
        ours = [item for item in listed if _job_of(item.get("task", {}).get("url", "")) == job]
        return tuple(sorted((_item(item) for item in ours), key=lambda item: -item.id))

    def builds(self, job: str, limit: int = BUILDS_AT_ONCE) -> tuple[Build, ...]:
        """Return a job's newest builds, the newest first.

        :param limit: Jenkins never lists more than 100 this way (hudson.model.Job.getNewBuilds).
        :raises NotFound: no such job, or this account may not read it.
        :raises UnknownResult: one ended with a word we do not know.
        """
        path = f"{job_path(job)}/api/json"
        tree = f"builds[{_BUILD}]{{0,{limit}}}"
        listed = self.api.json("GET", path, what=f"builds of job {job}", params={"tree": tree})["builds"]
        return tuple(_build(each, job) for each in listed)

    def build(self, job: str, number: int) -> Build:
        """Return one build.

        :raises NotFound: it does not exist, or no longer.
        :raises UnknownResult: it ended with a word we do not know.
        """
        path = f"{job_path(job)}/{number}/api/json"
        return _build(self.api.json("GET", path, what=f"build {job} #{number}", params={"tree": _BUILD}), job)

    @changes("jenkins.start")
    def start(self, job: str, parameters: Mapping[str, str]) -> int:
        """Queue a build and return the queue item's id; an equal one that still waits takes this one in.

        The quiet period is left on: ``delay=0`` would switch it off, and with it the merging.

        :raises JobDisabled: the job takes no builds.
        """
        what = f"a build of job {job}"
        response = self.api.call(
            "POST",
            f"{job_path(job)}/buildWithParameters",
            what=what,
            content=urlencode(parameters).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            accept=(409,),
        )
        if response.status_code == 409:
            raise JobDisabled(f"Jenkins job {job} is disabled; enable it at {self._address}{job_path(job)}/ and clear.")
        location = response.headers.get("Location", "")
        found = re.search(r"/queue/item/(\d+)/?$", location)
        if not found:
            message = (
                f"Jenkins answered {response.status_code} to the start of {what} without naming a queue item "
                f"(Location: {location or 'none'}). Check that nothing between us and Jenkins rewrites its answers."
            )
            raise Unreachable(message)
        return int(found[1])

    def test_report(self, job: str, number: int) -> TestReport | None:
        """Return what the tests of a build gave; None when it has no report."""
        path = f"{job_path(job)}/{number}/testReport/api/json"
        what = f"the test report of {job} #{number}"
        response = self.api.call("GET", path, what=what, params={"tree": _COUNTS}, accept=(404,))
        if response.status_code == 404:
            return None
        counts = self._object(response, what)
        failing: tuple[str, ...] = ()
        # The cases may be many thousands; they are read only to name the bad ones.
        if counts["failCount"]:
            tree = "suites[cases[className,name,status]]"
            suites = self.api.json("GET", path, what=what, params={"tree": tree})["suites"]
            cases = [case for suite in suites for case in suite["cases"]]
            failing = tuple(f"{case['className']}.{case['name']}" for case in cases if case["status"] in _BAD_CASES)
        return TestReport(counts["passCount"], counts["failCount"], counts["skipCount"], failing)

    @changes("jenkins.stop")
    def stop(self, job: str, number: int) -> None:
        """Interrupt a build; fine when it has ended or is gone."""
        self.api.call("POST", f"{job_path(job)}/{number}/stop", what=f"build {job} #{number}", accept=(404,))

    @changes("jenkins.cancel_queue_item")
    def cancel_queue_item(self, item_id: int) -> None:
        """Ask for an item to be taken out of the queue; whether it was, the item itself says.

        Newer versions answer 404 for an unknown item and 500 for one that left the queue, older ones 302 to all.
        """
        what = f"queue item {item_id}"
        self.api.call("POST", "/queue/cancelItem", what=what, params={"id": item_id}, accept=(404, 500))

    def build_url(self, job: str, number: int) -> str:
        """Return the page of a build."""
        return f"{self._address}{job_path(job)}/{number}/"

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Ask who we are, and for each job what we may do with it.

        Jenkins itself has no such question; its plugin Blue Ocean has. Trying would start builds: even a GET does.

        :param places: paths of jobs.
        :raises AuthenticationFailed: the account is refused.
        :raises Unreachable: Jenkins does not answer.
        """
        who = self.api.json("GET", "/whoAmI/api/json", what="this account", params={"tree": "name,anonymous"})
        if who.get("anonymous"):
            raise AuthenticationFailed(f"{self._address} takes us for anonymous; enter user name and API token.")
        account = f"for {who.get('name', '?')}"
        # Listing plugins takes Overall/SystemRead, which nobody has but administrators (Jenkins.SYSTEM_READ).
        one = {"tree": "plugins[shortName]{0,1}"}
        plugins = self.api.call("GET", "/pluginManager/api/json", what="the plugins", params=one, accept=(403, 404))
        findings = [ADMINISTER.judge(allowed=plugins.status_code < 400, where=account, do=_MATRIX)]
        for job in places:
            findings += self._check_job(job, account)
        return tuple(findings)

    def _check_job(self, job: str, account: str) -> Iterator[Finding]:
        where = f"on job {job} {account}"
        path = f"{job_path(job)}/api/json"
        read = self.api.call("GET", path, what=f"job {job}", params={"tree": "name"}, accept=(403, 404))
        # Jenkins answers 404 alike for a job that is hidden and for one that does not exist.
        yield READ.judge(allowed=read.status_code < 400, where=where, do=f"create the job, or {_MATRIX}")
        told = self._in_blue_ocean(job)
        for word, row in IN_BLUE_OCEAN.items():
            if isinstance(told.get(word), bool):
                yield row.judge(allowed=told[word], where=where, do=_MATRIX)
            else:
                sentence = f"Jenkins does not say whether {row.name} is granted {where}. Look there: {_MATRIX}."
                yield Finding(row, State.UNKNOWN, f"{sentence} With the plugin blueocean-rest it would say.")

    def _in_blue_ocean(self, job: str) -> Mapping[str, Any]:
        """Return what Blue Ocean says of our permissions; empty where it is not installed."""
        names = "".join(url_path("pipelines", name) for name in job.split("/"))
        path = f"/blue/rest/organizations/jenkins{names}/"
        answer = self.api.call("GET", path, what=f"our permissions on job {job}", accept=(403, 404))
        if answer.status_code >= 400:
            return {}
        permissions = self._object(answer, f"our permissions on job {job}").get("permissions")
        return permissions if isinstance(permissions, dict) else {}

    def _object(self, response: httpx.Response, what: str) -> Any:
        try:
            return response.json()
        except ValueError as error:
            message = f"Jenkins at {self._address} answered for {what} with something that is not JSON; look at it."
            raise Unreachable(message) from error


def job_path(job: str) -> str:
    """Return the path below which a job lives: ``/job/shop/job/storefront``.

    :raises Invalid: the name has an empty or a dot segment.
    """
    names = job.split("/")
    if any(name in ("", ".", "..") for name in names):
        raise Invalid(f"{job!r} is not the path of a Jenkins job; write it as folder/name in the catalogue.")
    return "".join(url_path("job", name) for name in names)


def _job_of(url: str) -> str:
    """Return the job's path from the address Jenkins gives, whose host may be another than ours."""
    return "/".join(unquote(part) for part in urlsplit(url).path.rstrip("/").split("/job/")[1:])


def _parameters(document: Mapping[str, Any]) -> dict[str, str]:
    values = (each for action in document.get("actions") or () for each in (action or {}).get("parameters") or ())
    return {value["name"]: str(value.get("value", "")) for value in values}


def _item(document: Mapping[str, Any]) -> QueueItem:
    return QueueItem(
        id=document["id"],
        why=document.get("why"),
        cancelled=bool(document.get("cancelled")),
        number=(document.get("executable") or {}).get("number"),
        parameters=_parameters(document),
    )


def _build(document: Mapping[str, Any], job: str) -> Build:
    return Build(
        number=document["number"],
        queue_id=document["queueId"],
        building=document["building"],
        result=_result(document["result"], f"{job} #{document['number']}") if document["result"] else None,
        started_at=datetime.fromtimestamp(document["timestamp"] / 1000, UTC),
        seconds=document["duration"] / 1000,
        parameters=_parameters(document),
    )


def _result(word: str, name: str) -> Result:
    try:
        return Result(word)
    except ValueError as error:
        raise UnknownResult(
            f"Jenkins says that build {name} ended as {word[:60]!r}; known are {', '.join(Result)}. "
            "Look at its page for what happened. Delete that build at Jenkins, then clear this task."
        ) from error


def _error_text(response: httpx.Response) -> str:
    """Take the sentence out of Jenkins's page; some errors carry it in a header."""
    if "X-Error" in response.headers:
        return response.headers["X-Error"]
    text = re.sub(r"<(script|style|head)\b.*?</\1>|<[^>]+>", " ", response.text, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())[:300]

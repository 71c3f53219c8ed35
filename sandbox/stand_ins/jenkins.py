"""A stand-in for Jenkins: folders, parameterised jobs, the queue and real builds, behind the remote access API.

A job's ``config.xml`` is the one of a freestyle project; of it we read ``scm/userRemoteConfigs//url``, ``quietPeriod``
(seconds, 5 by default), ``concurrentBuild``, ``disabled`` and the string parameters below ``parameterDefinitions``;
``job_config`` writes one. The image of job ``shop/storefront`` goes to the registry's repository ``shop/storefront``
under the tag ``build-storefront-<number>``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote
from xml.etree import ElementTree as ET

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from sandbox.stand_ins.jenkins_controller import EXECUTORS, Build, Controller, Item, Job, read_job
from sandbox.stand_ins.jenkins_tree import parse_tree, select

VERSION = "2.516.3"
FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
RESULT_COLORS = {"SUCCESS": "blue", "UNSTABLE": "yellow", "FAILURE": "red"}
_BUILD_PAGE = re.compile(r"/job/.+/\d+/?")


def create_app(environment: Mapping[str, str], folder: Path) -> FastAPI:
    controller = Controller(folder, environment)
    server = _Server(controller, environment)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        controller.start()
        yield
        controller.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = server.refusal(request) or await call_next(request)
        response.headers["X-Jenkins"] = VERSION
        return response

    @app.exception_handler(HTTPException)
    async def vendor_error(_: Request, error: HTTPException) -> Response:
        return _error_page(error.status_code, error.detail)

    @app.get("/_sandbox/state")
    def state() -> dict[str, Any]:
        return controller.snapshot()

    @app.get("/api/json")
    def root(tree: str = "") -> Response:
        return _answer(server.root(), tree)

    @app.get("/whoAmI/api/json")
    def who_am_i(tree: str = "") -> Response:
        name = environment["JENKINS_USER"]
        facts = {"anonymous": False, "authenticated": True, "authorities": ["authenticated"], "name": name}
        return _answer({"_class": "hudson.security.WhoAmI", **facts}, tree)

    @app.get("/pluginManager/api/json")
    def plugins() -> Response:
        return _error_page(403, f"{environment['JENKINS_USER']} is missing the Overall/SystemRead permission")

    @app.get("/blue/rest/organizations/jenkins/{path:path}")
    def blue_ocean(path: str) -> Response:
        return server.in_blue_ocean([name for name in path.split("/") if name])

    @app.get("/crumbIssuer/api/json")
    def crumb() -> Response:
        value = hashlib.sha256(environment["JENKINS_TOKEN"].encode()).hexdigest()
        names = {"crumb": value, "crumbRequestField": "Jenkins-Crumb"}
        return _answer({"_class": "hudson.security.csrf.DefaultCrumbIssuer", **names}, "")

    @app.get("/queue/api/json")
    def queue(tree: str = "") -> Response:
        items = [server.item(item) for item in controller.waiting()]
        return _answer({"_class": "hudson.model.Queue", "discoverableItems": [], "items": items}, tree)

    @app.get("/queue/item/{item_id}/api/json")
    def queue_item(item_id: int, tree: str = "") -> Response:
        item = controller.item(item_id)
        if item is None:
            raise HTTPException(404, "Not Found")
        return _answer(server.item(item), tree)

    @app.post("/queue/cancelItem")
    def cancel_item(id: int) -> Response:  # noqa: A002 - the vendor's name
        cancelled = controller.cancel(id)
        if cancelled is None:
            raise HTTPException(404, "Provided item id not found")
        if not cancelled:
            raise HTTPException(500, f"Could not cancel run with item id {id}")
        return Response(status_code=204)

    @app.post("/createItem")
    def create_item(request: Request, body: bytes = Depends(_body)) -> Response:
        return server.create("", request, body)

    @app.get("/job/{path:path}")
    def read_below_job(path: str, tree: str = "") -> Response:
        name, rest = _split_job_path(path)
        return server.read(name, rest, tree)

    @app.post("/job/{path:path}")
    def act_below_job(path: str, request: Request, body: bytes = Depends(_body)) -> Response:
        name, rest = _split_job_path(path)
        return server.act(name, rest, request, body)

    return app


async def _body(request: Request) -> bytes:
    return await request.body()


def _split_job_path(path: str) -> tuple[str, list[str]]:
    """Split ``shop/job/storefront/7/api/json`` into ``shop/storefront`` and ``[7, api, json]``."""
    segments = [segment for segment in path.split("/") if segment]
    names = segments[:1]
    rest = segments[1:]
    while len(rest) >= 2 and rest[0] == "job":
        names.append(rest[1])
        rest = rest[2:]
    return "/".join(names), rest


def _form(request: Request, body: bytes) -> dict[str, str]:
    form = request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
    sent = parse_qsl(body.decode(), keep_blank_values=True) if form else []
    return {**request.query_params, **dict(sent)}


def _error_page(status: int, message: str) -> HTMLResponse:
    text = html.escape(message)
    head = f"<html><head><title>Error {status} {text}</title></head>"
    return HTMLResponse(f"{head}<body><h2>HTTP ERROR {status}</h2><p>{text}</p></body></html>", status_code=status)


def _answer(document: dict[str, Any], tree: str) -> JSONResponse:
    return JSONResponse(select(document, parse_tree(tree)) if tree else document)


class _Server:
    """What the routes answer, from the controller's state."""

    def __init__(self, controller: Controller, environment: Mapping[str, str]) -> None:
        self.controller = controller
        self.root_url = environment["JENKINS_URL"].rstrip("/") + "/"
        self.user = environment["JENKINS_USER"]
        login = f"{self.user}:{environment['JENKINS_TOKEN']}"
        self._credential = f"Basic {base64.b64encode(login.encode()).decode()}"

    def refusal(self, request: Request) -> Response | None:
        """Refuse who is not the one user: 403 for nobody, 401 for a wrong password, as Jenkins does."""
        if request.url.path.startswith("/_sandbox/") or _BUILD_PAGE.fullmatch(request.url.path):
            return None
        given = request.headers.get("Authorization", "")
        if not given:
            page = _error_page(403, "Authentication required")
            page.headers["X-You-Are-Authenticated-As"] = "anonymous"
            return page
        if hmac.compare_digest(given.encode(), self._credential.encode()):
            return None
        page = _error_page(401, "Invalid password/token for user")
        page.headers["WWW-Authenticate"] = 'Basic realm="Jenkins"'
        return page

    # -- documents ---------------------------------------------------------------------------------------------------

    def job_url(self, path: str) -> str:
        return self.root_url + "".join(f"job/{quote(name, safe='')}/" for name in path.split("/"))

    def root(self) -> dict[str, Any]:
        return {
            "_class": "hudson.model.Hudson",
            "mode": "NORMAL",
            "numExecutors": EXECUTORS,
            "quietingDown": False,
            "url": self.root_url,
            "jobs": self._children(""),
        }

    def _children(self, parent: str) -> list[dict[str, Any]]:
        paths = sorted([*self.controller.folders, *self.controller.jobs])
        return [self._reference(path) for path in paths if path.rpartition("/")[0] == parent]

    def _reference(self, path: str) -> dict[str, Any]:
        kind = FOLDER if path in self.controller.folders else "hudson.model.FreeStyleProject"
        return {"_class": kind, "name": path.rpartition("/")[2], "url": self.job_url(path)}

    def folder(self, path: str) -> dict[str, Any]:
        return {**self._reference(path), "fullName": path, "jobs": self._children(path)}

    def job(self, job: Job, *, deep: bool) -> dict[str, Any]:
        """Describe a job; ``deep`` gives its builds in full, from which ``tree`` selects, else only their places."""
        builds = self.controller.builds_of(job.path)
        queued = [item for item in self.controller.waiting() if item.job == job.path]
        listed = [self.build(build) if deep else self._build_reference(build) for build in builds]
        return {
            **self._reference(job.path),
            "fullName": job.path,
            "buildable": not job.disabled,
            "color": RESULT_COLORS.get(builds[0].result or "", "aborted") if builds else "notbuilt",
            "concurrentBuild": job.concurrent,
            "inQueue": bool(queued),
            "queueItem": self.item(queued[0]) if queued else None,
            "nextBuildNumber": job.next_number,
            "builds": listed[:100],
            "allBuilds": listed if deep else None,
            "lastBuild": listed[0] if listed else None,
        }

    def _build_reference(self, build: Build) -> dict[str, Any]:
        url = f"{self.job_url(build.job)}{build.number}/"
        return {"_class": "hudson.model.FreeStyleBuild", "number": build.number, "url": url}

    def build(self, build: Build) -> dict[str, Any]:
        actions = self._actions(build.parameters)
        if build.counts:
            total = sum(build.counts.values())
            counts = {
                "failCount": build.counts["failCount"],
                "skipCount": build.counts["skipCount"],
                "totalCount": total,
            }
            actions.append({"_class": "hudson.tasks.junit.TestResultAction", **counts, "urlName": "testReport"})
        return {
            **self._build_reference(build),
            "actions": actions,
            "building": build.ended is None,
            "description": None,
            "displayName": f"#{build.number}",
            "duration": int(((build.ended or build.started) - build.started) * 1000),
            "fullDisplayName": f"{build.job.replace('/', ' » ')} #{build.number}",
            "id": str(build.number),
            "queueId": build.queue_id,
            "result": build.result,
            "timestamp": int(build.started * 1000),
        }

    def _actions(self, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        values = [
            {"_class": "hudson.model.StringParameterValue", "name": name, "value": value}
            for name, value in parameters.items()
        ]
        cause = {
            "_class": "hudson.model.Cause$UserIdCause",
            "shortDescription": f"Started by user {self.user}",
            "userId": self.user,
            "userName": self.user,
        }
        return [
            {"_class": "hudson.model.ParametersAction", "parameters": values},
            {"_class": "hudson.model.CauseAction", "causes": [cause]},
        ]

    def item(self, item: Item) -> dict[str, Any]:
        state = self.controller.item_state(item)
        name = item.job.rpartition("/")[2]
        why = {
            "Waiting": f"In the quiet period. Expires in {max(item.due - self.controller.clock(), 0):.1f} sec",
            "Blocked": "The previous build is already in progress",
            "Buildable": "Waiting for next available executor",
        }.get(state)
        document: dict[str, Any] = {
            "_class": f"hudson.model.Queue${state}Item",
            "actions": self._actions(item.parameters),
            "blocked": state == "Blocked",
            "buildable": state == "Buildable",
            "id": item.id,
            "inQueueSince": int(item.since * 1000),
            "params": "".join(f"\n{key}={value}" for key, value in item.parameters.items()),
            "stuck": False,
            "task": {"_class": "hudson.model.FreeStyleProject", "name": name, "url": self.job_url(item.job)},
            "url": f"queue/item/{item.id}/",
            "why": why,
        }
        if state == "Left":
            document["cancelled"] = item.number is None
            document["executable"] = None
            if item.number is not None:
                url = f"{self.job_url(item.job)}{item.number}/"
                document["executable"] = {"_class": "hudson.model.FreeStyleBuild", "number": item.number, "url": url}
        return document

    # -- below a job -------------------------------------------------------------------------------------------------

    def read(self, name: str, rest: list[str], tree: str) -> Response:
        if rest == ["api", "json"] and name in self.controller.folders:
            return _answer(self.folder(name), tree)
        job = self._job(name)
        if rest == ["api", "json"]:
            return _answer(self.job(job, deep=bool(tree)), tree)
        build = self._build(job, rest)
        if rest[1:] == ["api", "json"]:
            return _answer(self.build(build), tree)
        if rest[1:] == ["consoleText"]:
            log = self.controller.build_folder(build) / "log"
            return PlainTextResponse(log.read_text(errors="replace") if log.is_file() else "")
        if rest[1:] == ["testReport", "api", "json"] and build.counts:
            return _answer(self._test_report(build), tree)
        if rest[1:] == []:
            title = html.escape(f"{build.job} #{build.number}: {build.result or 'running'}")
            return HTMLResponse(f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>")
        raise HTTPException(404, "Not Found")

    def in_blue_ocean(self, path: list[str]) -> Response:
        """Say what our account may do with a job (blueocean-plugin, AbstractPipelineImpl)."""
        job = self._job("/".join(path[1::2]))
        permissions = {"create": True, "configure": False, "read": True, "start": True, "stop": True}
        name = job.path.rpartition("/")[2]
        return JSONResponse({"name": name, "fullName": job.path, "organization": "jenkins", "permissions": permissions})

    def _test_report(self, build: Build) -> dict[str, Any]:
        suite = {"name": "pytest", "cases": self.controller.test_cases(build)}
        return {"_class": "hudson.tasks.junit.TestResult", "empty": False, **build.counts, "suites": [suite]}

    def act(self, name: str, rest: list[str], request: Request, body: bytes) -> Response:
        if rest == ["createItem"]:
            return self.create(name, request, body)
        job = self._job(name)
        if rest in (["build"], ["buildWithParameters"]):
            return self._start(job, rest[0], _form(request, body))
        build = self._build(job, rest)
        if rest[1:] == ["stop"]:
            self.controller.stop(build)
            return Response(status_code=302, headers={"Location": self._build_reference(build)["url"]})
        raise HTTPException(404, "Not Found")

    def _start(self, job: Job, how: str, form: Mapping[str, str]) -> Response:
        if job.disabled:
            raise HTTPException(409, f"{job.path.rpartition('/')[2]} is not buildable")
        if how == "build" and job.parameters:
            raise HTTPException(400, "Nothing is submitted")
        if how == "buildWithParameters" and not job.parameters:
            raise HTTPException(500, "This build is not parameterized!")
        delay = re.fullmatch(r"(\d+)\s*(?:s|sec|secs)?", form.get("delay", ""))
        parameters = {key: form.get(key, otherwise) for key, otherwise in job.parameters.items()}
        item = self.controller.schedule(job, parameters, float(delay[1]) if delay else None)
        return Response(status_code=201, headers={"Location": f"{self.root_url}queue/item/{item.id}/"})

    def create(self, parent: str, request: Request, body: bytes) -> Response:
        if parent and parent not in self.controller.folders:
            raise HTTPException(404, "Not Found")
        form = _form(request, body)
        name = form.get("name", "")
        if not name:
            raise HTTPException(400, "Query parameter 'name' is required")
        if name in (".", "..") or re.search(r"[?*/\\%!@#$^&|<>\[\]:;]", name):
            raise HTTPException(400, f"{name} is not a safe name")
        path = f"{parent}/{name}" if parent else name
        if form.get("mode") == FOLDER:
            job, made = None, Response(status_code=302, headers={"Location": f"{self.job_url(path)}configure"})
        elif request.headers.get("Content-Type", "").startswith(("application/xml", "text/xml")):
            try:
                config = ET.fromstring(body)
            except ET.ParseError as error:
                raise HTTPException(500, f"Failed to parse config.xml: {error}") from error
            job, made = None if config.tag == FOLDER else read_job(path, config), Response()
        else:
            raise HTTPException(400, "No mode given")
        if not self.controller.create(path, job):
            raise HTTPException(400, f"A job already exists with the name \u2018{name}\u2019")
        return made

    def _job(self, name: str) -> Job:
        if name not in self.controller.jobs:
            raise HTTPException(404, "Not Found")
        return self.controller.jobs[name]

    def _build(self, job: Job, rest: list[str]) -> Build:
        number = rest[0] if rest else ""
        found = next((each for each in self.controller.builds_of(job.path) if str(each.number) == number), None)
        if found is None:
            raise HTTPException(404, "Not Found")
        return found

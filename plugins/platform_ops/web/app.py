"""The app below ``/platform-ops``: pages for people who are logged in to Airflow, one open hook, one open health check.

Every page asks Airflow with the looking person's own token, so nobody sees here what Airflow would not show.
"""

# FastAPI evaluates annotations at run time: everything they name is imported at module level, or it becomes a query
# parameter and the guard is gone.
from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Annotated
from urllib.parse import quote, urlencode, urlsplit

from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import bearer_scheme, requires_access_dag
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.security import HTTPAuthorizationCredentials
from starlette.exceptions import HTTPException as AnyHttpError

from platform_ops.backups.names import REPORT
from platform_ops.backups.report_page import TEMPLATE, page_values
from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import AuthenticationFailed, NotFound, PlatformError
from platform_ops.common.pages import write
from platform_ops.common.records import RunRecord
from platform_ops.common.settings import airflow_url, run_page_url
from platform_ops.delivery.names import RELEASE
from platform_ops.web import hooks
from platform_ops.web.backups import newest_report
from platform_ops.web.pages import headers
from platform_ops.web.releases import list_releases
from platform_ops.web.status import status
from platform_ops.web.story import tell
from platform_ops.web.threads import PAGES, run_in

LISTED_RUNS = 100
NO_RUN = "Airflow has no run of that name. Check the address, or look in the list of releases."
_ID = re.compile(r"[A-Za-z0-9_.:+-][A-Za-z0-9_.~:+-]{0,249}")

may_read_run = requires_access_dag("GET", DagAccessEntity.RUN)
may_read_releases = requires_access_dag("GET", DagAccessEntity.RUN, RELEASE)
may_read_backups = requires_access_dag("GET", DagAccessEntity.RUN, REPORT)

app = FastAPI(title="platform-ops", docs_url=None, redoc_url=None, openapi_url=None)
health_router = APIRouter()
# Every route of these three has its guard; a test proves that only the hook and the health check are open.
run_router = APIRouter(dependencies=[Depends(may_read_run)])
releases_router = APIRouter(dependencies=[Depends(may_read_releases)])
backups_router = APIRouter(dependencies=[Depends(may_read_backups)])


def airflow_of_caller(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]
) -> Iterator[AirflowApi]:
    """Return Airflow's REST as the caller; the same order as Airflow's own: a bearer header before the cookie."""
    token = bearer.credentials if bearer else request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
    if not token:
        # Without a token AirflowApi would act as the account of a connection.
        raise HTTPException(401, "Not authenticated")
    api = AirflowApi(address=airflow_url(), token=token)
    try:
        yield api
    finally:
        api.api.client.close()


Caller = Annotated[AirflowApi, Depends(airflow_of_caller)]


async def run_of_caller(dag_id: str, run_id: str, api: Caller) -> RunRecord:
    """Return the run that the address names.

    :raises NotFound: no such run, or a name no run can have.
    """
    # "." and ".." would be folded away on the way to Airflow, "~" means all DAGs there.
    if not all(_ID.fullmatch(name) and name.strip(".") for name in (dag_id, run_id)):
        raise NotFound(NO_RUN)
    return await run_in(PAGES, partial(api.run, dag_id, run_id))


AskedRun = Annotated[RunRecord, Depends(run_of_caller)]


@health_router.get("/health")
async def health() -> dict[str, str]:
    """Say that the web room is served."""
    return {"status": "ok"}


@run_router.get("/runs/{dag_id}/{run_id}", response_class=HTMLResponse)
async def run_page(run: AskedRun, embedded: str = "") -> Response:
    """Show one run from commit to healthy pods."""
    return _page(
        "run.html.j2",
        story=tell(run, now=datetime.now(UTC), airflow_url=airflow_url()),
        embedded=embedded == "1",
        address=run_page_url(run.dag_id, run.run_id),
        releases=f"{airflow_url()}/platform-ops/releases",
    )


@run_router.get("/runs/{dag_id}/{run_id}/status", response_class=PlainTextResponse)
async def run_status(run: AskedRun) -> Response:
    """Say where one run stands, for CI."""
    story = tell(run, now=datetime.now(UTC), airflow_url=airflow_url())
    text = status(run, story, page=run_page_url(run.dag_id, run.run_id))
    return PlainTextResponse(text, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


@releases_router.get("/releases", response_class=HTMLResponse)
async def releases_page(api: Caller, service: str = "", environment: str = "", commit: str = "") -> Response:
    """List the releases of a service, an environment, a commit."""
    wanted = {"service": service[:64], "environment": environment[:64], "commit": commit[:64]}
    runs = await run_in(PAGES, partial(api.runs, RELEASE, LISTED_RUNS))
    rows = list_releases(runs, wanted, now=datetime.now(UTC))
    return _page("releases.html.j2", rows=rows, wanted=wanted, looked=len(runs), airflow=airflow_url())


@backups_router.get("/backups", response_class=HTMLResponse)
async def backups_page(api: Caller, embedded: str = "") -> Response:
    """Show where every source stands, as the newest report says."""
    found = await run_in(PAGES, partial(newest_report, api))
    values = page_values(
        found.report,
        now=datetime.now(UTC),
        airflow=airflow_url(),
        address=f"{airflow_url()}/platform-ops/backups",
        run_page=run_page_url(REPORT, found.run_id) if found.run_id else "",
        embedded=embedded == "1",
        note=found.note,
    )
    return _page(TEMPLATE, **values)


@releases_router.get("/")
async def home() -> RedirectResponse:
    """Lead to the list of releases."""
    return RedirectResponse(f"{urlsplit(airflow_url()).path}/platform-ops/releases", 303)


def _page(template: str, status: int = 200, /, **values: object) -> HTMLResponse:
    return HTMLResponse(write(template, **values), status, dict(headers()))


def _message(status: int, title: str, sentence: str) -> HTMLResponse:
    return _page("message.html.j2", status, title=title, sentence=sentence)


def _wants_page(request: Request) -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _refuse(request: Request, status: int, code: str, title: str, sentence: str) -> Response:
    if _wants_page(request):
        return _message(status, title, sentence)
    return JSONResponse({"code": code, "reason": sentence}, status, {"Cache-Control": "no-store"})


def _login(request: Request) -> Response:
    """Send a browser to Airflow's login, which comes back here; tell everybody else.

    ``/api/v2/auth/login`` leads to the login page of whatever auth manager is configured
    (``airflow/api_fastapi/core_api/routes/public/auth.py``) and takes only addresses of this Airflow as ``next``.
    """
    if not _wants_page(request):
        answer = {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"}
        return JSONResponse({"code": "unauthorized", "reason": "log in to Airflow"}, 401, answer)
    root = urlsplit(airflow_url()).path
    inside = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    # Quoted again: what the server has decoded must not gain a meaning in the new address.
    there = f"{root}/platform-ops{quote(inside, safe='/')}"
    if query := request.url.query:
        there += f"?{query}"
    return RedirectResponse(
        f"{root}/api/v2/auth/login?{urlencode({'next': there})}", 303, {"Cache-Control": "no-store"}
    )


async def _on_http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, AnyHttpError) else 500
    if status == 401:
        return _login(request)
    code, title, sentence = {
        403: ("forbidden", "Not for this account", "Your Airflow account may not read the runs of this DAG."),
        404: ("not_found", "No such page", "There is nothing at this address."),
        405: ("wrong_method", "Not this way", "This address does not take that method."),
    }.get(status, ("refused", "Not possible", "The request was refused."))
    return _refuse(request, status, code, title, sentence)


async def _on_platform_error(request: Request, error: Exception) -> Response:
    if isinstance(error, AuthenticationFailed):
        if error.facts.get("status") == 401:
            return _login(request)
        return await _on_http_error(request, HTTPException(403))
    if isinstance(error, NotFound):
        return _refuse(request, 404, "not_found", "No such run", NO_RUN)
    sentence = f"Airflow did not give the run: {error} Load the page again in a moment."
    return _refuse(request, 503, "airflow_unavailable", "Airflow did not answer", sentence)


app.include_router(health_router)
app.include_router(hooks.router)
app.include_router(run_router)
app.include_router(releases_router)
app.include_router(backups_router)
app.add_exception_handler(PlatformError, _on_platform_error)
for _status in (401, 403, 404, 405):
    app.add_exception_handler(_status, _on_http_error)

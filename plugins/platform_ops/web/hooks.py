"""The receiver of GitLab's push webhook. It is open to the network: the secret token is its only door."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import AuthenticationFailed, FailNow, PlatformError
from platform_ops.common.settings import run_page_url
from platform_ops.delivery.services import services_by_project
from platform_ops.web.json_body import BadBody, parse_object, read_body
from platform_ops.web.push_events import BadEvent, Ignored, MappedService, StartRun, decide
from platform_ops.web.threads import HOOKS, run_in

CONNECTION = "gitlab_webhook"
DAG_ID = "release_service"
LOGIN_SECONDS = 300.0
SHORTEST_SECRET = 12

log = logging.getLogger(__name__)
router = APIRouter()
ServicesByProject = Callable[[str], Iterable[MappedService]]


class NotConfigured(FailNow):
    """The connection of the webhook is missing or has no usable secret."""


def _new_api() -> AirflowApi:
    return AirflowApi(CONNECTION)


class WebhookAccount:
    """The connection ``gitlab_webhook``: the secret that callers must know, and the account that starts runs.

    :param new_api: makes a client that logs in; tests pass one without network.
    """

    def __init__(
        self,
        new_api: Callable[[], AirflowApi] = _new_api,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._new_api = new_api
        self._clock = clock
        self._lock = Lock()
        self._api: AirflowApi | None = None
        self._made_at = 0.0

    def secret(self) -> bytes:
        """Return the secret token (extra field ``token``); read anew each time, so a new one counts at once.

        :raises NotConfigured: there is none; an empty one would let everybody in.
        """
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            token = BaseHook.get_connection(CONNECTION).extra_dejson.get("token")
        except AirflowNotFoundException as error:
            raise NotConfigured(
                f"Connection {CONNECTION} does not exist; create it as docs/connections.md says."
            ) from error
        if not isinstance(token, str) or len(token) < SHORTEST_SECRET:
            raise NotConfigured(
                f"Connection {CONNECTION} has no extra field token of at least {SHORTEST_SECRET} characters; "
                "enter GitLab's secret token there."
            )
        return token.encode()

    def start(self, run: StartRun) -> bool:
        """Start a run; False when it exists already.

        :raises PlatformError: Airflow did not start it.
        """
        api = self._logged_in()
        try:
            return api.start_run(DAG_ID, run_id=run.run_id, conf=run.conf)
        except AuthenticationFailed:
            # The token may have run out, or the account may have got a new password.
            return self._logged_in(instead_of=api).start_run(DAG_ID, run_id=run.run_id, conf=run.conf)

    def _logged_in(self, instead_of: AirflowApi | None = None) -> AirflowApi:
        with self._lock:
            old = self._api is None or self._api is instead_of or self._clock() - self._made_at > LOGIN_SECONDS
            if self._api is None or old:
                self._api, self._made_at = self._new_api(), self._clock()
            return self._api


_account = WebhookAccount()


def webhook_account() -> WebhookAccount:
    """Return the account of this process."""
    return _account


def catalogue() -> ServicesByProject:
    """Return how services are found."""
    return services_by_project


def _refusal(status: int, code: str, reason: str, field: str = "") -> JSONResponse:
    body = {"code": code, "reason": reason}
    return JSONResponse(body | ({"field": field} if field else {}), status)


async def _proven(request: Request, account: WebhookAccount) -> bool:
    """Say whether the caller knows the secret; headers are compared as bytes, in constant time."""
    secret = await run_in(HOOKS, account.secret)
    given = [value for name, value in request.headers.raw if name == b"x-gitlab-token"]
    return len(given) == 1 and hmac.compare_digest(given[0], secret)


@router.post("/hooks/gitlab")
async def gitlab(
    request: Request,
    account: Annotated[WebhookAccount, Depends(webhook_account)],
    services: Annotated[ServicesByProject, Depends(catalogue)],
) -> JSONResponse:
    """Take a push and start what it releases."""
    try:
        if not await _proven(request, account):
            return _refusal(401, "unauthorized", "X-Gitlab-Token is missing or wrong")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refusal(415, "unsupported_type", "the body must be application/json")
        event = parse_object(await read_body(request.stream()))
        if request.headers.get("x-gitlab-event") != "Push Hook":
            return JSONResponse({"ignored": "only push events start releases"}, 202)
        return await run_in(HOOKS, partial(_answer, event, services, account))
    except NotConfigured as error:
        log.error("A webhook came and cannot be judged: %s", error)  # noqa: TRY400 - the message says it all
        return _refusal(503, "not_configured", "the webhook is not configured; its log says what is missing")
    except BadBody as error:
        return _refusal(error.status, error.code, str(error))
    except BadEvent as error:
        return _refusal(400, "malformed", str(error), error.field)
    except ClientDisconnect:
        return _refusal(400, "cut", "the connection ended before the body")


def _answer(event: dict[str, Any], services: ServicesByProject, account: WebhookAccount) -> JSONResponse:
    decision = decide(event, services)
    if isinstance(decision, Ignored):
        return JSONResponse({"ignored": decision.reason}, 202)
    try:
        started = [(run, account.start(run)) for run in decision]
    # ValueError: the connection lacks its address.
    except (PlatformError, ValueError) as error:
        log.error("The release of a push could not be started; GitLab may send it again: %s", error)  # noqa: TRY400
        return _refusal(503, "airflow_unavailable", "the release could not be started now; send the event again")
    told = [
        {"run_id": run.run_id, "page": run_page_url(DAG_ID, run.run_id)} | ({} if new else {"duplicate": True})
        for run, new in started
    ]
    status = 201 if any(new for _, new in started) else 200
    return JSONResponse(told[0] if len(told) == 1 else {"runs": told}, status)

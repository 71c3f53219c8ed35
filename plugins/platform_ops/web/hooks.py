"""The receiver of GitLab's push webhook. It is open to the network: signature and secret token are its only doors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.errors import AuthenticationFailed, PlatformError
from platform_ops.common.settings import run_page_url
from platform_ops.common.webhook_secrets import CONNECTION, NotConfigured, Secrets, read_secrets
from platform_ops.delivery.names import RELEASE
from platform_ops.delivery.services import services_by_project
from platform_ops.web.json_body import BadBody, Limits, parse_object, read_body
from platform_ops.web.push_events import BadEvent, Ignored, MappedService, StartRun, decide
from platform_ops.web.replays import IdReused, Replays
from platform_ops.web.signatures import Signed, Unproven, judge
from platform_ops.web.threads import HOOKS, run_in

LOGIN_SECONDS = 300.0

log = logging.getLogger(__name__)
router = APIRouter()


def _new_api() -> AirflowApi:
    return AirflowApi(CONNECTION)


class WebhookAccount:
    """The connection ``gitlab_webhook``: the secrets that senders are judged by, and the account that starts runs.

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

    def secrets(self) -> Secrets:
        """Return the secrets of the connection's extra; read anew each time, so a new one counts at once.

        :raises NotConfigured: there is none, or one that would not hold.
        """
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            return read_secrets(BaseHook.get_connection(CONNECTION).extra_dejson)
        except AirflowNotFoundException as error:
            raise NotConfigured("it does not exist; create it as docs/connections.md says") from error

    def start(self, run: StartRun) -> bool:
        """Start a run; False when it exists already.

        :raises PlatformError: Airflow did not start it.
        """
        api = self._logged_in()
        try:
            return api.start_run(RELEASE, run_id=run.run_id, conf=run.conf)
        except AuthenticationFailed:
            # The token may have run out, or the account may have got a new password.
            return self._logged_in(instead_of=api).start_run(RELEASE, run_id=run.run_id, conf=run.conf)

    def _logged_in(self, instead_of: AirflowApi | None = None) -> AirflowApi:
        with self._lock:
            old = self._api is None or self._api is instead_of or self._clock() - self._made_at > LOGIN_SECONDS
            if self._api is None or old:
                self._api, self._made_at = self._new_api(), self._clock()
            return self._api


@dataclass(frozen=True, slots=True)
class Receiver:
    """What the hook works with.

    :param services: the services built from a project path (``group/name``).
    :param now: seconds of the Unix epoch.
    """

    account: WebhookAccount = field(default_factory=WebhookAccount)
    services: Callable[[str], Iterable[MappedService]] = services_by_project
    replays: Replays = field(default_factory=Replays)
    limits: Limits = field(default_factory=Limits)
    now: Callable[[], float] = time.time


_receiver = Receiver()


async def this_receiver() -> Receiver:
    """Return the receiver of this process."""
    return _receiver


def _refusal(status: int, code: str, reason: str, field: str = "") -> JSONResponse:
    """Say no and end the connection: else the server would take in the rest of a body at the sender's pace."""
    body = {"code": code, "reason": reason}
    return JSONResponse(body | ({"field": field} if field else {}), status, {"Connection": "close"})


@router.post("/hooks/gitlab")
async def gitlab(request: Request, receiver: Annotated[Receiver, Depends(this_receiver)]) -> JSONResponse:
    """Take a push and start what it releases."""
    try:
        return await _take(request, receiver)
    except Unproven as error:
        return _refusal(401, "unauthorized", str(error))
    except NotConfigured as error:
        log.error("A webhook came and can't be judged by connection %s: %s.", CONNECTION, error)  # noqa: TRY400
        return _refusal(503, "not_configured", "the webhook is not configured; its log says what is missing")
    except BadBody as error:
        return _refusal(error.status, error.code, str(error))
    except BadEvent as error:
        return _refusal(400, "malformed", str(error), error.field)
    except IdReused as error:
        return _refusal(422, "id_reused", str(error))
    except ClientDisconnect:
        return _refusal(400, "cut", "the connection ended before the body")


async def _take(request: Request, receiver: Receiver) -> JSONResponse:
    """Judge all that the headers allow before the body is read; nothing is parsed before the sender is proven."""
    secrets = await run_in(HOOKS, receiver.account.secrets)
    signed = judge(request.headers.raw, secrets, now=receiver.now())
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _refusal(415, "unsupported_type", "the body must be application/json")
    body = await read_body(request.stream(), receiver.limits)
    if signed and not signed.covers(body):
        raise Unproven("webhook-signature is not that of this id, time and body")
    event = parse_object(body)
    if request.headers.get("x-gitlab-event") != "Push Hook":
        return JSONResponse({"ignored": "only push events start releases"}, 202)
    return await run_in(HOOKS, partial(_answer, event, signed, receiver))


def _answer(event: dict[str, Any], signed: Signed | None, receiver: Receiver) -> JSONResponse:
    decision = decide(event, receiver.services)
    if isinstance(decision, Ignored):
        return JSONResponse({"ignored": decision.reason}, 202)
    run_ids = frozenset(run.run_id for run in decision)
    replayed = signed is not None and receiver.replays.knows(signed, run_ids)
    try:
        started = [(run, not replayed and receiver.account.start(run)) for run in decision]
    except PlatformError as error:
        log.error("The release of a push could not be started; GitLab may send it again: %s", error)  # noqa: TRY400
        return _refusal(503, "airflow_unavailable", "the release could not be started now; send the event again")
    if signed:
        receiver.replays.remember(signed, run_ids)
    told = [
        {"run_id": run.run_id, "page": run_page_url(RELEASE, run.run_id)} | ({} if new else {"duplicate": True})
        for run, new in started
    ]
    status = 201 if any(new for _, new in started) else 200
    return JSONResponse(told[0] if len(told) == 1 else {"runs": told}, status)

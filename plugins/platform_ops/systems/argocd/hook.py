"""Read, sync and stop Argo CD applications; answers and odd cases are those measured on 3.2.11."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import httpx
from airflow.sdk import BaseHook

from platform_ops.common.connections import base_url, tls_verify
from platform_ops.common.errors import AuthenticationFailed, Invalid, error_for_status
from platform_ops.common.fail_points import changes
from platform_ops.common.http import HttpApi, httpx_client, url_path
from platform_ops.common.permissions import CheckedConnection, Finding, State, token_lasts
from platform_ops.systems.argocd.errors import (
    ApplicationNotVisible,
    AutoSyncRefusal,
    OperationInProgress,
    SyncWindowClosed,
)
from platform_ops.systems.argocd.models import RUN_INFO, Application, Operation, OperationState
from platform_ops.systems.argocd.permissions import UNWANTED, WANTED


class ArgoCDHook(CheckedConnection, BaseHook):
    """Argo CD's API: ``host`` is its address, the password an account's token.

    :param inner: replaces the network in tests.
    """

    conn_name_attr = "argocd_conn_id"
    default_conn_name = "argocd_default"
    conn_type = "argocd"
    hook_name = "Argo CD"

    def __init__(self, argocd_conn_id: str = default_conn_name, *, inner: httpx.BaseTransport | None = None) -> None:
        super().__init__()
        self.argocd_conn_id = argocd_conn_id
        self._inner = inner

    @cached_property
    def _connection(self) -> Any:
        return self.get_connection(self.argocd_conn_id)

    @cached_property
    def api(self) -> HttpApi:
        """Return the client."""
        # Every writing call needs the content type, also one without a body; else the answer is 415.
        headers = {"Authorization": f"Bearer {self._connection.password}", "Content-Type": "application/json"}
        client = httpx_client(
            base_url(self._connection), headers=headers, verify=tls_verify(self._connection), inner=self._inner
        )
        return HttpApi("Argo CD", client, error_text=_said)

    def application(self, name: str, *, refresh: bool = False) -> Application:
        """Return an application.

        :param refresh: have Argo CD compare git and cluster first; the call takes as long as that does.
        :raises ApplicationNotVisible: missing or hidden.
        """
        params = {"refresh": "normal"} if refresh else None
        path = "/api/v1" + url_path("applications", name)
        response = self.api.call("GET", path, what=f"application {name}", accept=(403, 404), params=params)
        if response.status_code in (403, 404):
            raise self._not_visible(name, response)
        try:
            return _application(response.json(), self.application_url(name))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = (
                f"Argo CD answered something else than an application for {name}; check that the address of "
                f"connection {self.argocd_conn_id} is Argo CD's own."
            )
            raise Invalid(message) from error

    def _not_visible(self, name: str, response: httpx.Response) -> ApplicationNotVisible:
        return ApplicationNotVisible(
            f"Argo CD shows no application {name} ({response.status_code}: {_said(response)}). Either it does not "
            f"exist or the token of connection {self.argocd_conn_id} lacks the permission; Argo CD answers alike. "
            "Check the name in the catalogue, then the account's policy.",
            facts={"system": "Argo CD", "status": response.status_code},
        )

    @changes("argocd.sync")
    def sync(self, name: str, revision: str, *, marker: str) -> None:
        """Ask for a sync; that it was accepted says nothing about its end.

        :param revision: a commit; for an automated application only the name of its branch.
        :param marker: kept with the operation, so that it is found again.
        :raises OperationInProgress: another one is going on.
        :raises SyncWindowClosed: syncs are forbidden now.
        :raises AutoSyncRefusal: the application is automated and follows something else.
        """
        response = self.api.call(
            "POST",
            "/api/v1" + url_path("applications", name, "sync"),
            what=f"application {name}",
            accept=(400, 403, 404),
            json={"revision": revision, "infos": [{"name": RUN_INFO, "value": marker}]},
        )
        if response.status_code < 400:
            return
        said = _said(response)
        if "already in progress" in said:
            raise OperationInProgress(f"Application {name} is busy with another operation; wait until it has ended.")
        if "sync window" in said:
            raise SyncWindowClosed(
                f"A sync window of Argo CD forbids syncing {name} now. Try again when it has closed, "
                "or ask the owners of the project."
            )
        if "auto-sync" in said:
            raise AutoSyncRefusal(f"Argo CD won't sync {name} to {revision}: {said}. Push to the branch instead.")
        if response.status_code in (403, 404):
            raise self._not_visible(name, response)
        raise error_for_status(response.status_code)(f"Argo CD refused to sync {name} to {revision}: {said}")

    @changes("argocd.terminate")
    def terminate(self, name: str) -> None:
        """Ask the going operation to end; fine when there is none. It ends a moment later."""
        path = "/api/v1" + url_path("applications", name, "operation")
        response = self.api.call("DELETE", path, what=f"operation of application {name}", accept=(400, 403, 404))
        if response.status_code in (403, 404):
            raise self._not_visible(name, response)
        if response.status_code == 400 and "No operation is in progress" not in _said(response):
            raise Invalid(f"Argo CD did not end the operation of {name}: {_said(response)}")

    def application_url(self, name: str) -> str:
        """Return the page of an application."""
        namespace = str(self._connection.extra_dejson.get("namespace", "argocd"))
        return base_url(self._connection) + url_path("applications", namespace, name)

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Ask who we are, and for each application what we may do with it.

        :param places: names of applications.
        :raises AuthenticationFailed: the token is refused.
        :raises Unreachable: Argo CD does not answer.
        """
        who = self.api.json("GET", "/api/v1/session/userinfo", what="the account")
        if not who.get("loggedIn"):
            raise AuthenticationFailed("Argo CD does not know the token. Make a new one for the account.")
        account = f"for account {who.get('username', '?')}"
        renew = "Make a new token of the account and enter it in the connection"
        findings = [token_lasts(self._connection.password or "", now=datetime.now(UTC), renew=renew)]
        for name in places:
            findings += self._check_application(name, account)
        return tuple(findings)

    def _check_application(self, name: str, account: str) -> Iterator[Finding]:
        do = "Argo CD's policy (argocd-rbac-cm, or the project's roles)"
        try:
            project = self.application(name).project
        except ApplicationNotVisible as hidden:
            # Without it nobody tells the project, and everything else is asked by project.
            yield Finding(WANTED[0], State.MISSING, str(hidden))
            return
        for row in (*WANTED, *UNWANTED):
            path = f"/api/v1/account/can-i/{row.name}{url_path(project, name)}"
            may = self.api.json("GET", path, what=f"the permission {row.name}").get("value")
            where = f"on {project}/{name} {account}"
            yield row.judge(allowed=may == "yes", where=where, do=do)


def _said(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text.strip()[:500]


def _infos(operation: Mapping[str, Any]) -> dict[str, str]:
    return {info["name"]: info["value"] for info in operation.get("info") or ()}


def _automated(operation: Mapping[str, Any]) -> bool:
    return bool((operation.get("initiatedBy") or {}).get("automated"))


def _application(body: Mapping[str, Any], url: str) -> Application:
    spec, status, operation = body["spec"], body.get("status") or {}, body.get("operation")
    sync, health = status.get("sync") or {}, status.get("health") or {}
    source = spec.get("source") or spec["sources"][0]
    return Application(
        name=body["metadata"]["name"],
        automated=(spec.get("syncPolicy") or {}).get("automated") is not None,
        sync_status=sync.get("status") or "",
        sync_revision=sync.get("revision") or "",
        health=health.get("status") or "",
        health_message=health.get("message") or "",
        operation=_operation(operation) if operation else None,
        last=_state(status["operationState"]) if status.get("operationState") else None,
        conditions=tuple(f"{c['type']}: {c.get('message', '')}" for c in status.get("conditions") or ()),
        images=tuple((status.get("summary") or {}).get("images") or ()),
        target_revision=source.get("targetRevision") or "HEAD",
        url=url,
        project=spec.get("project") or "default",
    )


def _operation(body: Mapping[str, Any]) -> Operation:
    return Operation((body.get("sync") or {}).get("revision") or "", _automated(body), _infos(body))


def _state(body: Mapping[str, Any]) -> OperationState:
    operation, result = body.get("operation") or {}, body.get("syncResult") or {}
    asked = operation.get("sync") or {}
    rows = result.get("resources") or ()

    def name(row: Mapping[str, Any]) -> str:
        return f"{row.get('kind')} {row.get('name')}"

    return OperationState(
        phase=body["phase"],
        revision=result.get("revision") or "",
        requested=asked.get("revision") or "",
        message=body.get("message") or "",
        automated=_automated(operation),
        infos=_infos(operation),
        started_at=body.get("startedAt"),
        finished_at=body.get("finishedAt"),
        failed=tuple(
            f"{name(row)}: {row.get('message', '')}"
            for row in rows
            if row.get("status") == "SyncFailed" or row.get("hookPhase") in ("Failed", "Error")
        ),
        left=tuple(name(row) for row in rows if row.get("status") == "PruneSkipped"),
        retries=body.get("retryCount") or 0,
        dry_run=bool(asked.get("dryRun")),
    )

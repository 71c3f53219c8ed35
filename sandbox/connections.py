"""What airflow_settings.yaml holds, and the real values the sandbox lays over its dummies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx

from sandbox.processes import ROOT, SandboxError

SETTINGS_FILE = ROOT / "airflow_settings.yaml"

REAL: dict[str, dict[str, Any]] = {
    "gitlab_default": {"host": "{GITLAB_URL}", "password": "{GITLAB_RELEASE_TOKEN}"},
    "jenkins_default": {"host": "{JENKINS_URL}", "login": "{JENKINS_USER}", "password": "{JENKINS_TOKEN}"},
    "harbor_default": {
        "host": "{HARBOR_URL}",
        "login": "{HARBOR_RELEASE_USER}",
        "password": "{HARBOR_RELEASE_PASSWORD}",
    },
    "gitops_default": {"host": "{GITOPS_GIT_URL}", "login": "oauth2", "password": "{GITLAB_RELEASE_TOKEN}"},
    "argocd_default": {"host": "{ARGOCD_URL}", "password": "{ARGOCD_RELEASE_TOKEN}"},
    "kubernetes_dev": {"host": "{KUBERNETES_DEV_URL}", "password": "{KUBERNETES_READER_TOKEN}"},
    "kubernetes_rc": {"host": "{KUBERNETES_RC_URL}", "password": "{KUBERNETES_READER_TOKEN}"},
    "kubernetes_prod": {"host": "{KUBERNETES_PROD_URL}", "password": "{KUBERNETES_READER_TOKEN}"},
    "object_store_default": {
        "host": "{OBJECT_STORE_URL}",
        "login": "{OBJECT_STORE_ACCESS_KEY}",
        "password": "{OBJECT_STORE_SECRET_KEY}",
    },
    "backup_store": {
        "host": "{OBJECT_STORE_URL}",
        "login": "{OBJECT_STORE_BACKUP_WRITER_ACCESS_KEY}",
        "password": "{OBJECT_STORE_BACKUP_WRITER_SECRET_KEY}",
    },
    "backup_reader": {
        "host": "{OBJECT_STORE_URL}",
        "login": "{OBJECT_STORE_BACKUP_READER_ACCESS_KEY}",
        "password": "{OBJECT_STORE_BACKUP_READER_SECRET_KEY}",
    },
    # Airflow's own database, as the account that backs it up.
    "postgres_airflow": {
        "host": "127.0.0.1",
        "port": "{POSTGRES_PORT}",
        "login": "{POSTGRES_BACKUP_USER}",
        "password": "{POSTGRES_BACKUP_PASSWORD}",
    },
    "backup_keys": {
        "password": "{BACKUP_LISTING_KEY}",
        "extra": {"recipients": ["{BACKUP_RECIPIENT}", "{BACKUP_SECOND_RECIPIENT}"]},
    },
    "backup_identity": {"password": "{BACKUP_IDENTITY}"},
    "airflow_api": {
        "host": "{AIRFLOW_URL}",
        "login": "{AIRFLOW_READER_USER}",
        "password": "{AIRFLOW_READER_PASSWORD}",
    },
    "gitlab_webhook": {
        "host": "{AIRFLOW_URL}",
        "login": "{AIRFLOW_WEBHOOK_USER}",
        "password": "{AIRFLOW_WEBHOOK_PASSWORD}",
        "extra": {"token": "{GITLAB_WEBHOOK_SECRET}", "signing_token": "{GITLAB_WEBHOOK_SIGNING_TOKEN}"},
    },
}
"""What replaces the dummies: names in braces are those of the contract; an extra is merged key by key."""

# Astro CLI, settings/types.go: the names in the file, and what Airflow's REST calls the same.
CONNECTION_FIELDS = {
    "conn_id": "connection_id",
    "conn_type": "conn_type",
    "conn_host": "host",
    "conn_schema": "schema",
    "conn_login": "login",
    "conn_password": "password",
    "conn_port": "port",
    "conn_extra": "extra",
}
POOL_FIELDS = {"pool_name": "name", "pool_slot": "slots", "pool_description": "description"}
VARIABLE_FIELDS = {"variable_name": "key", "variable_value": "value"}

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """What airflow_settings.yaml holds, in the words of Airflow's REST; an extra is still a mapping."""

    connections: list[Entity]
    pools: list[Entity]
    variables: list[Entity]


def load(path: Path = SETTINGS_FILE) -> Settings:
    """Read a settings file of the Astro CLI; empty entries, which its template is full of, are left out.

    :raises SandboxError: the file holds something that would not arrive in Airflow.
    """
    from ruamel.yaml import YAML

    document = (YAML(typ="safe").load(path) or {}).get("airflow") or {}
    unknown = set(document) - {"connections", "pools", "variables"}
    if unknown:
        raise SandboxError(
            f"{path.name} has unknown parts {sorted(unknown)}; it knows connections, pools and variables."
        )

    def entities(part: str, fields: Mapping[str, str], key: str) -> list[Entity]:
        return [_entity(entry, fields, f"{path.name}, {part}") for entry in document.get(part) or [] if entry.get(key)]

    connections = entities("connections", CONNECTION_FIELDS, "conn_id")
    for connection in connections:
        if not connection.get("conn_type"):
            raise SandboxError(f"{path.name}: connection {connection['connection_id']} has no conn_type.")
        extra = connection.get("extra", {})
        connection["extra"] = json.loads(extra) if isinstance(extra, str) else extra
    return Settings(
        connections,
        entities("pools", POOL_FIELDS, "pool_name"),
        entities("variables", VARIABLE_FIELDS, "variable_name"),
    )


def _entity(entry: Mapping[str, Any], fields: Mapping[str, str], where: str) -> Entity:
    filled = {name: value for name, value in entry.items() if value not in (None, "")}
    unknown = set(filled) - set(fields)
    if unknown:
        raise SandboxError(f"{where}: unknown fields {sorted(unknown)} in {entry}; known are {sorted(fields)}.")
    return {fields[name]: value for name, value in filled.items()}


def overlay(connections: list[Entity], environment: Mapping[str, str]) -> list[Entity]:
    """Return the connections with the sandbox's real values.

    :raises SandboxError: the table and the file do not name the same connections.
    """
    named = {connection["connection_id"] for connection in connections}
    if named != set(REAL):
        raise SandboxError(
            f"{SETTINGS_FILE.name} and the table in sandbox/connections.py differ in {sorted(named ^ set(REAL))}; "
            "a connection belongs into both."
        )
    return [connection | _real(connection, environment) for connection in connections]


def _real(connection: Entity, environment: Mapping[str, str]) -> Entity:
    values = {name: _filled(value, environment) for name, value in REAL[connection["connection_id"]].items()}
    return values | {"extra": connection["extra"] | values.get("extra", {})}


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(part, environment) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, environment) for part in value]
    return cast("str", value).format_map(environment)


def apply(api: httpx.Client, environment: Mapping[str, str], settings: Settings | None = None) -> None:
    """Write everything into Airflow through its REST, over what is there.

    :param api: logged in as an administrator.
    """
    settings = settings or load()
    connections = [
        connection | {"extra": json.dumps(connection["extra"])}
        for connection in overlay(settings.connections, environment)
    ]
    pools = [pool | {"include_deferred": False} for pool in settings.pools]
    for kind, entities in (("connections", connections), ("pools", pools), ("variables", settings.variables)):
        if entities:
            _upsert(api, kind, entities)


def _upsert(api: httpx.Client, kind: str, entities: list[Entity]) -> None:
    action = {"action": "create", "action_on_existence": "overwrite", "entities": entities}
    response = api.patch(f"/api/v2/{kind}", json={"actions": [action]})
    # A bulk answer is 200 even when single entities were refused; those are listed under "errors".
    if response.status_code != httpx.codes.OK or response.json()["create"]["errors"]:
        # The answer may repeat what was sent, and that holds passwords.
        raise SandboxError(f"Airflow refused the {kind} ({response.status_code}); see airflow-api-server.log.")

"""The sandbox's contract: `<state>/env` says where everything is and with which credentials."""

from __future__ import annotations

import base64
import json
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

PORTS = {
    "airflow": 0,
    "gitlab": 1,
    "jenkins": 2,
    "harbor": 3,
    "argocd": 4,
    "kubernetes_dev": 5,
    "kubernetes_rc": 6,
    "kubernetes_prod": 7,
    "object_store": 8,
    # Where a real object store listens, behind the fault layer that has the port above.
    "object_store_server": 9,
    "postgres": 10,
}
"""Port of each server, counted from the base port."""

STAND_IN = "stand-in"
"""What plays a system that could have a real server (`<SYSTEM>_SERVER`)."""

AIRFLOW_USERS = {
    "ADMIN": ("admin", "ADMIN"),
    "OPERATOR": ("oscar", "USER"),
    "APPROVER": ("paula", "USER"),
    "APPROVER2": ("quentin", "USER"),
    "VIEWER": ("victor", "VIEWER"),
    "CI": ("ci", "USER"),
    "WEBHOOK": ("gitlab-webhook", "USER"),
    "READER": ("evidence-reader", "VIEWER"),
}
"""Airflow account and SimpleAuthManager role of each role in the contract."""

GITLAB_PEOPLE = {
    "GITLAB_TOKEN": "platform-bot",
    "GITLAB_DEVELOPER_TOKEN": "dana",
    "GITLAB_MAINTAINER_TOKEN": "ravi",
    "GITLAB_RELEASE_TOKEN": "release-bot",
}
"""GitLab user behind each personal access token of the contract.

`*_RELEASE_*` and `KUBERNETES_READER_TOKEN` are what Airflow's connections hold: they may do what releases need and no
more. The others make the sample world.
"""


def web_token(**claims: str | int) -> str:
    """Return a JSON Web Token of these claims, signed with a key nobody keeps."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (*parts, secrets.token_bytes(32))]
    return ".".join(encoded)


def _backup_keys() -> dict[str, str]:
    """Return the keys of two holders, the second one's private key being nobody's, and the key of those who copy."""
    import pyrage

    ours, other, copier = (pyrage.x25519.Identity.generate() for _ in range(3))
    return {
        "BACKUP_IDENTITY": str(ours),
        "BACKUP_RECIPIENT": str(ours.to_public()),
        "BACKUP_SECOND_RECIPIENT": str(other.to_public()),
        "BACKUP_LISTING_KEY": str(copier),
    }


def new_environment(base_port: int) -> dict[str, str]:
    """Return a fresh contract: addresses from the base port, credentials at random."""

    def url(system: str) -> str:
        return f"http://127.0.0.1:{base_port + PORTS[system]}"

    environment = {
        "AIRFLOW_URL": url("airflow"),
        "GITLAB_URL": url("gitlab"),
        "GITLAB_WEBHOOK_SECRET": secrets.token_hex(16),
        "GITLAB_WEBHOOK_SIGNING_TOKEN": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "GITOPS_GIT_URL": f"{url('gitlab')}/platform/gitops.git",
        "JENKINS_URL": url("jenkins"),
        "JENKINS_USER": "platform-ops",
        "JENKINS_TOKEN": secrets.token_hex(17),
        "HARBOR_URL": url("harbor"),
        "HARBOR_USER": "robot$platform-ops",
        "HARBOR_PASSWORD": secrets.token_hex(16),
        "HARBOR_RELEASE_USER": "robot$releases",
        "HARBOR_RELEASE_PASSWORD": secrets.token_hex(16),
        "REGISTRY": url("harbor").removeprefix("http://"),
        "ARGOCD_URL": url("argocd"),
        "ARGOCD_TOKEN": secrets.token_hex(24),
        "ARGOCD_RELEASE_TOKEN": web_token(iss="argocd", sub="releases:apiKey"),
        "KUBERNETES_DEV_URL": url("kubernetes_dev"),
        "KUBERNETES_RC_URL": url("kubernetes_rc"),
        "KUBERNETES_PROD_URL": url("kubernetes_prod"),
        "KUBERNETES_TOKEN": secrets.token_hex(24),
        "KUBERNETES_READER_TOKEN": web_token(
            iss="kubernetes/serviceaccount", sub="system:serviceaccount:platform-ops:releases"
        ),
        "OBJECT_STORE_SERVER": STAND_IN,
        "OBJECT_STORE_URL": url("object_store"),
        "OBJECT_STORE_ACCESS_KEY": "platform-ops",
        "OBJECT_STORE_SECRET_KEY": secrets.token_hex(20),
        "OBJECT_STORE_BACKUP_WRITER_ACCESS_KEY": "backup-writer",
        "OBJECT_STORE_BACKUP_WRITER_SECRET_KEY": secrets.token_hex(20),
        "OBJECT_STORE_BACKUP_READER_ACCESS_KEY": "backup-reader",
        "OBJECT_STORE_BACKUP_READER_SECRET_KEY": secrets.token_hex(20),
        "POSTGRES_PORT": str(base_port + PORTS["postgres"]),
        "POSTGRES_BACKUP_USER": "backup_reader",
        "POSTGRES_BACKUP_PASSWORD": secrets.token_hex(16),
    } | _backup_keys()
    environment |= {name: f"glpat-{secrets.token_hex(10)}" for name in GITLAB_PEOPLE}
    for role, (user, _) in AIRFLOW_USERS.items():
        environment[f"AIRFLOW_{role}_USER"] = user
        environment[f"AIRFLOW_{role}_PASSWORD"] = secrets.token_hex(8)
    return environment


def base_port(environment: Mapping[str, str]) -> int:
    """Return the port that all others are counted from."""
    return (urlsplit(environment["AIRFLOW_URL"]).port or 0) - PORTS["airflow"]


def write(state: Path, environment: Mapping[str, str]) -> None:
    """Write `<state>/env`, readable by its owner only."""
    write_file(state / "env", environment)


def read(state: Path) -> dict[str, str]:
    """Read `<state>/env`."""
    return read_file(state / "env")


def write_file(path: Path, variables: Mapping[str, str]) -> None:
    """Write variables in shell syntax, readable by their owner only; a reader never sees half a file."""
    new = path.with_name(f"{path.name}.new")
    new.touch(mode=0o600)
    new.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())))
    new.replace(path)


def read_file(path: Path) -> dict[str, str]:
    """Read variables that `write_file` wrote."""
    lines = path.read_text().splitlines()
    return {name: shlex.split(value)[0] for name, _, value in (line.partition("=") for line in lines)}

"""Writes the tables of permissions in docs/connections.md from the rooms' own: `make docs`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from platform_ops.common.permissions import Permission
from platform_ops.systems.argocd import permissions as argocd
from platform_ops.systems.git import permissions as git
from platform_ops.systems.gitlab import permissions as gitlab
from platform_ops.systems.harbor import permissions as harbor
from platform_ops.systems.jenkins import permissions as jenkins
from platform_ops.systems.kubernetes import permissions as kubernetes
from platform_ops.systems.object_store import permissions as object_store
from platform_ops.systems.postgres import permissions as postgres
from platform_ops.upkeep import age_permissions, airflow_permissions

PAGE = Path(__file__).with_name("connections.md")
TABLES: Mapping[str, Sequence[Permission]] = {
    "GitLab": gitlab.PERMISSIONS,
    "Jenkins": jenkins.PERMISSIONS,
    "Harbor": harbor.PERMISSIONS,
    "git": git.PERMISSIONS,
    "Argo CD": argocd.PERMISSIONS,
    "Kubernetes": kubernetes.PERMISSIONS,
    "object store": object_store.PERMISSIONS,
    "backup store, writing": object_store.BACKUP_WRITER,
    "backup store, reading": object_store.BACKUP_READER,
    "bucket": object_store.SOURCE_BUCKET,
    "bucket, restoring": object_store.RESTORE_TARGET,
    "age, encrypting": age_permissions.ENCRYPTING,
    "age, decrypting": age_permissions.DECRYPTING,
    "PostgreSQL": postgres.PERMISSIONS,
    "Airflow, reading": airflow_permissions.READER,
    "Airflow, starting": airflow_permissions.STARTER,
}
PLACE = re.compile(r"(<!-- permissions: (.+?) -->\n).*?(<!-- written by `make docs` -->)", re.DOTALL)


def page(text: str) -> str:
    """Return the page with every table as the rooms have it now."""
    return PLACE.sub(lambda place: f"{place[1]}{table(TABLES[place[2]])}{place[3]}", text)


def table(permissions: Sequence[Permission]) -> str:
    """Return one table, what is needed first."""
    rows = [
        f"| `{permission.name}` | {'needed' if permission.wanted else 'too much'} | {permission.why} |\n"
        for permission in sorted(permissions, key=lambda permission: not permission.wanted)
    ]
    return "\n| permission | | why |\n|---|---|---|\n" + "".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
    print(f"docs/{PAGE.name} is written.")

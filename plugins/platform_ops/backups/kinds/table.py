"""Which class is which kind, as the catalogue names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from platform_ops.backups.kinds.airflow import AirflowInstallation
from platform_ops.backups.kinds.bucket import Bucket
from platform_ops.backups.kinds.directory import Directory
from platform_ops.backups.kinds.git import GitRepository
from platform_ops.backups.kinds.postgres import Postgres
from platform_ops.backups.kinds.postgres_files import PostgresFiles
from platform_ops.backups.kinds.shape import Kind
from platform_ops.backups.sources import Source


def _postgres(source: Source) -> Kind:
    return PostgresFiles(source) if source.what.get("method") == "physical" else Postgres(source)


KINDS: Mapping[str, Callable[[Source], Kind]] = {
    "airflow": AirflowInstallation,
    "bucket": Bucket,
    "directory": Directory,
    "git": GitRepository,
    "postgres": _postgres,
}

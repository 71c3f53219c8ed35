"""A server of the tests' own."""

from tests.postgres_server import (
    bin_folder,
    debian_source,
    folder,
    mortal_source,
    postgres,
    postgres_programs,
    server,
    target,
)

__all__ = [
    "bin_folder",
    "debian_source",
    "folder",
    "mortal_source",
    "postgres",
    "postgres_programs",
    "server",
    "target",
]

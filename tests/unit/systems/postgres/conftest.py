"""A server of the tests' own."""

from tests.postgres_server import bin_folder, folder, postgres_programs, source, source_cluster, target

__all__ = ["bin_folder", "folder", "postgres_programs", "source", "source_cluster", "target"]

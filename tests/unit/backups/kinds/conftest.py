"""A server of the tests' own."""

from tests.postgres_server import bin_folder, folder, mortal_source, postgres_programs, server, source, target

__all__ = ["bin_folder", "folder", "mortal_source", "postgres_programs", "server", "source", "target"]

"""A server of the tests' own."""

from tests.postgres_server import bin_folder, folder, mortal_source, postgres, postgres_programs, server, target

__all__ = ["bin_folder", "folder", "mortal_source", "postgres", "postgres_programs", "server", "target"]

"""MinIO on disk, as the object store of the benchmarks of backups: nothing stands before it."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sandbox.real import minio, programs
from sandbox.real.server import started


@dataclass(frozen=True, slots=True)
class Store:
    """An object store, and the account that may do everything in it."""

    url: str
    access_key: str
    secret_key: str

    def connection(self) -> str:
        """Return it as Airflow's variables hold a connection."""
        fields = {"host": self.url, "login": self.access_key, "password": self.secret_key}
        return json.dumps({"conn_type": "object_store"} | fields)

    @property
    def client(self) -> Any:
        """Return a client of it."""
        from minio import Minio

        address = urlsplit(self.url).netloc
        return Minio(address, self.access_key, self.secret_key, secure=False, region="us-east-1")

    def make(self, bucket: str) -> None:
        """Make a bucket."""
        self.client.make_bucket(bucket)

    def size(self, bucket: str, prefix: str = "") -> int:
        """Return the bytes below a prefix."""
        return sum(one.size for one in self.client.list_objects(bucket, prefix=prefix, recursive=True))


@contextmanager
def minio_in(folder: Path) -> Iterator[Store]:
    """Run MinIO for as long as the block lasts; its data are in a folder."""
    folder.mkdir(parents=True)
    port, key, secret = free_port(), "bench", secrets.token_hex(16)
    environment = {"OBJECT_STORE_ACCESS_KEY": key, "OBJECT_STORE_SECRET_KEY": secret}
    program = programs.get(minio.MINIO, print)
    with started(minio.SERVER, program, folder, port, environment):
        yield Store(f"http://127.0.0.1:{port}", key, secret)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

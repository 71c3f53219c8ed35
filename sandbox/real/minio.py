"""MinIO (AGPL, for tests only): the main witness, right in all 61 checks of S3 that it was put to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox import effects
from sandbox.accounts import accounts
from sandbox.processes import SandboxError
from sandbox.real.programs import Program
from sandbox.real.server import Launch, Server

# Its releases are tags that no Go module has; this is the module's last commit, and it is archived.
MINIO = Program("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
ALREADY = "XMinioAdminPolicyChangeAlreadyApplied"


def _launch(program: Path, folder: Path, port: int, environment: Mapping[str, str]) -> Launch:
    command = [str(program), "server", "--quiet", "--address", f"127.0.0.1:{port}"]
    variables = {
        "MINIO_ROOT_USER": environment["OBJECT_STORE_ACCESS_KEY"],
        "MINIO_ROOT_PASSWORD": environment["OBJECT_STORE_SECRET_KEY"],
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    return Launch([*command, "--certs-dir", str(folder / "certs"), str(folder / "data")], variables)


def _grant(environment: Mapping[str, str]) -> None:
    from minio.credentials.providers import StaticProvider
    from minio.error import MinioAdminException
    from minio.minioadmin import MinioAdmin

    owner = StaticProvider(environment["OBJECT_STORE_ACCESS_KEY"], environment["OBJECT_STORE_SECRET_KEY"])
    address = environment["OBJECT_STORE_URL"].removeprefix("http://")
    admin: Any = MinioAdmin(endpoint=address, credentials=owner, secure=False)
    try:
        for account in accounts(environment):
            admin.policy_add(account.access_key, policy={"Version": "2012-10-17", "Statement": account.policy()})
            admin.user_add(account.access_key, account.secret_key)
            try:
                admin.attach_policy([account.access_key], user=account.access_key)
            except MinioAdminException as error:
                if ALREADY not in str(error):
                    raise
    except MinioAdminException as error:
        raise SandboxError(f"MinIO refused an account of the contract: {error}") from error


SERVER = Server(MINIO, _launch, "/minio/health/ready", effects.stored, _grant)

"""versitygw (Apache-2.0): the second opinion. It knows no lifecycle rules, and no key that is also a folder."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sandbox import effects
from sandbox.accounts import BACKUPS, accounts
from sandbox.buckets import client
from sandbox.processes import SandboxError
from sandbox.real.programs import Program
from sandbox.real.server import Launch, Server

VERSITYGW = Program("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")


def _launch(program: Path, folder: Path, port: int, environment: Mapping[str, str]) -> Launch:
    for name in ("iam", "versions", "data"):
        (folder / name).mkdir(exist_ok=True)
    command = [str(program), "--port", f"127.0.0.1:{port}", "--quiet", "--iam-dir", str(folder / "iam")]
    variables = {
        "ROOT_ACCESS_KEY_ID": environment["OBJECT_STORE_ACCESS_KEY"],
        "ROOT_SECRET_ACCESS_KEY": environment["OBJECT_STORE_SECRET_KEY"],
    }
    return Launch([*command, "posix", "--versioning-dir", str(folder / "versions"), str(folder / "data")], variables)


def _grant(environment: Mapping[str, str]) -> None:
    """Make the accounts, and say in the bucket's policy what each may: they have none of their own."""
    known = _admin(environment, "list-users").split()
    for account in accounts(environment):
        if account.access_key not in known:
            access, secret = account.access_key, account.secret_key
            _admin(environment, "create-user", "--access", access, "--secret", secret, "--role", "user")
    statements = [
        statement
        for account in accounts(environment)
        for statement in account.policy(Principal={"AWS": [account.access_key]})
        # A bucket's policy speaks of that bucket: the rights at others are given nowhere here.
        if statement["Resource"][0].startswith(f"arn:aws:s3:::{BACKUPS}")
    ]
    client(environment).set_bucket_policy(BACKUPS, json.dumps({"Version": "2012-10-17", "Statement": statements}))


def _admin(environment: Mapping[str, str], command: str, *options: str) -> str:
    variables = {
        "ADMIN_ACCESS_KEY_ID": environment["OBJECT_STORE_ACCESS_KEY"],
        "ADMIN_SECRET_ACCESS_KEY": environment["OBJECT_STORE_SECRET_KEY"],
        "ADMIN_ENDPOINT_URL": environment["OBJECT_STORE_URL"],
    }
    done = subprocess.run(
        [VERSITYGW.path, "admin", command, *options],
        env=os.environ | variables | {"NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SandboxError(f"versitygw refused `admin {command}`: {done.stdout}{done.stderr}")
    return done.stdout


SERVER = Server(VERSITYGW, _launch, "/", effects.stored, _grant)

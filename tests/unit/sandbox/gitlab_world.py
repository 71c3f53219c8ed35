"""A GitLab stand-in without sockets, with one project, and who receives its webhooks."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import warnings

import pytest

with warnings.catch_warnings():  # Starlette would like httpx2; the project has httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

from sandbox.stand_ins import gitlab
from sandbox.stand_ins.gitlab_git import environment

ENVIRONMENT = {
    "GITLAB_URL": "http://gitlab.test",
    "GITLAB_TOKEN": "glpat-bot",
    "GITLAB_DEVELOPER_TOKEN": "glpat-dana",
    "GITLAB_MAINTAINER_TOKEN": "glpat-ravi",
}
BOT, RAVI = {"PRIVATE-TOKEN": "glpat-bot"}, {"Authorization": "Bearer glpat-ravi"}
PROJECT = "/api/v4/projects/shop%2Fstorefront"


class Receiver:
    """Keeps the webhooks it is sent."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.got = []
        self.arrived = threading.Semaphore(0)

    def __call__(self, url, body, headers):
        self.got.append((url, json.loads(body), dict(headers)))
        self.arrived.release()
        status = self.statuses.pop(0) if self.statuses else 200
        if isinstance(status, Exception):
            raise status
        return status

    def wait(self, count):
        for _ in range(count):
            assert self.arrived.acquire(timeout=10), f"{len(self.got)} webhooks arrived"
        return self.got


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def client(tmp_path, receiver):
    client = TestClient(gitlab.create_app(ENVIRONMENT, tmp_path / "gitlab", send=receiver), headers=BOT)
    group = client.post("/api/v4/groups", json={"name": "Shop", "path": "shop"}).json()
    made = client.post("/api/v4/projects", json={"name": "storefront", "namespace_id": group["id"]})
    assert made.status_code == 201
    return client


class Work:
    """Commits written straight into the bare repository, for what needs no git over HTTP."""

    def __init__(self, folder):
        self.bare = folder / "gitlab/repositories/shop/storefront.git"

    def git(self, *arguments, stdin=""):
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
               for key, value in (("NAME", "Dana"), ("EMAIL", "dana@example.com"))}  # fmt: skip
        command = ["git", "-C", str(self.bare), *arguments]
        done = subprocess.run(command, env=environment(**who), input=stdin, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, branch, files, *parents, message="A change"):
        listing = "".join(
            f"100644 blob {self.git('hash-object', '-w', '--stdin', stdin=text)}\t{name}\n"
            for name, text in files.items()
        )
        tree = self.git("mktree", stdin=listing)
        above = [word for parent in parents for word in ("-p", parent)]
        sha = self.git("commit-tree", tree, *above, "-m", message)
        self.git("update-ref", f"refs/heads/{branch}", sha)
        return sha


@pytest.fixture
def work(client, tmp_path):
    return Work(tmp_path)


@pytest.fixture
def sha(work):
    return work.commit("dev", {"a": "1"})


def basic(token):
    return {"Authorization": "Basic " + base64.b64encode(f"oauth2:{token}".encode()).decode()}


def push(client, old, new, ref):
    """Delete or move a branch to a commit that is there already: commands and an empty pack."""
    command = f"{old} {new} {ref}\0report-status".encode()
    pack = b"" if new == "0" * 40 else bytes.fromhex("5041434b0000000200000000029d08823bd8a8eab510ad6ac75c823cfd3ed31e")
    body = f"{len(command) + 4:04x}".encode() + command + b"0000" + pack
    headers = {**basic("glpat-dana"), "Content-Type": "application/x-git-receive-pack-request"}
    answer = client.post("/shop/storefront.git/git-receive-pack", content=body, headers=headers)
    assert b"ok " + ref.encode() in answer.content

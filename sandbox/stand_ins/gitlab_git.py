"""Real bare repositories behind the GitLab stand-in, served by git's own programs."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

NO_COMMIT = "0" * 40
_FIELDS = "%H%x1f%P%x1f%an%x1f%ae%x1f%aI%x1f%cn%x1f%ce%x1f%cI%x1f%B"
_SETTINGS = {
    "uploadpack.allowFilter": "true",
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowReachableSHA1InWant": "true",
    "gc.auto": "0",
    "receive.autogc": "false",
    # GitLab lets the default branch of an empty project be anything, and branches be deleted.
    "receive.denyDeleteCurrent": "false",
}


def environment(**extra: str) -> dict[str, str]:
    """Return git's environment, without the configuration of whoever runs the sandbox."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "LC_ALL": "C",
        # The state folder may belong to another user than the one who runs the sandbox.
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        "GIT_CONFIG_KEY_1": "core.quotePath",
        "GIT_CONFIG_VALUE_1": "false",
        **extra,
    }


@dataclass(frozen=True, slots=True)
class GitCommit:
    """A commit as git prints it."""

    sha: str
    parents: tuple[str, ...]
    author_name: str
    author_email: str
    authored_at: str
    committer_name: str
    committer_email: str
    committed_at: str
    message: str

    @property
    def title(self) -> str:
        return self.message.partition("\n")[0]


class BareRepository:
    """One bare repository; revisions are checked to be no options before git sees them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, default_branch: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["git", "init", "--quiet", "--bare", str(self.path)], check=True, env=environment(), capture_output=True
        )
        for key, value in _SETTINGS.items():
            self._git("config", key, value)
        self._git("symbolic-ref", "HEAD", f"refs/heads/{default_branch}")

    def _run(self, *arguments: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments],
            cwd=extra.get("GIT_WORK_TREE", self.path),
            env=environment(GIT_DIR=str(self.path.resolve()), **extra),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    def _git(self, *arguments: str, stdin: str = "", **extra: str) -> str:
        done = self._run(*arguments, stdin=stdin, **extra)
        if done.returncode:
            raise RuntimeError(f"git {arguments[0]} in {self.path}: {done.stderr.strip()}")
        return done.stdout

    def resolve(self, revision: str) -> str | None:
        """Return the commit a branch, tag or hash means."""
        if not revision or revision.startswith("-") or "\0" in revision or "\n" in revision:
            return None
        done = self._run("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return done.stdout.strip() if done.returncode == 0 else None

    def heads(self) -> dict[str, str]:
        lines = self._git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def head(self, branch: str) -> str | None:
        return self.heads().get(f"refs/heads/{branch}")

    def branches_with(self, sha: str) -> list[str]:
        lines = self._git("for-each-ref", "--format=%(refname)", f"--contains={sha}", "refs/heads").splitlines()
        return [line.removeprefix("refs/heads/") for line in lines]

    def default_branch(self) -> str:
        return self._git("symbolic-ref", "HEAD").strip().removeprefix("refs/heads/")

    def choose_default_branch(self, heads: Mapping[str, str]) -> None:
        """Let the first branch that was pushed be the default one, as GitLab does, where the present one is missing."""
        if heads and f"refs/heads/{self.default_branch()}" not in heads:
            wished = [ref for ref in ("refs/heads/main", "refs/heads/master") if ref in heads]
            self._git("symbolic-ref", "HEAD", (wished or sorted(heads))[0])

    def commit(self, sha: str) -> GitCommit:
        return self.commits("-1", sha)[0]

    def commits(self, *revisions: str) -> list[GitCommit]:
        """Return commits by git log's arguments, newest first."""
        printed = self._git("log", "-z", f"--format={_FIELDS}", *revisions)
        found = []
        for record in printed.split("\0"):
            if record:
                sha, parents, *fields = record.split("\x1f", 8)
                found.append(GitCommit(sha, tuple(parents.split()), *fields))
        return found

    def between(self, old: str, new: str) -> list[str]:
        """Return the hashes reachable from new and not from old, newest first."""
        return self._git("rev-list", new, f"^{old}").split()

    def pushed(self, ref: str, before: str, after: str, at_most: int) -> tuple[list[dict[str, Any]], int]:
        """Return the newest commits of a push, oldest first, in the webhook's shape, and how many there are.

        A new branch counts what the default branch lacks (app/services/git/branch_hooks_service.rb).
        """
        if after == NO_COMMIT:
            return [], 0
        default = f"refs/heads/{self.default_branch()}"
        base = before if before != NO_COMMIT else default if ref != default else ""
        wanted = [after, f"^{base}"] if base and self.resolve(base) else [after]
        total = int(self._git("rev-list", "--count", *wanted))
        newest = self.commits(f"--max-count={at_most}", *wanted)
        return [self._event_commit(one) for one in reversed(newest)], total

    def _event_commit(self, commit: GitCommit) -> dict[str, Any]:
        pair = [commit.parents[0], commit.sha] if commit.parents else ["--root", commit.sha]
        changed = self._git("diff-tree", "-r", "-z", "--no-commit-id", "--no-renames", "--name-status", *pair)
        words = changed.split("\0")
        files = list(zip(words[::2], words[1::2], strict=False))
        return {
            "id": commit.sha,
            "message": commit.message,
            "title": commit.title,
            "timestamp": commit.committed_at,
            "author": {"name": commit.author_name, "email": commit.author_email},
            "added": [path for kind, path in files if kind == "A"],
            "modified": [path for kind, path in files if kind in ("M", "T")],
            "removed": [path for kind, path in files if kind == "D"],
        }

    def merged_tree(self, target: str, source: str) -> str | None:
        """Merge two commits without a checkout and return the tree; None when they conflict.

        Plumbing that old gits have too: `git merge-tree --write-tree` came with 2.38.
        """
        base = self._run("merge-base", target, source).stdout.strip()
        with tempfile.TemporaryDirectory(prefix="gitlab-merge-") as folder:
            tree = Path(folder) / "tree"
            tree.mkdir()
            extra = {"GIT_INDEX_FILE": f"{folder}/index", "GIT_WORK_TREE": str(tree)}
            if not base or self._run("read-tree", "-i", "-m", "--aggressive", base, target, source, **extra).returncode:
                return None
            if self._run("merge-index", "-q", "git-merge-one-file", "-a", **extra).returncode:
                return None
            return self._git("write-tree", **extra).strip()

    def merge(self, branch: str, source: str, *, message: str, name: str, email: str) -> str | None:
        """Put a merge commit on a branch and return it; None when there is a conflict."""
        target = self.heads()[f"refs/heads/{branch}"]
        tree = self.merged_tree(target, source)
        if tree is None:
            return None
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
               for key, value in (("NAME", name), ("EMAIL", email))}  # fmt: skip
        made = self._git("commit-tree", tree, "-p", target, "-p", source, "-F", "-", stdin=message, **who).strip()
        self._git("update-ref", f"refs/heads/{branch}", made, target)
        return made

    def text(self, sha: str, path: str) -> str | None:
        """Return a file, or the listing of a folder."""
        done = self._run("show", f"{sha}:{path}")
        return done.stdout if done.returncode == 0 else None


def advertise(repository: Path, service: str, protocol: str) -> bytes:
    """Return what ``info/refs`` answers (gitprotocol-http(5)).

    :param service: ``git-upload-pack`` or ``git-receive-pack``.
    :param protocol: the client's ``Git-Protocol``.
    """
    if service == "git-upload-pack" and protocol == "version=2":
        return _capabilities(repository)
    head = f"# service={service}\n"
    return f"{len(head) + 4:04x}{head}0000".encode() + _serve(repository, service, protocol, "--advertise-refs")


@cache
def _capabilities(repository: Path) -> bytes:
    # Version 2 tells what the server can do, and no refs: the same until git is another one.
    return _serve(repository, "git-upload-pack", "version=2", "--advertise-refs")


def answer(repository: Path, service: str, protocol: str, body: bytes) -> bytes:
    """Return what a request to a service answers; as Gitaly does, git's own program of that service is run.

    :param body: the request's, not compressed.
    """
    return _serve(repository, service, protocol, body=body)


def _serve(repository: Path, service: str, protocol: str, *options: str, body: bytes = b"") -> bytes:
    done = subprocess.run(
        ["git", service.removeprefix("git-"), "--stateless-rpc", *options, str(repository)],
        env=environment(GIT_PROTOCOL=protocol),
        input=body,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.stdout

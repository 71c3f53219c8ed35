"""Read history and push one edit, with real git in a throw-away bare repository."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from airflow.sdk import BaseHook

from platform_ops.common.connections import base_url
from platform_ops.common.errors import AuthenticationFailed, NotFound, PlatformError
from platform_ops.common.fail_points import asks, changes
from platform_ops.common.git_command import git, git_environment
from platform_ops.common.http import HttpApi, httpx_client
from platform_ops.common.permissions import VALID, CheckedConnection, Finding, State, day_lasts
from platform_ops.common.scratch import scratch
from platform_ops.systems.git.errors import CommitNotFound, FileNotFound, GitFailed, PushRejected, StillRejected
from platform_ops.systems.git.mirror import Mirror
from platform_ops.systems.git.models import Commit, FileEdit
from platform_ops.systems.git.permissions import FETCH, OTHERS, PUSH

PUSH_TRIES = 8
COMMITS = "--filter=tree:0"
_EDIT = "refs/platform-ops/edit"
_FIELDS = "%x1e%H%x1f%T%x1f%P%x1f%an%x1f%ae%x1f%cn%x1f%ce%x1f%cI%x1f%s"


class GitHook(CheckedConnection, BaseHook):
    """A repository at an Airflow connection: ``host`` is its whole address, login and password are for HTTP.

    The extra may name the ``author`` of our commits.

    :param inner: replaces the network of HTTP, but not of git, in tests.
    """

    conn_name_attr = "git_conn_id"
    default_conn_name = "gitops_default"
    conn_type = "git"
    hook_name = "Git repository"

    def __init__(self, git_conn_id: str = default_conn_name, *, inner: httpx.BaseTransport | None = None) -> None:
        super().__init__()
        self.git_conn_id = git_conn_id
        self._inner = inner

    @cached_property
    def _connection(self) -> Any:
        return self.get_connection(self.git_conn_id)

    @cached_property
    def address(self) -> str:
        """Return the repository's address."""
        return base_url(self._connection)

    @property
    def author(self) -> str:
        """Return who our commits are by, ``Name <address>``: the extra's ``author``."""
        extra = self._connection.extra_dejson
        return str(extra.get("author") or "platform-ops <platform-ops@localhost>")

    def repository(self) -> Repository:
        """Return a throw-away copy to read from and push with."""
        return Repository(self.address, (self._connection.login or "", self._connection.password or ""))

    @contextmanager
    def mirror(self) -> Iterator[Mirror]:
        """Open a throw-away copy of the whole repository."""
        login = (self._connection.login or "", self._connection.password or "")
        with scratch(f"mirror-{self.git_conn_id}") as folder:
            mirror = Mirror(folder / "repository.git", git_environment(credentials=login))
            mirror.clone(self.address)
            yield mirror

    def check_permissions(self, places: Collection[str] = ()) -> tuple[Finding, ...]:
        """Fetch, have git ask for a push without making it, and ask GitLab how long the token lasts.

        :param places: branches.
        :raises AuthenticationFailed: the credential is refused.
        :raises Unreachable: the server does not answer.
        """
        with self.repository() as repository:
            heads = repository.branches()
            findings = [Finding(FETCH, State.OK, f"{self.address} answers and shows {len(heads)} branches.")]
            for branch in places:
                if branch in heads:
                    findings.append(self._check_push(repository, branch))
                else:
                    sentence = f"{self.address} has no branch {branch}. Make it, or correct the catalogue."
                    findings.append(Finding(FETCH, State.MISSING, sentence))
        findings.append(self._check_end())
        sentence = "git can't say what else the credential may do. Look at the token's scopes and projects."
        return (*findings, Finding(OTHERS, State.UNKNOWN, sentence))

    def _check_push(self, repository: Repository, branch: str) -> Finding:
        where = f"to {self.address}"
        do = "a token with scope write_repository, of an account with role Developer"
        try:
            repository.try_push(branch)
        except (AuthenticationFailed, NotFound, GitFailed) as refused:
            return Finding(PUSH, State.MISSING, f"push is not granted {where}: {refused} Grant it: {do}.")
        sentence = f"push is granted {where}; whether branch {branch} is closed to us shows only when it is made."
        return Finding(PUSH, State.OK, sentence)

    def _check_end(self) -> Finding:
        """Ask the server for the token itself, which is GitLab's to tell: git knows no end, other servers no such call.

        A token may always look at itself (lib/api/personal_access_tokens/self_information.rb); a deploy token may not.
        """
        server = urlsplit(self.address)
        if server.scheme not in ("http", "https") or not self._connection.password:
            return _unknown_end("the connection has no token for HTTP")
        address, token = f"{server.scheme}://{server.netloc}", self._connection.password
        with httpx_client(address, headers={"PRIVATE-TOKEN": token}, inner=self._inner) as client:
            api = HttpApi("The git server", client)
            try:
                told = api.json("GET", "/api/v4/personal_access_tokens/self", what="the token itself")
            except PlatformError as error:
                return _unknown_end(str(error))
        if not isinstance(told, dict) or "expires_at" not in told:
            return _unknown_end(f"{address} does not answer as GitLab")
        renew = "Make a new token and enter it in the connection"
        return day_lasts(told["expires_at"], now=datetime.now(UTC), renew=renew)


def _unknown_end(reason: str) -> Finding:
    sentence = f"When the credential ends is not known ({reason}). Look where it was made."
    return Finding(VALID, State.UNKNOWN, sentence)


class Repository:
    """A bare repository in a temporary folder that fetches only what is asked for.

    :param address: URL of the remote.
    :param credentials: user name and password for HTTP.
    :param pause: called with the seconds to wait between tries of a push.
    """

    def __init__(
        self, address: str, credentials: tuple[str, str] | None = None, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.address = address
        # Blobs left out by a partial fetch are fetched when they are read: that is what a promisor is.
        remote = {"remote.origin.url": address, "remote.origin.promisor": "true"}
        self._environment = git_environment(credentials=credentials, configuration=remote)
        self._pause = pause
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._present: set[str] = set()
        self._blobs: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="platform-ops-git-")
        self._git("init", "--quiet", "--bare", "--template=")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder:
            self._folder.cleanup()

    def _git(self, *arguments: str, stdin: str | None = None) -> str:
        return git(self._path, arguments, what=self.address, environment=self._environment, stdin=stdin).stdout

    @property
    def _path(self) -> Path:
        if self._folder is None:
            raise RuntimeError("Open the repository with `with` first.")
        return Path(self._folder.name)

    def branches(self) -> dict[str, str]:
        """Return the head of every branch."""
        lines = self._git("ls-remote", "--heads", "--", "origin").splitlines()
        return {name.removeprefix("refs/heads/"): sha for sha, _, name in (line.partition("\t") for line in lines)}

    def head(self, branch: str) -> str:
        """Return the head of a branch as the remote shows it now; empty when there is no such branch."""
        return self._git("ls-remote", "--", "origin", f"refs/heads/{branch}").partition("\t")[0]

    @asks
    def try_push(self, branch: str) -> None:
        """Ask whether we may push, and push nothing: the server answers before anything is sent.

        :raises AuthenticationFailed: we may not.
        """
        head = self.fetch_branch(branch)
        self._git("push", "--dry-run", "--porcelain", "--end-of-options", "origin", f"{head}:refs/heads/{branch}")

    def fetch_branch(self, branch: str, *, files: bool = True) -> str:
        """Fetch a branch with its history and return its head.

        :param files: whether a file will be read or changed: without, the history comes without its folders.
        """
        return self._fetch(f"+refs/heads/{branch}:refs/heads/{branch}", "--filter=blob:none" if files else COMMITS)

    def fetch_tip(self, branch: str) -> str:
        """Fetch the head of a branch without its history and return it."""
        return self._fetch(f"+refs/heads/{branch}:refs/heads/{branch}", "--filter=blob:none", "--depth=1")

    def fetch_commit(self, sha: str) -> None:
        """Fetch a commit by its hash with its history; nothing to do when its branch was fetched.

        :raises CommitNotFound: the remote does not have it or does not show it.
        """
        if self.has(sha):
            return
        try:
            self._fetch(sha, COMMITS)
        except (NotFound, GitFailed) as error:
            # A missing repository gives the same words; then this raises instead.
            self.branches()
            message = f"Commit {sha} is not in {self.address}: it was never pushed, or was forced away."
            raise CommitNotFound(message) from error

    def _fetch(self, wanted: str, *options: str) -> str:
        """Fetch, and return the commit that came."""
        self._git("fetch", "--quiet", "--no-tags", *options, "--end-of-options", "origin", wanted)
        # A line for each thing that came, which begins with its hash (git-fetch(1), FETCH_HEAD).
        fetched = (self._path / "FETCH_HEAD").read_text().partition("\t")[0]
        self._present.add(fetched)
        return fetched

    def has(self, sha: str) -> bool:
        """Say whether the commit has been fetched."""
        if sha in self._present:
            return True
        # Without a promisor: asking for an unknown object would go to the remote, and bring it.
        alone = git_environment()
        done = git(self._path, ["cat-file", "-e", f"{sha}^{{commit}}"], what=self.address, environment=alone,
                   accept=(0, 1, 128))  # fmt: skip
        if done.returncode == 0:
            self._present.add(sha)
        return done.returncode == 0

    def commit(self, sha: str) -> Commit:
        """Return one fetched commit."""
        return self._commits(sha, at_most=1)[0]

    def newest(self, sha: str, count: int) -> tuple[Commit, ...]:
        """Return a fetched commit and those before it, as many as asked for at most, newest first."""
        return self._commits(sha, at_most=count)

    def commits_between(self, old: str | None, new: str) -> tuple[Commit, ...]:
        """Return the commits reachable from ``new`` and not from ``old``, newest first; all when ``old`` is None."""
        return self._commits(new, *([f"^{old}"] if old else []))

    def _commits(self, *revisions: str, at_most: int | None = None) -> tuple[Commit, ...]:
        limit = [] if at_most is None else [f"--max-count={at_most}"]
        printed = self._git("log", *limit, f"--format={_FIELDS}", "--end-of-options", *revisions)
        commits = []
        for record in printed.split("\x1e")[1:]:
            sha, tree, parents, *people = record.rstrip("\n").split("\x1f")
            commits.append(Commit(sha, tree, tuple(parents.split()), *people))
        return tuple(commits)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Say whether ``newer`` contains ``older`` (a commit contains itself); both must have been fetched."""
        if older == newer:
            return True
        done = git(self._path, ["merge-base", "--is-ancestor", older, newer], what=self.address,
                   environment=self._environment, accept=(0, 1))  # fmt: skip
        return done.returncode == 0

    def read(self, revision: str, path: str) -> str:
        """Return a text file at a revision.

        :raises FileNotFound: no such regular file.
        """
        listed = self._git("ls-tree", "-z", "--end-of-options", revision, path).rstrip("\0")
        mode, _, rest = listed.partition(" ")
        if mode not in ("100644", "100755"):
            found = "a symbolic link or folder" if listed else "nothing"
            raise FileNotFound(f"{path} at {revision[:12]} of {self.address} is {found}, not a regular file.")
        blob = rest.split("\t")[0].split(" ")[1]
        if blob not in self._blobs:
            # Fetched now: it is not in the history that came.
            self._blobs[blob] = self._git("cat-file", "blob", blob)
        return self._blobs[blob]

    def is_changed(self, path: str, old: str, new: str) -> bool:
        """Say whether a commit reachable from ``new`` and not from ``old`` changed a file."""
        return bool(self._git("rev-list", "--max-count=1", "--end-of-options", new, f"^{old}", "--", path).strip())

    def last_change(self, branch: str, path: str) -> str:
        """Return the newest commit of a fetched branch that changed a file."""
        return self._git("log", "-1", "--format=%H", "--end-of-options", f"refs/heads/{branch}", "--", path).strip()

    def commit_with_trailer(self, branch: str, name: str, value: str) -> str | None:
        """Return the newest commit of a fetched branch whose message ends with a trailer."""
        shown = f"%H%x1f%(trailers:key={name},valueonly,separator=%x1f)"
        printed = self._git("log", f"--format={shown}", "--fixed-strings", f"--grep={name}: {value}",
                            "--end-of-options", f"refs/heads/{branch}")  # fmt: skip
        found = (line.split("\x1f") for line in printed.splitlines())
        return next((sha for sha, *values in found if value in values), None)

    def push_edit(
        self,
        branch: str,
        path: str,
        edit: Callable[[str, str], str],
        *,
        message: Callable[[FileEdit], str],
        author: str,
    ) -> tuple[FileEdit, str]:
        """Change one file on a branch with one commit, applying the edit anew whenever somebody else was first.

        :param edit: takes the file and the branch head it was read at, returns the file as it shall be; may raise.
        :param author: ``Name <address>``.
        :return: the edit, and the commit that made it; without a change the commit that last touched the file.
        :raises StillRejected: the branch moved under every try.
        """
        for number in range(1, PUSH_TRIES + 1):
            head = self.fetch_branch(branch)
            before = self.read(head, path)
            done = FileEdit(path, before, edit(before, head))
            if not done.changes:
                return done, self.last_change(branch, path)
            commit = self._commit_file(head, done, message(done), author)
            try:
                self._push(commit, branch)
            except PushRejected:
                self._pause(random.uniform(0.05, 0.3) * number)  # noqa: S311 - spreads writers, guards nothing
                continue
            return done, commit
        raise StillRejected(f"{self.address}: branch {branch} moved under {PUSH_TRIES} pushes; try again later.")

    @changes("git.push")
    def _push(self, commit: str, branch: str) -> None:
        """Move a branch of the remote to a commit on top of it."""
        self._git("push", "--porcelain", "--end-of-options", "origin", f"{commit}:refs/heads/{branch}")

    def _commit_file(self, parent: str, edit: FileEdit, message: str, author: str) -> str:
        """Make a commit on top of another that changes one file; neither other files nor an index are needed."""
        stream = (
            f"commit {_EDIT}\nmark :1\nauthor {author} now\ncommitter {author} now\n{_data(message)}"
            f"from {parent}\nM 100644 inline {edit.path}\n{_data(edit.after)}get-mark :1\ndone\n"
        )
        options = ("--quiet", "--done", "--force", "--date-format=now")
        return self._git("fast-import", *options, stdin=stream).strip()


def _data(text: str) -> str:
    """Return a text as git-fast-import(1) reads it: with its length in bytes."""
    return f"data {len(text.encode())}\n{text}\n"

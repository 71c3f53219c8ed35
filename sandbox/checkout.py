"""A clone of a repository in which a person works with real git: the seed's, the demo's and the tests' hands."""

from __future__ import annotations

import base64
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.processes import SandboxError
from sandbox.stand_ins.gitlab_git import environment as git_environment


class Checkout:
    """A clone in a temporary folder.

    :param url: of a repository at GitLab.
    :param person: GitLab user name; the author and committer.
    :param token: of that person.
    """

    def __init__(self, url: str, person: str, token: str) -> None:
        self.url = url
        self._folder = tempfile.TemporaryDirectory(prefix="platform-ops-checkout-")
        self.root = Path(self._folder.name)
        login = base64.b64encode(f"oauth2:{token}".encode()).decode()
        self._environment = git_environment(
            GIT_CONFIG_COUNT="2",
            GIT_CONFIG_KEY_0="http.extraHeader",
            GIT_CONFIG_VALUE_0=f"Authorization: Basic {login}",
            GIT_CONFIG_KEY_1="init.defaultBranch",
            GIT_CONFIG_VALUE_1="main",
            GIT_TERMINAL_PROMPT="0",
            GIT_AUTHOR_NAME=person.capitalize(),
            GIT_AUTHOR_EMAIL=f"{person}@example.com",
            GIT_COMMITTER_NAME=person.capitalize(),
            GIT_COMMITTER_EMAIL=f"{person}@example.com",
        )
        self.git("clone", "--quiet", "--", url, ".")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def git(self, *arguments: str) -> str:
        """Run git and return what it printed."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            env=self._environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise SandboxError(f"git {arguments[0]} in a clone of {self.url} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def switch(self, branch: str) -> None:
        """Go to a branch as the remote has it."""
        self.git("fetch", "--quiet", "origin")
        self.git("checkout", "--quiet", "-B", branch, f"origin/{branch}")

    def write(self, files: Mapping[str, str]) -> None:
        """Write files by their path below the root."""
        for path, text in files.items():
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def commit(self, title: str) -> str:
        """Commit everything that changed and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", title)
        return self.head()

    def head(self) -> str:
        """Return the commit that is checked out."""
        return self.git("rev-parse", "HEAD")

    def push(self, *branches: str) -> None:
        """Push what is checked out to branches of the remote."""
        self.git("push", "--quiet", "origin", *(f"HEAD:refs/heads/{branch}" for branch in branches))

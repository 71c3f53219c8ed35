"""A whole repository on disk: every ref and all they reach."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol, cast

from platform_ops.common.errors import NotFound
from platform_ops.common.git_command import GIT_SECONDS, WHOLE_SECONDS, git, git_environment
from platform_ops.systems.git.errors import GitFailed, RefMoved

_CHUNK = 256 * 1024


class Writable(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Take all of the bytes."""


class Mirror:
    """A bare repository.

    :param environment: of git, with the credentials of its remote.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = environment or git_environment()

    def _git(self, *arguments: str, seconds: float = GIT_SECONDS) -> str:
        done = git(self._folder, arguments, what=str(self._folder), environment=self._environment, seconds=seconds)
        return done.stdout

    def clone(self, address: str) -> None:
        """Fetch everything the remote shows into this new folder.

        :raises RefMoved: a branch was rewritten meanwhile, and the remote collected what it had shown.
        """
        self._folder.mkdir()
        self._git("init", "--quiet", "--bare", "--template=")
        try:
            git(
                self._folder,
                ["fetch", "--quiet", "--no-tags", "--end-of-options", address, "+refs/*:refs/*"],
                what=address,
                environment=self._environment,
                seconds=WHOLE_SECONDS,
            )
        except NotFound as error:
            # We asked for nothing but what it had just shown us.
            if "not our ref" not in str(error):
                raise
            raise RefMoved(
                f"{address} no longer has what one of its refs led to a moment ago: the ref was rewritten and the "
                f"repository collected while it was fetched. {error}"
            ) from error
        head = git(
            self._folder, ["ls-remote", "--symref", "--", address, "HEAD"], what=address, environment=self._environment
        ).stdout
        if head.startswith("ref: "):
            self._git("symbolic-ref", "HEAD", head.removeprefix("ref: ").partition("\t")[0])

    def refs(self) -> dict[str, str]:
        """Return every ref and what it points to."""
        lines = self._git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def head(self) -> str:
        """Return the name of the default branch."""
        return self._git("symbolic-ref", "HEAD").strip()

    def version(self) -> str:
        """Return git's version."""
        return self._git("version").strip().removeprefix("git version ")

    def write_bundle(self, out: Writable) -> None:
        """Write a bundle of every ref.

        :raises GitFailed: git could not read an object.
        """
        # A file: a pipe that nobody empties would stop git.
        with tempfile.TemporaryFile() as complaints:
            program = subprocess.Popen(
                ["git", "bundle", "create", "--quiet", "-", "--all"],
                cwd=self._folder,
                env=dict(self._environment),
                stdout=subprocess.PIPE,
                stderr=complaints,
            )
            printed = cast("IO[bytes]", program.stdout)
            try:
                while data := printed.read(_CHUNK):
                    out.write(data)
                code = program.wait(GIT_SECONDS)
            finally:
                program.kill()
                program.wait()
                printed.close()
            if code:
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip()
                raise GitFailed(f"git bundle of {self._folder} failed: {said[-400:]}")

    def restore(self, bundle: Path, head: str) -> None:
        """Fetch every ref of a bundle into this new folder.

        :param head: the default branch.
        """
        self._folder.mkdir()
        self._git("init", "--quiet", "--bare", "--template=")
        self._git(
            "fetch", "--quiet", "--no-tags", "--end-of-options", str(bundle), "+refs/*:refs/*", seconds=WHOLE_SECONDS
        )
        if head:
            self._git("symbolic-ref", "HEAD", head)

    def check(self) -> list[str]:
        """Read every object and return what git finds wrong."""
        done = git(
            self._folder,
            ["fsck", "--full", "--no-dangling", "--no-progress"],
            what=str(self._folder),
            environment=self._environment,
            accept=range(64),
            seconds=WHOLE_SECONDS,
        )
        if not done.returncode:
            # What it says then is no fault, as of a default branch that nobody has pushed.
            return []
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        return said or [f"exit code {done.returncode}"]

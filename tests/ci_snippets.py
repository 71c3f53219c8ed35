"""The release script of CI, taken out of the two files that people copy, and run as GitLab and Jenkins would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parents[1] / "include" / "ci"
JENKINSFILE = FOLDER / "Jenkinsfile"
GITLAB_FILE = FOLDER / "release.gitlab-ci.yml"
TOOLS = ("curl", "awk", "date", "sleep")
"""All that the script may use beside the shell."""
SHELLS = ("sh", "bash", "busybox")


def of_gitlab() -> str:
    (script,) = YAML(typ="safe").load(GITLAB_FILE)[".release"]["script"]
    return str(script)


def of_jenkins() -> str:
    """Return what Groovy makes of the string."""
    _, script, _ = JENKINSFILE.read_text().split("'''")
    assert "\\" not in script, "Groovy reads backslashes in ''' strings as escapes"
    return script


def found(tool: str) -> str:
    """Return the path of a tool the project does not install."""
    path = shutil.which(tool)
    if path is None:
        absent = f"no {tool} on this machine: install the package {tool}"
        if os.environ.get("CI") == "true":
            pytest.fail(absent)
        pytest.skip(absent)
    return path


@dataclass(frozen=True)
class Machine:
    """A machine of a CI system that has nothing but a shell and the tools the script may use.

    :param folder: all of PATH; it keeps the command lines the tools were given.
    :param shell: the command that runs a script.
    """

    folder: Path
    system: str
    shell: tuple[str, ...]
    variables: dict[str, str]

    @classmethod
    def make(cls, folder: Path, system: str, shell: str, variables: Mapping[str, str]) -> Machine:
        """Make the folder; with busybox as the shell, the other tools are busybox too."""
        folder.mkdir()
        program = found(shell)
        applets = shell == "busybox"
        for tool in TOOLS:
            real = f"{program} {tool}" if applets and tool != "curl" else found(tool)
            (folder / tool).write_text(
                f'#!/bin/sh\nprintf "%s\\n" "{tool} $*" >> "{folder}/command-lines"\nexec {real} "$@"\n'
            )
            (folder / tool).chmod(0o755)
        return cls(folder, system, (program, "sh") if applets else (program,), dict(variables))

    @contextmanager
    def job(self, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """Begin the job with more variables; at the end of the block it is gone."""
        line, text = self._command()
        process = subprocess.Popen(
            line,
            env={"PATH": str(self.folder), "RELEASE_PAUSE": "0", **self.variables, **variables},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdin
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None
        with process:
            try:
                yield process
            finally:
                process.kill()

    def _command(self) -> tuple[list[str], str]:
        if self.system == "gitlab":
            # The runner pipes its script into the shell of the image.
            return [*self.shell], f"set -e\n{of_gitlab()}"
        path = self.folder / "script.sh"
        path.write_text(of_jenkins())
        return [*self.shell, "-xe", str(path)], ""

    def run(self, **variables: str) -> tuple[int, str]:
        """Run the job; return the exit code and all output."""
        with self.job(**variables) as process:
            output, _ = process.communicate(timeout=180)
        return process.returncode, output

    def command_lines(self) -> str:
        """Return what the tools were given so far."""
        path = self.folder / "command-lines"
        return path.read_text() if path.exists() else ""

    def set_clock(self, step: int) -> None:
        """Let every look at the clock be so many seconds after the one before."""
        clock = self.folder / "clock"
        clock.write_text("1000000")
        (self.folder / "date").write_text(
            f'#!/bin/sh\nread now < "{clock}"\necho $((now + {step})) > "{clock}"\necho "$now"\n'
        )

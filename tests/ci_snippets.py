"""The release script of CI, taken out of the two files that people copy, as GitLab and Jenkins would take it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
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


def make_machine(folder: Path, shell: str = "sh") -> list[str]:
    """Make a folder that is all of PATH: the tools, as busybox has them when that is the shell; return the shell.

    Everything but the shell notes the command lines it is given in ``command-lines``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program, applet = found(shell), []
    if shell == "busybox":
        applet = ["sh"]
    for tool in TOOLS:
        real = f"{program} {tool}" if applet and tool != "curl" else found(tool)
        path = folder / tool
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "{tool} $*" >> "{folder}/command-lines"\nexec {real} "$@"\n')
        path.chmod(0o755)
    return [program, *applet]


def command(system: str, shell: list[str], folder: Path) -> tuple[list[str], str]:
    """Return the command line and the input with which a CI system runs the script."""
    if system == "gitlab":
        # The runner pipes its script into the shell of the image.
        return shell, f"set -e\n{of_gitlab()}"
    path = folder / "script.sh"
    path.write_text(of_jenkins())
    return [*shell, "-xe", str(path)], ""


def environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": str(folder), "RELEASE_PAUSE": "0", **variables}

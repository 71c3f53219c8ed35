"""Follows RESTORE.md as it is printed: every block is a script of its own, which a plain ``sh`` runs."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from platform_ops.backups.points import Manifest
from platform_ops.backups.restore_text import restore_text

STOPPED = "STOPPED: the step above failed, and nothing after it was done."


def scripts(text: str) -> list[str]:
    """Return the blocks of a text."""
    return re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)


def restoring(manifest: Manifest, commands: str) -> list[str]:
    """Return the block that the frame makes of a kind's commands, where the parts lie there already."""
    return scripts(restore_text(manifest, "backups", commands))[-1:]


def by_hand(block: str) -> str:
    """Return the commands that a block leaves to a person: comments that are set in."""
    return "\n".join(line.removeprefix("#   ") for line in block.splitlines() if line.startswith("#   "))


def run(
    blocks: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] = {},
    path: Sequence[Path | str] = (),
    owner: tuple[int, int] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run blocks one after the other up to the first that fails, and return the last that ran.

    :param path: folders that are looked through before those of the PATH.
    :param owner: user and group who run them.
    """
    found = os.environ | {"PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]])} | environment
    who: dict[str, Any] = {"user": owner[0], "group": owner[1], "extra_groups": []} if owner else {}
    ran = subprocess.CompletedProcess[str]((), 0, "", "")
    for block in blocks:
        ran = subprocess.run(
            ["sh"], input=block, cwd=folder, env=found, capture_output=True, text=True, check=False, **who
        )
        if ran.returncode:
            break
    return ran


def follow(
    blocks: Sequence[str], folder: Path, environment: Mapping[str, str] = {}, path: Sequence[Path | str] = ()
) -> str:
    """Run blocks to their end, and return what the last one printed."""
    ran = run(blocks, folder, environment, path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout

"""The one way to run the git command line: no prompts, no foreign configuration, credentials off the argument list."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from platform_ops.common.errors import AuthenticationFailed, FailNow, NotFound, TryAgain, Unreachable
from platform_ops.common.fail_points import around_change

GIT_SECONDS = 120.0
WHOLE_SECONDS = 6 * 3600.0
"""For all of a repository; a network that stands still ends it sooner (``http.lowSpeedTime``)."""

_CLOSED = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ASKPASS": "true",
    "LC_ALL": "C",
}
_CONFIGURATION = {
    "protocol.allow": "never",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "protocol.file.allow": "user",
    "credential.helper": "",
    "core.hooksPath": os.devnull,
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
}


class GitFailed(FailNow):
    """git said no."""


class PushRejected(TryAgain):
    """Somebody else pushed first."""


def git_environment(
    *, credentials: tuple[str, str] | None = None, configuration: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a git command.

    The credential travels as a header in the environment: arguments are visible to every user of the machine.

    :param credentials: user name and password for HTTP.
    :param configuration: of git, beside our own; a process for each `git config` would take longer than a fetch.
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull, **_CLOSED}
    if "SSL_CERT_FILE" in os.environ:
        environment["GIT_SSL_CAINFO"] = os.environ["SSL_CERT_FILE"]
    settings = {**_CONFIGURATION, **(configuration or {})}
    if credentials:
        token = base64.b64encode(":".join(credentials).encode()).decode()
        settings["http.extraHeader"] = f"Authorization: Basic {token}"
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment


def git(
    folder: Path,
    arguments: Sequence[str],
    *,
    what: str,
    environment: Mapping[str, str],
    stdin: str | None = None,
    accept: Sequence[int] = (0,),
    seconds: float = GIT_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run git in a folder and return what it printed.

    :param what: the object a person would name, for messages.
    :param accept: exit codes the caller judges itself.
    :raises PlatformError: the class that git's message stands for.
    """
    try:
        with around_change() if arguments[0] == "push" else nullcontext():
            done = subprocess.run(
                ["git", *arguments],
                cwd=folder,
                env=dict(environment),
                input=stdin,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=seconds,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"git {arguments[0]} for {what} took longer than {seconds:.0f} s.") from error
    if done.returncode not in accept:
        raise _classify(arguments[0], what, done.stderr + done.stdout)
    return done


_SIGNS: tuple[tuple[str, type[FailNow | TryAgain]], ...] = (
    ("Authentication failed", AuthenticationFailed),
    ("could not read Username", AuthenticationFailed),
    ("returned error: 401", AuthenticationFailed),
    ("returned error: 403", AuthenticationFailed),
    ("returned error: 404", NotFound),
    ("not found", NotFound),
    ("not our ref", NotFound),
    ("couldn't find remote ref", NotFound),
    ("unadvertised object", NotFound),
    ("[rejected]", PushRejected),
    ("[remote rejected]", PushRejected),
    ("Could not resolve host", Unreachable),
    ("Failed to connect", Unreachable),
    ("Couldn't connect", Unreachable),
    ("Empty reply", Unreachable),
    ("hung up", Unreachable),
    ("early EOF", Unreachable),
    ("RPC failed", Unreachable),
    ("Recv failure", Unreachable),
    ("Send failure", Unreachable),
    ("timed out", Unreachable),
    ("Operation too slow", Unreachable),
    ("returned error: 429", Unreachable),
    ("returned error: 5", Unreachable),
)


def _classify(verb: str, what: str, said: str) -> FailNow | TryAgain:
    """Turn git's words into an error; servers word one thing differently, so the list is of signs, not of sentences."""
    kind = next((kind for sign, kind in _SIGNS if sign in said), GitFailed)
    lines = [line for line in said.strip().splitlines() if line.strip()]
    return kind(f"git {verb} for {what} failed: {' / '.join(lines[-3:])[:400] or 'without a word'}")

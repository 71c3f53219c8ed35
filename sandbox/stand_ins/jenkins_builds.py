"""What one Jenkins build does: check out the commit, run its tests, build and push the image.

It behaves as a job with the shell step `pytest --junitxml` followed by the JUnit publisher: failing tests make the
shell step, and so the build, a FAILURE, and the test report is there all the same.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx

from sandbox.oci import push_image

STEP_SECONDS = 120
HEX40 = re.compile(r"[0-9a-f]{40}")


class StepFailed(Exception):
    """The build ends as FAILURE."""


class Stopped(Exception):
    """The build ends as ABORTED."""


class BuildRun:
    """One build on an executor; ``run`` blocks until it ended.

    :param folder: of this build; ``log`` appears in it as the build goes.
    :param workspaces: where throw-away checkouts are made.
    :param environment: the sandbox's contract.
    """

    def __init__(
        self,
        *,
        job: str,
        number: int,
        git_url: str,
        parameters: Mapping[str, str],
        folder: Path,
        workspaces: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.job = job
        self.number = number
        self.git_url = git_url
        self.parameters = parameters
        self.environment = environment
        self.folder = folder
        self.workspaces = workspaces
        self.log_path = folder / "log"
        self.cases: list[dict[str, Any]] | None = None
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask the build to end as ABORTED."""
        self._stop.set()

    def run(self) -> str:
        """Do everything and return Jenkins's result word."""
        self.log("Started by user platform-ops")
        workspace = Path(tempfile.mkdtemp(dir=self.workspaces))
        try:
            self._build(workspace)
            result = "SUCCESS"
        except StepFailed as failure:
            self.log(f"ERROR: {failure}")
            result = "FAILURE"
        except Stopped as reason:
            self.log(str(reason))
            result = "ABORTED"
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
        self.log(f"Finished: {result}")
        return result

    def log(self, line: str) -> None:
        with self.log_path.open("a") as log:
            log.write(f"{line}\n")

    def _build(self, workspace: Path) -> None:
        commit, tree = self.parameters.get("COMMIT", ""), self.parameters.get("TREE", "")
        if not HEX40.fullmatch(commit):
            raise StepFailed(f"COMMIT must be a full commit hash, not {commit!r}")
        repository = workspace / "repository"
        self._fetch(repository, commit)
        found = self._git(repository, "rev-parse", f"{commit}^{{tree}}").strip()
        if found != tree:
            raise StepFailed(f"commit {commit} has the tree {found}, not {tree}")
        self._test(repository, commit, workspace)
        self._push(self._check_out(repository, commit, workspace / "image"), commit)

    def _fetch(self, repository: Path, commit: str) -> None:
        repository.mkdir()
        self.log(f"Fetching {commit} from {self.git_url}")
        self._git(repository, "init", "--quiet", "--bare")
        self._git(repository, "fetch", "--quiet", "--depth=1", "--no-tags", "--", self.git_url, commit)

    def _check_out(self, repository: Path, commit: str, target: Path) -> Path:
        """Write the files of a commit, without a ``.git``, into a folder of their own."""
        target.mkdir()
        self._git(repository, f"--work-tree={target}", "checkout", "--quiet", "--force", commit, "--", ".")
        return target

    def _test(self, repository: Path, commit: str, workspace: Path) -> None:
        # pytest looks upwards for a configuration: an empty one right above the checkout keeps ours out of its sight.
        (workspace / "pytest.ini").write_text("[pytest]\n")
        source = self._check_out(repository, commit, workspace / "source")
        report = workspace / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={source}"]
        command += [f"--junitxml={report}", "tests"]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(workspace),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        self.log("+ python -m pytest -q --junitxml=junit.xml tests")
        code = self._command(command, source, environment)
        if report.is_file():
            self.cases = _cases(report)
        if code:
            raise StepFailed(f"script returned exit code {code}")

    def _push(self, image: Path, commit: str) -> None:
        name = self.job.rpartition("/")[2]
        tag = f"build-{name}-{self.number}"
        labels = {
            "org.opencontainers.image.revision": commit,
            "org.opencontainers.image.source": self.git_url.removesuffix(".git"),
            "org.opencontainers.image.title": name,
        }
        if self._stop.is_set():
            raise Stopped("Aborted")
        self.log(f"Pushing {self.environment['REGISTRY']}/{self.job}:{tag}")
        login = self.environment["HARBOR_USER"], self.environment["HARBOR_PASSWORD"]
        try:
            digest = push_image(self.environment["HARBOR_URL"], self.job, tag, image, labels, login)
        except httpx.HTTPError as error:
            raise StepFailed(f"the registry did not take the image: {type(error).__name__}: {error}") from error
        self.log(f"{tag}: digest: {digest}")

    def _git(self, repository: Path, *arguments: str) -> str:
        """Run git with the GitLab token as a header in the environment: arguments are visible to all."""
        token = base64.b64encode(f"oauth2:{self.environment['GITLAB_TOKEN']}".encode()).decode()
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.devnull,
            "GIT_DIR": str(repository),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {token}",
        }
        with tempfile.TemporaryFile(dir=self.workspaces) as output:
            code = self._command(["git", *arguments], repository, environment, output.fileno())
            output.seek(0)
            said = output.read().decode(errors="replace")
        if code:
            raise StepFailed(f"git {arguments[0]} exited with {code}: {said.strip()[-500:]}")
        return said

    def _command(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], output: int | None = None
    ) -> int:
        """Run a command, its output into the log unless told otherwise, and kill its whole family when stopped."""
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + STEP_SECONDS
        while process.poll() is None:
            late = time.monotonic() >= deadline
            if late or self._stop.wait(0.02):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise Stopped(f"Build timed out after {STEP_SECONDS} s; marked as aborted" if late else "Aborted")
        return process.returncode


def _cases(report: Path) -> list[dict[str, Any]]:
    """Read a JUnit file the way Jenkins's publisher does, as far as its API shows it."""
    cases = []
    for case in ET.parse(report).getroot().iter("testcase"):
        bad = next((child for child in case if child.tag in ("failure", "error")), None)
        status = "FAILED" if bad is not None else "SKIPPED" if case.find("skipped") is not None else "PASSED"
        cases.append(
            {
                "className": case.get("classname", ""),
                "name": case.get("name", ""),
                "duration": float(case.get("time", 0)),
                "status": status,
                "errorDetails": bad.get("message") if bad is not None else None,
                "errorStackTrace": bad.text if bad is not None else None,
            }
        )
    return cases

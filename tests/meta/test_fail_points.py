"""Every call that changes something has a fail point with a name of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.fail_points import calls_without, fail_points
from sandbox.processes import ROOT, SandboxError

GUARDED = """
class Hook:
    @changes("store.write")
    def write(self):
        \"\"\"Write it.\"\"\"
        self.api.call("PUT", "/x", what="it")
"""


def test_no_call_lacks_a_fail_point() -> None:
    assert calls_without() == ()


def test_the_list_on_the_command_line_is_the_one_in_the_source() -> None:
    command = [sys.executable, "-m", "sandbox", "fail-points"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in printed.splitlines()] == [point.name for point in fail_points()]


@pytest.mark.parametrize(
    "call",
    [
        'self.api.call("POST", "/x", what="it")',
        'self.api.json("DELETE", "/x", what="it")',
        "self.api.call(method, path, what=what)",
        'self.api.call(method="PATCH", path="/x", what="it")',
        'self._pool.request("PUT", address)',
        "self.client.put_object(bucket, key, body)",
        "self.client.projects.create(body)",
        "deployments.update(number, body)",
        "client.CoreV1Api(self.api).delete_namespaced_pod(name, namespace)",
        'self._git("push", "origin", ref)',
        'git(folder, ["push", "origin"], what="it", environment={})',
    ],
)
def test_a_call_that_changes_something_is_found(tmp_path: Path, call: str) -> None:
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "hook.py").write_text(f"{GUARDED}\n    def other(self):\n        {call}\n")
    assert [line.split(": ")[0] for line in calls_without(tmp_path / "plugin")] == ["plugin/hook.py:9"]


@pytest.mark.parametrize(
    "call",
    [
        'self.api.call("GET", "/x", what="it")',
        "response.json()",
        'self._git("fetch", "origin")',
        "found.update(other)",
        "self.write()",
    ],
)
def test_a_call_that_reads_needs_none(tmp_path: Path, call: str) -> None:
    (tmp_path / "hook.py").write_text(f"{GUARDED}\n    def other(self):\n        {call}\n")
    assert calls_without(tmp_path) == ()


def test_a_point_is_known_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "hook.py").write_text(GUARDED)
    (point,) = fail_points(tmp_path)
    assert (point.name, point.does) == ("store.write", "Write it.")
    (tmp_path / "other.py").write_text(GUARDED)
    with pytest.raises(SandboxError, match="Two methods"):
        fail_points(tmp_path)

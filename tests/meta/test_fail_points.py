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
        'git(folder, arguments, what="it", environment={})',
        'git(folder, [verb, "origin"], what="it", environment={})',
        "self._git(*arguments)",
        'self.client._execute("DELETE", bucket, key)',
        'self.client._execute("PUT", bucket, body=body)',
        "self.client._put_object(bucket, key, part, headers)",
        "self.client._complete_multipart_upload(bucket, key, upload, parts)",
        "self.client.make_bucket(bucket)",
        "self.client.remove_object(bucket, key)",
        'client.stream("POST", "/x")',
        'client.request("patch", "/x")',
        "client.send(request)",
        "merge_request.merge()",
    ],
)
@pytest.mark.parametrize("file", ["systems/store/hook.py", "systems/store/work.py", "upkeep/checks.py", "web/app.py"])
def test_a_call_that_changes_something_is_found(tmp_path: Path, file: str, call: str) -> None:
    path = tmp_path / "plugin" / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{GUARDED}\n    def other(self):\n        {call}\n")
    assert [line.split(": ")[0] for line in calls_without(tmp_path / "plugin")] == [f"plugin/{file}:9"]


@pytest.mark.parametrize(
    "call",
    [
        'self.api.call("GET", "/x", what="it")',
        "response.json()",
        'self._git("fetch", "origin")',
        'git(folder, ["fetch", "origin", branch], what="it", environment={})',
        'self.client._execute("GET", bucket, key)',
        "self.client._list_multipart_uploads(bucket)",
        'self.programs.stream("pg_dump", options)',
        "request.stream()",
        "found.update(other)",
        "self.write()",
        "hook.write()",
    ],
)
def test_a_call_that_reads_needs_none(tmp_path: Path, call: str) -> None:
    path = tmp_path / "systems" / "store" / "hook.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"{GUARDED}\n    def other(self):\n        {call}\n")
    assert calls_without(tmp_path) == ()


def test_elsewhere_a_verb_is_any_method(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "steps.py").write_text("queue.put(chunk)\npoints.hook.stream(bucket, key)\n")
    assert calls_without(tmp_path) == ()


def test_who_hands_on_to_git_is_not_looked_at_but_who_calls_it(tmp_path: Path) -> None:
    (tmp_path / "systems").mkdir()
    wrapper = "def _git(self, *arguments):\n    return git(self.folder, arguments)\n"
    (tmp_path / "systems" / "hook.py").write_text(f'{wrapper}\n\ndef push(self):\n    self._git("push", "origin")\n')
    assert [line.split(": ")[0] for line in calls_without(tmp_path)] == [f"{tmp_path.name}/systems/hook.py:6"]


def test_a_point_is_known_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "hook.py").write_text(GUARDED)
    (point,) = fail_points(tmp_path)
    assert (point.name, point.does) == ("store.write", "Write it.")
    (tmp_path / "other.py").write_text(GUARDED)
    with pytest.raises(SandboxError, match="Two methods"):
        fail_points(tmp_path)

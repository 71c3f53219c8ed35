"""The demo's approvers: as many as are asked, and no more."""

from pathlib import Path
from unittest.mock import Mock, create_autospec

import httpx
import pytest

from sandbox.airflow_runs import WAITING, Runs
from sandbox.demo import Demo
from sandbox.processes import SandboxError

PEOPLE = {"AIRFLOW_URL": "http://airflow.test", "AIRFLOW_APPROVER_USER": "paula", "AIRFLOW_APPROVER2_USER": "quentin"}


class Stage:
    """A demo whose Airflow answers with these codes, one an approver, and whose run then is in these states."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, codes: list[int], states: list[str]) -> None:
        self.asked: list[str] = []
        self.runs = create_autospec(Runs, instance=True)
        self.runs.answer.side_effect = [httpx.Response(code) for code in codes]
        self.runs.wait.side_effect = states
        monkeypatch.setattr("sandbox.demo.Runs", self._of)
        self.demo = Demo(Path(), PEOPLE)
        self.demo.ended = Mock(spec=self.demo.ended, return_value="sha256:a")
        self.asked.clear()

    def _of(self, _environment: object, role: str) -> Runs:
        self.asked.append(role)
        return self.runs


@pytest.mark.parametrize(
    ("codes", "states", "asked"),
    [
        ([200], ["success"], ["APPROVER"]),
        ([200, 200], [WAITING, "success"], ["APPROVER", "APPROVER2"]),
        ([403, 200], ["success"], ["APPROVER", "APPROVER2"]),
    ],
)
def test_approvers_answer_until_nobody_else_is_asked(
    monkeypatch: pytest.MonkeyPatch, codes: list[int], states: list[str], asked: list[str]
) -> None:
    stage = Stage(monkeypatch, codes, states)
    assert stage.demo.approve("r1") == "sha256:a"
    assert stage.asked == asked
    assert stage.demo.ended.call_args.args[:2] == ("r1", "success")


@pytest.mark.parametrize(
    ("codes", "states", "said"),
    [([403, 403], [], "still waits"), ([200, 200], [WAITING] * 2, "still waits"), ([409], [], "409")],
)
def test_a_release_that_goes_on_waiting_is_an_error(
    monkeypatch: pytest.MonkeyPatch, codes: list[int], states: list[str], said: str
) -> None:
    with pytest.raises(SandboxError, match=said):
        Stage(monkeypatch, codes, states).demo.approve("r1")

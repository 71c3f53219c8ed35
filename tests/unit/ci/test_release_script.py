"""The script of both CI snippets against an Airflow that answers as a test wants it."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.ci_snippets import Machine
from tests.unit.ci.conftest import (
    COMMIT,
    HANG_UP,
    PASSWORD,
    RELEASED,
    RUN,
    RUNNING,
    STARTED,
    Airflow,
    packed,
    status,
)
from tests.waiting import wait_until

INVALID_TOKEN = (403, packed({"detail": "Invalid JWT token"}))
FORBIDDEN = (403, packed({"detail": "Forbidden"}))


def test_a_release_is_started_awaited_and_told(airflow: Airflow, any_machine: Machine) -> None:
    airflow.status = [RUNNING, RELEASED]
    code, output = any_machine.run()
    page = f"{airflow.url}/platform-ops/runs/release_service/{RUN}"
    lines = output.splitlines()
    assert lines[:2] == [f"Started {RUN}.", f"page: {page}"]
    assert lines[2].endswith(" s  running: build_image. 1 of 10 steps are behind it.")
    assert lines[3:] == ["released. All well.", "evidence sha256: e3b0c442", "page: http://page.example.com"]
    assert code == 0
    conf = {"service": "storefront", "environment": "dev", "commit": COMMIT, "reason": ""}
    assert airflow.asked("start") == [("Bearer token-1", {"dag_run_id": RUN, "logical_date": None, "conf": conf})]


def test_a_failed_release_fails_the_job(airflow: Airflow, any_machine: Machine) -> None:
    airflow.status = [RUNNING, status(state="failed", verdict="failed", summary="Tests: 1 test fails.")]
    code, output = any_machine.run()
    assert code == 1
    assert "failed. Tests: 1 test fails.\nevidence sha256: none\n" in output
    assert "RELEASE_TRY" in output


def test_the_password_and_the_token_are_seen_nowhere(airflow: Airflow, any_machine: Machine) -> None:
    airflow.status = [RUNNING, INVALID_TOKEN, RELEASED]
    code, output = any_machine.run()
    assert code == 0
    assert [body for _, body in airflow.asked("login")] == [{"username": "ci", "password": PASSWORD}] * 2
    seen = any_machine.command_lines() + output
    assert "curl --silent" in seen
    assert "token-" not in seen
    assert 'pass"w' not in seen
    assert "$HOME" not in seen


REASON = """-n say "no" \\ and 'yes' \\n \\\\ $HOME `id` $(id) %s

	tab, bell \a, escape \x1b, return \r, é ☃ 日本"""


def test_a_reason_arrives_as_it_is(airflow: Airflow, any_machine: Machine) -> None:
    assert any_machine.run(RELEASE_REASON=REASON)[0] == 0
    ((_, body),) = airflow.asked("start")
    assert body["conf"]["reason"] == REASON


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        ("released", 0),
        ("superseded", 0),
        *((word, 1) for word in ("rejected", "expired", "refused", "failed", "unrecorded", "success", "releasedx")),
    ],
)
def test_the_verdict_is_the_exit_code(airflow: Airflow, machine: Machine, verdict: str, code: int) -> None:
    airflow.status = [status(verdict=verdict, summary="Because.")]
    ended, output = machine.run()
    assert ended == code
    assert f"{verdict}. Because.\n" in output
    assert ("newer commit stands" in output) == (verdict == "superseded")


def test_a_run_that_exists_is_joined(airflow: Airflow, machine: Machine) -> None:
    airflow.start = [(409, packed({"detail": {"reason": "Unique constraint violation"}}))]
    code, output = machine.run()
    assert code == 0
    assert f"The run {RUN} exists already: joining it.\n" in output


def test_another_try_has_another_run(airflow: Airflow, machine: Machine) -> None:
    machine.run(RELEASE_TRY="2", RELEASE_OUTAGE="0")
    assert airflow.asked("start")[0][1]["dag_run_id"] == f"{RUN}__2"


def test_a_release_that_waits_names_where_to_answer(airflow: Airflow, machine: Machine) -> None:
    where = "http://airflow.example.com/required_actions"
    waiting = status(state="running", summary="waiting for approval. paula may answer.", answer_at=where)
    airflow.status = [RUNNING, waiting, RELEASED]
    assert f"waiting for approval. paula may answer. Answer at {where}\n" in machine.run()[1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((400, packed({"detail": "'x' is not one of ['y']\n\nFailed validating"})), "(400): 'x' is not one of ['y']\n"),
        (FORBIDDEN, "user ci start releases (403): Forbidden\n"),
        ((401, packed({"detail": "Not authenticated"})), "(401): Not authenticated\n"),
        ((404, packed({"detail": "Dag with dag_id: 'x' not found"})), "(404): Dag with dag_id: 'x' not found\n"),
        ((422, packed({"detail": [{"msg": "Field required"}]})), "Field required"),
    ],
)
def test_a_refusal_is_told_and_not_asked_again(
    airflow: Airflow, machine: Machine, answer: tuple[int, str], words: str
) -> None:
    airflow.start = [answer]
    code, output = machine.run()
    assert code == 1
    assert words in output
    assert len(airflow.asked("start")) == 1
    assert airflow.asked("status") == []


def test_a_wrong_password_is_told(airflow: Airflow, machine: Machine) -> None:
    airflow.login = [(401, packed({"detail": "Invalid credentials"}))]
    code, output = machine.run()
    assert (code, output) == (1, "Airflow does not take the user ci with this password (401). Nothing was started.\n")
    assert len(airflow.asked("login")) == 1


@pytest.mark.parametrize(
    "answer", [(422, PASSWORD), (200, "<html>log in</html>"), (201, '{"access_token": "a b"}'), (302, "")]
)
def test_no_token_is_told_without_the_answer(airflow: Airflow, machine: Machine, answer: tuple[int, str]) -> None:
    airflow.login = [answer]
    code, output = machine.run()
    assert code == 1
    assert f"{airflow.url}/auth/token" in output
    assert 'pass"w' not in output
    assert airflow.asked("start") == []


@pytest.mark.parametrize(
    "passing", [HANG_UP, (500, "Internal Server Error"), (503, "<html>\nbusy"), (429, "slow down"), (408, "")]
)
def test_passing_trouble_is_survived(airflow: Airflow, machine: Machine, passing: tuple[int, str]) -> None:
    token = (201, packed({"access_token": "token-1"}))
    airflow.login, airflow.start = [passing, token], [passing, STARTED]
    airflow.status = [RUNNING, passing, passing, RUNNING, passing, RELEASED]
    code, output = machine.run()
    assert code == 0
    assert "No usable answer, asking again: " in output


@pytest.mark.parametrize("unusable", [(200, "<html>log in</html>"), (200, ""), (404, "{}"), (302, "")])
def test_what_is_no_status_is_no_verdict(airflow: Airflow, machine: Machine, unusable: tuple[int, str]) -> None:
    airflow.status = [RUNNING, unusable, RELEASED]
    assert machine.run()[0] == 0
    airflow.status = [unusable]
    code, output = machine.run(RELEASE_OUTAGE="0")
    assert code == 1
    assert "The release goes on: " in output


def test_trouble_that_lasts_fails_the_job_and_each_answer_forgives_it(airflow: Airflow, machine: Machine) -> None:
    machine.set_clock(60)
    airflow.status = [HANG_UP, RUNNING] * 20 + [RELEASED]
    assert machine.run(RELEASE_OUTAGE="600")[0] == 0
    airflow.status = [RUNNING, HANG_UP]
    code, output = machine.run(RELEASE_OUTAGE="600")
    assert code == 1
    assert "Giving up after 600 s: 000 curl: (52)" in output


def test_an_airflow_that_is_not_there_starts_nothing(machine: Machine) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        code, output = machine.run(AIRFLOW_URL=f"http://127.0.0.1:{free.getsockname()[1]}", RELEASE_OUTAGE="0")
    assert code == 1
    assert "Nothing was started." in output
    assert "curl: (7)" in output


def test_a_start_whose_answer_was_lost_is_joined(airflow: Airflow, machine: Machine) -> None:
    airflow.start = [HANG_UP, (409, "{}")]
    code, output = machine.run()
    assert code == 0
    assert "joining it" in output
    airflow.start = [HANG_UP]
    assert "Whether the release was started is not known: " in machine.run(RELEASE_OUTAGE="0")[1]


def test_an_expired_token_is_replaced(airflow: Airflow, machine: Machine) -> None:
    airflow.status = [RUNNING, INVALID_TOKEN, RUNNING, (401, "{}"), RELEASED]
    assert machine.run()[0] == 0
    tokens = [authorization for authorization, _ in airflow.asked("status")]
    assert tokens == [f"Bearer token-{number}" for number in (1, 1, 2, 2, 3)]


def test_a_right_that_is_lacking_ends_the_wait(airflow: Airflow, machine: Machine) -> None:
    airflow.status = [FORBIDDEN]
    code, output = machine.run()
    assert code == 1
    assert "does not let the user ci read releases (403): Forbidden" in output
    assert len(airflow.asked("login")) == 2


@pytest.mark.parametrize(("environment", "hours"), [("dev", 2), ("rc", 2), ("prod", 50)])
def test_the_wait_ends_by_itself_and_says_that_the_release_goes_on(
    airflow: Airflow, machine: Machine, environment: str, hours: int
) -> None:
    machine.set_clock(600)
    airflow.status = [RUNNING]
    code, output = machine.run(RELEASE_ENVIRONMENT=environment, RELEASE_OUTAGE="1000000")
    assert code == 124
    assert f"Waiting no longer than {hours * 3600} s. The release goes on: {airflow.url}/" in output
    assert "Waiting no longer than 7 s." in machine.run(RELEASE_TIMEOUT="7", RELEASE_ENVIRONMENT=environment)[1]


def test_an_unchanged_line_is_said_again_every_half_minute(airflow: Airflow, machine: Machine) -> None:
    machine.set_clock(5)
    airflow.status = [RUNNING] * 20 + [RELEASED]
    output = machine.run()[1]
    # Two looks at the clock each round: 20 rounds are 200 s.
    assert output.count("running: build_image") in (6, 7)


def test_a_cancelled_job_leaves_the_release_and_says_so(airflow: Airflow, any_machine: Machine) -> None:
    airflow.status = [RUNNING]
    with any_machine.job(RELEASE_PAUSE="600") as process:
        wait_until(lambda: "sleep 600" in any_machine.command_lines(), "the wait of the script")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Cancelled here. The release goes on: {airflow.url}/platform-ops/runs/release_service/{RUN}\n" in output


@pytest.mark.parametrize(
    "name", ["AIRFLOW_URL", "AIRFLOW_USER", "AIRFLOW_PASSWORD", "RELEASE_SERVICE", "RELEASE_ENVIRONMENT"]
)
def test_a_variable_that_is_missing_is_named(airflow: Airflow, machine: Machine, name: str) -> None:
    assert machine.run(**{name: ""}) == (1, f"The variable {name} is missing or empty.\n")
    del machine.variables[name]
    assert machine.run() == (1, f"The variable {name} is missing or empty.\n")
    assert airflow.requests == []


def test_a_missing_commit_is_told(machine: Machine) -> None:
    assert machine.run(CI_COMMIT_SHA="") == (1, "No commit to release: set RELEASE_COMMIT.\n")


@pytest.mark.parametrize("tool", ["curl", "awk"])
def test_an_image_without_the_tools_is_told(airflow: Airflow, machine: Machine, tool: str) -> None:
    (machine.folder / tool).unlink()
    code, output = machine.run()
    assert code == 1
    assert "needs curl and awk" in output
    assert airflow.requests == []

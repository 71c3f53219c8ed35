"""CI's release job, from both snippets, in the sandbox."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.airflow_runs import DAG_ID
from tests.ci_snippets import Machine
from tests.functional.world import RED_TEST, World

Make = Callable[..., Machine]
SERVICES: dict[str, dict[str, str]] = {"ci-green": {}, "ci-red": {}}


@pytest.fixture
def make_job(world: World, tmp_path: Path) -> Make:
    """Make the job of a service and an environment, with CI's account."""

    def make(service: str, environment: str, commit: str, system: str = "gitlab", shell: str = "sh") -> Machine:
        variables = {
            "AIRFLOW_URL": world.url("AIRFLOW"),
            "AIRFLOW_USER": world.environment["AIRFLOW_CI_USER"],
            "AIRFLOW_PASSWORD": world.environment["AIRFLOW_CI_PASSWORD"],
            "RELEASE_SERVICE": service,
            "RELEASE_ENVIRONMENT": environment,
            "RELEASE_REASON": 'for "CI"',
            "RELEASE_PAUSE": "1",
            "CI_COMMIT_SHA" if system == "gitlab" else "GIT_COMMIT": commit,
        }
        return Machine.make(tmp_path / f"{system} {environment}", system, shell, variables)

    return make


def ends(world: World, run: str, output: str) -> None:
    """Require what every job says at its end, and none of the secrets."""
    facts = world.facts(run, "record_evidence")
    assert f"{facts['verdict']}. " in output
    assert f"evidence sha256: {facts['sha256']}\n" in output
    assert f"page: {world.url('AIRFLOW', f'/platform-ops/runs/{DAG_ID}/{run}')}\n" in output
    assert world.environment["AIRFLOW_CI_PASSWORD"] not in output


def test_a_push_is_joined_and_an_older_commit_is_superseded(world: World, make_job: Make) -> None:
    older = world.push("ci-green", "dev", title="Older")
    run = world.run_id("ci-green", "dev", older)
    job = make_job("ci-green", "dev", older)
    code, output = job.run()
    assert code == 0, output
    ends(world, run, output)
    assert "released. ci-green in dev runs commit" in output
    # Whoever was first, it is one release, and another job of the same commit ends as it did.
    code, output = job.run()
    assert code == 0
    assert output.startswith(f"The run {run} exists already: joining it.\n")
    secrets = job.command_lines()
    assert "curl " in secrets
    assert world.environment["AIRFLOW_CI_PASSWORD"] not in secrets
    assert "Bearer" not in secrets

    newer = world.push("ci-green", "dev", title="Newer")
    assert world.released("ci-green", "dev", newer) == "released"
    code, output = job.run(RELEASE_TRY="2")
    assert code == 0, output
    ends(world, f"{run}__2", output)
    assert "superseded. " in output
    assert "A newer commit stands already" in output


@pytest.mark.parametrize("system", ["gitlab", "jenkins"])
def test_a_red_test_fails_the_job_and_is_named(world: World, make_job: Make, system: str) -> None:
    commit = world.push("ci-red", "dev", files=RED_TEST, title=f"Break the sum for {system}")
    code, output = make_job("ci-red", "dev", commit, system).run()
    assert code == 1
    ends(world, world.run_id("ci-red", "dev", commit), output)
    assert "failed. " in output
    assert "test_the_sum_is_right" in output


@pytest.mark.parametrize(("system", "shell"), [("gitlab", "busybox"), ("jenkins", "sh")])
def test_production_waits_says_for_whom_and_goes_on(world: World, make_job: Make, system: str, shell: str) -> None:
    commit = world.push("ci-green", "rc", "master", title=f"To production by {system}")
    assert world.released("ci-green", "rc", commit) == "released"
    run = world.run_id("ci-green", "prod", commit)
    with make_job("ci-green", "prod", commit, system, shell).job() as process:
        assert process.stdout
        before = []
        for line in process.stdout:
            before.append(line)
            if "waiting for approval" in line:
                break
        assert "paula or quentin may answer" in line
        assert f"Answer at {world.url('AIRFLOW', f'/dags/{DAG_ID}/runs/{run}/tasks/approve_release/')}" in line
        assert world.runs("APPROVER").answer(run, "Approve").status_code == 200
        after, _ = process.communicate(timeout=180)
    output = "".join(before) + after
    assert process.returncode == 0, output
    assert output.startswith(f"Started {run}.\npage: ")
    ends(world, run, output)
    document = world.evidence(run)
    assert (document["started_by"], document["subject"]["reason"]) == ("ci", 'for "CI"')


def test_what_may_not_start_says_why(world: World, make_job: Make) -> None:
    commit = "f" * 40
    job = make_job("ci-green", "dev", commit)
    code, output = job.run(AIRFLOW_PASSWORD="wrong-wrong-wrong")
    assert (code, output) == (1, "Airflow does not take the user ci with this password (401). Nothing was started.\n")
    code, output = job.run(RELEASE_SERVICE="nothing")
    assert code == 1
    assert "(400): Invalid input for param service: 'nothing' is not one of ['bad-input'" in output
    viewer = {name: world.environment[f"AIRFLOW_VIEWER_{name}"] for name in ("USER", "PASSWORD")}
    code, output = job.run(AIRFLOW_USER=viewer["USER"], AIRFLOW_PASSWORD=viewer["PASSWORD"])
    assert (code, output) == (1, "Airflow does not let the user victor start releases (403): Forbidden\n")
    assert world.admin.state(world.run_id("ci-green", "dev", commit)) is None

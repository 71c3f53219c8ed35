"""The two files of CI that people copy: one script, keys GitLab knows, and every variable described."""

import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.ci_snippets import GITLAB_FILE, found, of_gitlab, of_jenkins

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trigger-from-ci.md"
# From app/assets/javascripts/editor/schema/ci.json of GitLab: `job_template` and, one level below, `environment`,
# `image` and `rules`.
JOB_KEYS = {"stage", "image", "interruptible", "timeout", "variables", "script", "extends", "environment", "rules"}
INNER_KEYS = {
    "image": {"name", "entrypoint"},
    "environment": {"name", "deployment_tier", "action"},
    "rules": {"if", "when"},
}


@pytest.fixture
def jobs() -> dict[str, dict[str, Any]]:
    return dict(YAML(typ="safe").load(GITLAB_FILE))


def test_both_files_hold_the_same_script() -> None:
    assert textwrap.dedent(of_jenkins()).strip() == of_gitlab().strip()


def test_gitlab_knows_every_key(jobs: dict[str, dict[str, Any]]) -> None:
    for job in jobs.values():
        assert set(job) <= JOB_KEYS
        for key, known in INNER_KEYS.items():
            inner = job.get(key, [])
            for entry in inner if isinstance(inner, list) else [inner]:
                assert set(entry) <= known


def test_the_jobs_are_one_per_environment_and_only_production_asks_for_a_button(
    jobs: dict[str, dict[str, Any]],
) -> None:
    template = jobs.pop(".release")
    assert template["interruptible"] is False
    assert {job["extends"] for job in jobs.values()} == {".release"}
    buttons = {job["variables"]["RELEASE_ENVIRONMENT"]: job["rules"][0].get("when") for job in jobs.values()}
    assert buttons == {"dev": None, "rc": None, "prod": "manual"}
    # Any other action would be a second deployment beside the release's own; a superseded one would look deployed.
    assert {job["environment"]["action"] for job in jobs.values()} == {"access"}


def test_every_variable_of_the_script_is_described() -> None:
    used = set(re.findall(r"\b(?:AIRFLOW|RELEASE|CI|GIT)_[A-Z_]+", of_gitlab()))
    part = PAGE.read_text().partition("| variable |")[2].partition("\n\n")[0]
    assert used == set(re.findall(r"`((?:AIRFLOW|RELEASE|CI|GIT)_[A-Z_]+)`", part))


def test_every_exit_code_is_described() -> None:
    codes = set(re.findall(r"\bexit (\d+)", of_gitlab()))
    part = PAGE.read_text().partition("| exit code |")[2].partition("\n\n")[0]
    assert codes == set(re.findall(r"^\| (\d+) \|", part, re.MULTILINE))


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "release.sh"
    path.write_text(of_gitlab())
    done = subprocess.run([found("shellcheck"), "--shell=sh", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")

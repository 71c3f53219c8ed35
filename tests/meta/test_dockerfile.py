"""The image: a pinned base, hashed packages, no root, no secret, and nothing copied that is not there."""

import re
from pathlib import Path

import pytest

from platform_ops.systems.postgres.programs import BIN

ROOT = Path(__file__).resolve().parents[2]


def parse(text: str) -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    ]


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    return parse((ROOT / "Dockerfile").read_text())


def arguments(instructions: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for name, rest in instructions if name == word]


def test_the_base_image_is_an_exact_version_by_default(instructions: list[tuple[str, str]]) -> None:
    base = dict(argument.split("=", 1) for argument in arguments(instructions, "ARG"))["BASE_IMAGE"]
    assert re.fullmatch(r"apache/airflow:\d+\.\d+\.\d+-python3\.\d+(@sha256:[0-9a-f]{64})?", base)
    assert arguments(instructions, "FROM") == ["${BASE_IMAGE}"]


def test_the_base_image_brings_the_airflow_of_the_requirements(instructions: list[tuple[str, str]]) -> None:
    pinned = re.search(r"^apache-airflow==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned
    assert f"apache/airflow:{pinned[1]}-" in arguments(instructions, "ARG")[0]


def test_nothing_is_called_latest(instructions: list[tuple[str, str]]) -> None:
    assert not [rest for _, rest in instructions if re.search(r"\blatest\b", rest)]


def test_the_container_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    last = arguments(instructions, "USER")[-1]
    assert re.fullmatch(r"[1-9]\d*", last), "Kubernetes' runAsNonRoot needs a number other than 0"


def test_only_debians_packages_are_installed_as_root(instructions: list[tuple[str, str]]) -> None:
    users = [rest if word == "USER" else word for word, rest in instructions if word in {"USER", "RUN"}]
    assert users == ["root", "RUN", "50000", "RUN"]
    assert arguments(instructions, "RUN")[0].startswith("apt-get update ")


def test_the_programs_our_code_runs_are_not_left_to_the_base(instructions: list[tuple[str, str]]) -> None:
    as_root = arguments(instructions, "RUN")[0]
    installed = " ".join(re.findall(r"apt-get install --yes --no-install-recommends ([^&]+)", as_root)).split()
    assert installed == ["git", "postgresql-common", "postgresql-${POSTGRES}"]


def test_no_secret_is_baked_in(instructions: list[tuple[str, str]]) -> None:
    for word in ("ARG", "ENV"):
        for rest in arguments(instructions, word):
            assert not re.search(r"(?i)password|passwd|secret|token|fernet|_key", rest)


def test_packages_are_checked_by_hash(instructions: list[tuple[str, str]]) -> None:
    installs = [rest for rest in arguments(instructions, "RUN") if "pip install" in rest]
    assert installs
    assert all("--require-hashes" in rest for rest in installs)


def test_the_tests_run_with_the_packages_of_the_image() -> None:
    of_the_image, of_the_tests = (
        set(re.findall(r"^\S+==.*|^ +--hash=\S+", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    assert of_the_image < of_the_tests, "run `make lock`"


def test_a_changed_dag_installs_no_package_again(instructions: list[tuple[str, str]]) -> None:
    order = [rest.split()[-1] for word, rest in instructions if word in {"COPY", "RUN"}]
    assert order == ["/var/lib/apt/lists/*", "./", "requirements.txt", "config", "include", "plugins", "dags"]


def test_everything_copied_exists_and_reaches_the_builder(instructions: list[tuple[str, str]]) -> None:
    allowed = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    sources = [
        source
        for rest in arguments(instructions, "COPY")
        for source in [part for part in rest.split() if not part.startswith("--")][:-1]
    ]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert set(sources) == allowed


def test_the_builder_gets_nothing_that_is_not_asked_for() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"


def test_the_code_is_found_under_the_images_home(instructions: list[tuple[str, str]]) -> None:
    (environment,) = arguments(instructions, "ENV")
    assert dict(part.split("=", 1) for part in environment.split()) == {
        "PYTHONPATH": "${APP_HOME}/plugins:${APP_HOME}/config:${APP_HOME}",
        "PLATFORM_OPS_HOME": "${APP_HOME}",
        BIN: "/usr/lib/postgresql/${POSTGRES}/bin",
    }

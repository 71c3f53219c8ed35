"""The Dockerfile, built for real on a base of our own, and used as the account it names."""

import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_ops.delivery.services import service_names
from tests.nightly.buildah import Buildah, absent, pip_configuration

pytestmark = pytest.mark.nightly
ROOT = Path(__file__).resolve().parents[2]
HOME = "/opt/airflow"
CODE = ("config", "include", "plugins", "dags")
LIST = (ROOT / "requirements.txt").read_text()
CANARY = secrets.token_hex(16)
"""A word among the settings of the package index: where it is found, a password would be found too."""
Run = Callable[..., str]
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    if reason := absent():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    # Not tmp_path: pytest would keep the gigabytes of the last runs.
    with tempfile.TemporaryDirectory(prefix="platform-ops-image-") as folder:
        yield Buildah(Path(folder))


@pytest.fixture(scope="module")
def options(buildah: Buildah) -> list[str]:
    """What every build of the Dockerfile gets: the base, and the settings of the package index as a secret."""
    settings = buildah.folder / "pip.conf"
    settings.write_text(f"# {CANARY}\n{pip_configuration()}")
    return [f"--build-arg=BASE_IMAGE={buildah.build_base()}", f"--secret=id=pip.conf,src={settings}"]


@pytest.fixture(scope="module")
def image(buildah: Buildah, options: list[str]) -> str:
    return buildah.build("project", ROOT, *options)


@pytest.fixture(scope="module")
def run(buildah: Buildah, image: str) -> Run:
    """Run a command in a container of the image, as its account, and return what it prints."""
    container = buildah("from", "--pull-never", image, capture=True).strip()
    return lambda *command: buildah("run", container, "--", *command, capture=True)


@pytest.fixture(scope="module")
def ask(run: Run) -> Ask:
    """Run lines of Python in the image and return what they leave in ``answer``; Airflow logs before it."""
    end = ("import json", "print(); print(json.dumps(answer))")
    return lambda *lines: json.loads(run("python", "-c", "\n".join(lines + end)).splitlines()[-1])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The same Dockerfile and code with a list of one package, which needs no other."""
    for name in CODE:
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, tmp_path)
    (entry,) = re.findall(r"^certifi==(?:.*\n)(?: .*\n)+", LIST, re.MULTILINE)
    (tmp_path / "requirements.txt").write_text(entry)
    return tmp_path


def files(folder: str) -> set[str]:
    """Return the paths below a folder of the checkout, but for what Python leaves there."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(ROOT)) for path in found}


def test_the_account_is_a_number_other_than_root(buildah: Buildah, image: str, run: Run) -> None:
    assert buildah.configuration(image)["config"]["User"] == "50000"
    assert run("id", "-u").strip() == "50000"


def test_every_dag_of_the_checkout_is_parsed_without_an_error(ask: Ask) -> None:
    # No folder is named: Airflow has to look where the DAGs have been copied to.
    answer = ask(
        "from airflow.dag_processing.dagbag import DagBag",
        "bag = DagBag()",
        "answer = {'errors': bag.import_errors, 'dags': sorted(bag.dags)}",
    )
    assert answer == {"errors": {}, "dags": sorted(path.stem for path in (ROOT / "dags").rglob("*.py"))}


def test_the_plugin_is_loaded(ask: Ask) -> None:
    answer = ask(
        "from airflow import plugins_manager",
        "names = [plugin['name'] for plugin in plugins_manager.get_plugin_info()]",
        "answer = {'errors': plugins_manager.get_import_errors(), 'names': names}",
    )
    assert answer == {"errors": {}, "names": ["platform_ops"]}


def test_every_module_finds_the_packages_it_imports(ask: Ask) -> None:
    answer = ask(
        "import importlib, pkgutil, platform_ops",
        "found = pkgutil.walk_packages(platform_ops.__path__, 'platform_ops.')",
        "answer = [importlib.import_module(module.name).__file__ for module in found]",
    )
    modules = {path for path in files("plugins/platform_ops") if path.endswith(".py")}
    assert set(answer) == {f"{HOME}/{path}" for path in modules - {"plugins/platform_ops/__init__.py"}}


def test_the_catalogue_is_found(ask: Ask) -> None:
    assert ask("from platform_ops.common import settings", "answer = str(settings.home())") == HOME
    names = ask("from platform_ops.delivery.services import service_names", "answer = service_names()")
    assert names == service_names()


def test_the_home_holds_the_code_and_nothing_else(run: Run) -> None:
    # Airflow writes its own settings when it first runs.
    found = run("find", HOME, "-type", "f", "-not", "-name", "airflow.cfg", "-printf", "%P\\n").splitlines()
    assert set(found) == {"requirements.txt"}.union(*map(files, CODE))


def test_the_account_cannot_change_the_code(run: Run) -> None:
    # dags/ itself is the base's, and so is the home: a new file can be put beside ours.
    assert run("find", "requirements.txt", *CODE, "-writable", "-not", "-path", "dags") == ""


def test_the_packages_are_those_of_the_list_and_fit_together(run: Run, ask: Ask) -> None:
    run("pip", "check")
    answer = ask(
        "from importlib.metadata import distributions",
        "answer = [(found.name, found.version) for found in distributions()]",
    )
    installed = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in answer}
    pinned = set(re.findall(r"^([a-z0-9-]+)(?:\[\S+\])?==([^\s;]+)", LIST, re.MULTILINE))
    assert {name for name, _ in installed - pinned} == {"pip", "setuptools"}, "only those are the base's"


def test_a_cluster_for_drills_is_made_and_asked_with_the_images_programs(ask: Ask) -> None:
    answer = ask(
        "from pathlib import Path",
        "from tempfile import mkdtemp",
        "from platform_ops.systems.postgres.cluster import Cluster",
        "from platform_ops.systems.postgres.programs import Programs",
        "from platform_ops.systems.postgres.session import Session",
        "programs = Programs()",
        "names = ('pg_dump', 'pg_dumpall', 'pg_restore', 'pg_basebackup', 'initdb', 'pg_ctl', 'postgres')",
        "folders = {str(Path(programs.path(name)).parent) for name in names}",
        "cluster = Cluster(Path(mkdtemp(), 'cluster'), programs)",
        "cluster.create('keeper')",
        "with cluster.running('keeper') as server, Session(server, 'template1') as session:",
        "    answer = [sorted(folders), session.value('SELECT current_user::text')]",
    )
    assert answer == [["/usr/lib/postgresql/15/bin"], "keeper"]


def test_a_repository_is_copied_with_the_images_git(run: Run, ask: Ask) -> None:
    assert "git-remote-https" in run("ls", run("git", "--exec-path").strip()).split()
    answer = ask(
        "import subprocess",
        "from pathlib import Path",
        "from tempfile import mkdtemp",
        "from platform_ops.systems.git.mirror import Mirror",
        "folder = Path(mkdtemp())",
        "source = ['git', '-C', str(folder / 'source')]",
        "who = ['-c', 'user.name=A', '-c', 'user.email=a@example.com']",
        "subprocess.run(['git', 'init', '--quiet', '--initial-branch=main', str(folder / 'source')], check=True)",
        "subprocess.run([*source, *who, 'commit', '--quiet', '--allow-empty', '--message=Begin'], check=True)",
        "mirror = Mirror(folder / 'copy')",
        "mirror.clone(f'file://{folder}/source')",
        "answer = [mirror.head(), sorted(mirror.refs()), mirror.check()]",
    )
    assert answer == ["refs/heads/main", ["refs/heads/main"], []]


def test_what_is_stored_by_the_images_zstd_and_age_comes_back(ask: Ask) -> None:
    answer = ask(
        "import io, pyrage",
        "from platform_ops.backups.streams import Counter, decode, encode",
        "identity = pyrage.x25519.Identity.generate()",
        "text, stored, out = b'The plans of the platform. ' * 100, io.BytesIO(), io.BytesIO()",
        "encode(lambda part: part.write(text), stored, [str(identity.to_public())], Counter())",
        "decode(io.BytesIO(stored.getvalue()), out, str(identity))",
        "packed = stored.getvalue()",
        "answer = [packed.startswith(b'age-encryption.org/v1'), len(packed) < len(text), out.getvalue() == text]",
    )
    assert answer == [True, True, True]


def test_the_settings_of_the_package_index_are_in_no_layer(buildah: Buildah, image: str) -> None:
    for blob in buildah.blobs(image):
        found = subprocess.run(["grep", "--quiet", "--text", "--fixed-strings", CANARY, blob], check=False)
        assert found.returncode == 1, blob


def test_a_package_with_another_hash_fails_the_build(buildah: Buildah, options: list[str], small: Path) -> None:
    buildah.build("one-package", small, *options)
    entry = (small / "requirements.txt").read_text()
    changed = re.sub(r"sha256:(.)", lambda found: "sha256:" + ("1" if found[1] == "0" else "0"), entry)
    (small / "requirements.txt").write_text(changed)
    with pytest.raises(subprocess.CalledProcessError):
        buildah.build("another-hash", small, *options)


def test_the_home_of_another_base_can_be_given(buildah: Buildah, options: list[str], small: Path) -> None:
    home = "/usr/local/airflow"
    image = buildah.build("another-home", small, *options, f"--build-arg=APP_HOME={home}")
    environment = buildah.configuration(image)["config"]["Env"]
    assert f"PLATFORM_OPS_HOME={home}" in environment
    assert f"PYTHONPATH={home}/plugins:{home}/config:{home}" in environment
    container = buildah("from", "--pull-never", image, capture=True).strip()
    code = "from platform_ops.common import settings; print(settings.include().is_dir())"
    assert buildah("run", container, "--", "python", "-c", code, capture=True).strip() == "True"


def test_every_package_installs_on_the_images_python_without_a_compiler(tmp_path: Path) -> None:
    (python,) = re.findall(r"^ARG BASE_IMAGE=\S+-python(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    source_only = "pyspark-client"
    subprocess.run(
        [ROOT / ".tools/uv/bin/uv", "pip", "sync", "--dry-run", "--require-hashes", "--target", tmp_path,
         "--python-version", python, "--python-platform", "x86_64-manylinux_2_28",
         "--only-binary", ":all:", "--no-binary", source_only, "requirements.txt"],
        cwd=ROOT, check=True,
    )  # fmt: skip

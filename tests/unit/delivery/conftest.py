"""A service of its own, real git for its source and its GitOps file, and autospecced hooks for everything else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from platform_ops.approvals.rules import APPROVE, binding_line
from platform_ops.common.airflow_api import AirflowApi
from platform_ops.common.records import Answer, RunRecord, TaskRecord
from platform_ops.common.report import StepReport
from platform_ops.delivery.images import leave_proof
from platform_ops.delivery.pins import Pin, read_pin, write_pin
from platform_ops.delivery.release import Release
from platform_ops.systems.argocd.hook import ArgoCDHook
from platform_ops.systems.git.hook import GitHook, Repository
from platform_ops.systems.gitlab.hook import GitLabHook
from platform_ops.systems.gitlab.models import Deployment, DeploymentState, Project
from platform_ops.systems.harbor.hook import HarborHook
from platform_ops.systems.harbor.models import Artifact, Scan, ScanStatus, Severity
from platform_ops.systems.kubernetes.hook import KubernetesHook
from platform_ops.systems.object_store.hook import ObjectStoreHook

ROOT = Path(__file__).resolve().parents[3]
IMAGE = "shop/web"
CATALOGUE = """\
service: web
owners: [team@example.com]
source:
  project: shop/web
  branches: {dev: dev, rc: rc, prod: master}
build:
  jenkins_job: shop/web
image: {project: shop, repository: web, highest_severity: Medium}
gitops: {path: apps/web}
environments:
"""
TARGET = "{{application: web-{0}, cluster: kubernetes_{0}, namespace: shop, deployment: web, promotion: {1}}}"
APPROVAL = "approval: {approvers: [paula, quentin], quorum: 1, expires_after: 24h}"
IDENTITIES = """\
people:
- {name: Dana, emails: [dana@example.com], gitlab: dana}
- {name: Ravi, emails: [ravi@example.com], gitlab: ravi}
- {name: Paula, emails: [paula@example.com], gitlab: paula, airflow: paula}
- {name: Quentin, emails: [quentin@example.com], gitlab: quentin, airflow: quentin}
- {name: Oscar, emails: [oscar@example.com], gitlab: oscar, airflow: oscar}
- {name: Bot, emails: [bot@example.com], gitlab: bot}
"""


class Store(dict[str, Any]):
    """Airflow's task state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


UNPINNED = f"resources:\n- ../base\nimages:\n- name: {IMAGE}\n"


class Remote:
    """A bare repository whose commits are made without a work tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"file://{folder}"
        self._seconds = 1_767_000_000 + (1000 if folder.is_dir() else 0)
        if folder.is_dir():
            return
        folder.mkdir(parents=True)
        self.git("init", "-q", "--bare", "-b", "main", "--template=")
        for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
            self.git("config", key, "true")

    def git(self, *arguments: str, stdin: str = "", **variables: str) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1", **variables}
        return subprocess.run(
            ["git", *arguments],
            cwd=self.folder, env=environment, input=stdin, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    def commit(
        self, title: str, *parents: str, files: Mapping[str, str], author: str = "dana", committer: str = "bot"
    ) -> str:
        index = {"GIT_INDEX_FILE": str(self.folder / "index")}
        self.git("read-tree", "--empty", **index)
        for path, text in files.items():
            blob = self.git("hash-object", "-w", "--stdin", stdin=text)
            self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", **index)
        tree = self.git("write-tree", **index)
        # Git orders history by time: each commit is a second younger than the last.
        self._seconds += 1
        people = {"AUTHOR": author, "COMMITTER": committer}
        who = {f"GIT_{role}_NAME": name.title() for role, name in people.items()}
        who |= {f"GIT_{role}_EMAIL": f"{name}@example.com" for role, name in people.items()}
        who |= {f"GIT_{role}_DATE": f"{self._seconds} +0000" for role in people}
        arguments = [text for parent in parents for text in ("-p", parent)]
        return self.git("commit-tree", tree, *arguments, stdin=title, **who)

    def move(self, sha: str, *branches: str) -> None:
        for branch in branches:
            self.git("update-ref", f"refs/heads/{branch}", sha)

    def head(self, branch: str = "main") -> str:
        return self.git("rev-parse", branch)

    def tree(self, sha: str) -> str:
        return self.git("rev-parse", f"{sha}^{{tree}}")


def begin(folder: Path) -> None:
    """Make the two repositories as every test finds them."""
    source, gitops = Remote(folder / "web.git"), Remote(folder / "gitops.git")
    base = source.commit("Begin", files={"app": "0"})
    first = source.commit("First", base, files={"app": "1"})
    second = source.commit("Second", first, files={"app": "2"}, author="ravi")
    source.move(second, "dev", "rc", "master")
    source.move(source.commit("Apart", base, files={"app": "x"}), "apart")
    files = {f"apps/web/{name}/kustomization.yaml": UNPINNED for name in ("dev", "rc", "prod")}
    gitops.move(gitops.commit("Begin", files=files), "main")


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


class World:
    """The service ``web`` with the history base → first → second on every branch, and base → apart on another.

    Nothing is pinned or built until a test says so; ``second`` is what tests release, as ``ours``.
    """

    ours = digest("a")
    other = digest("b")

    def __init__(self, folder: Path) -> None:
        self.source, self.gitops = Remote(folder / "web.git"), Remote(folder / "gitops.git")
        history = self.source.git("log", "--format=%H", "master").split()
        self.second, self.first, self.base = history
        self.apart = self.source.head("apart")
        self.git = create_autospec(GitHook, instance=True)
        self.git.address, self.git.author = self.gitops.address, "Bot <bot@example.com>"
        self.git.repository.side_effect = lambda: Repository(self.gitops.address, pause=lambda _: None)

        self.gitlab = create_autospec(GitLabHook, instance=True)
        self.gitlab.project.return_value = Project(
            1, "shop/web", "http://gitlab.test/shop/web", self.source.address, "master"
        )
        self.gitlab.credentials.return_value = ("oauth2", "")
        self.gitlab.statuses.return_value = ()
        self.deployments: list[Deployment] = []
        self.environments: list[str] = []
        self.gitlab.deployments.side_effect = self._deployments
        self.gitlab.create_deployment.side_effect = self._create_deployment
        self.gitlab.set_deployment.side_effect = self._set_deployment
        self.mergers: dict[str, tuple[str, ...]] = {}
        self.gitlab.mergers.side_effect = lambda _project, sha: self.mergers.get(sha, ())

        self.images: dict[str, Artifact] = {}
        self.harbor = create_autospec(HarborHook, instance=True)
        self.harbor.artifact.side_effect = lambda _project, _repository, tag: self.images.get(tag)
        self.harbor.add_tag.side_effect = self._add_tag
        self.harbor.reference.side_effect = "harbor.test/{}/{}@{}".format

        self.objects: dict[str, bytes] = {}
        self.store = create_autospec(ObjectStoreHook, instance=True)
        self.store.read.side_effect = lambda _bucket, key: self.objects.get(key)
        self.store.keys.side_effect = lambda _bucket, prefix: iter(
            sorted(key for key in self.objects if key.startswith(prefix))
        )
        self.store.put_new.side_effect = lambda _bucket, key, body: self.objects.setdefault(key, body) is body
        self.store.url.side_effect = "http://store.test/{}/{}".format

        self.argocd = create_autospec(ArgoCDHook, instance=True)
        self.argocd.application_url.side_effect = "http://argocd.test/{}".format
        self.kubernetes = create_autospec(KubernetesHook, instance=True)
        self.answers: dict[str, Answer] = {}
        self.airflow = create_autospec(AirflowApi, instance=True)
        self.airflow.answer.side_effect = lambda _dag, _run, gate: self.answers.get(gate)

    def _environment(self, name: str) -> int:
        if name not in self.environments:
            self.environments.append(name)
        return self.environments.index(name) + 1

    def _deployments(self, _project: str, environment: str, state: DeploymentState | None = None) -> Any:
        there = [one for one in reversed(self.deployments) if one.environment == self._environment(environment)]
        return tuple(one for one in there if state in (None, one.state))

    def _create_deployment(self, _project: str, environment: str, sha: str, *, ref: str, state: str) -> Deployment:
        number = self._environment(environment)
        self.deployments.append(Deployment(len(self.deployments) + 1, number, sha, state, ours=True))
        return self.deployments[-1]

    def _set_deployment(self, _project: str, number: int, state: str) -> None:
        self.deployments[number - 1] = replace(self.deployments[number - 1], state=state)

    def _add_tag(self, _project: str, _repository: str, of: str, tag: str) -> str:
        holder = self.images.get(tag) or next(image for image in self.images.values() if image.digest == of)
        return self.images.setdefault(tag, holder).digest

    def push_image(self, tag: str, of: str | None = None, *, commit: str | None = None, **scan: Any) -> Artifact:
        """Put an image under a tag at Harbor; ``commit`` is what its label names."""
        found = Scan(ScanStatus.SUCCESS, Severity.NONE, {}, 0, 0, "")
        labels = {"org.opencontainers.image.revision": commit or self.second}
        of = of or self.ours
        self.images[tag] = Artifact(of, (), labels, replace(found, **scan), "", f"http://harbor.test/{of}")
        return self.images[tag]

    def pin(self, environment: str, commit: str, of: str) -> str:
        """Pin something in GitOps, as another run would."""
        path = f"apps/web/{environment}/kustomization.yaml"

        def edit(text: str, _head: str) -> str:
            return write_pin(text, IMAGE, path, Pin(of, commit), f"harbor.test/{IMAGE}")

        with Repository(self.gitops.address) as repository:
            return repository.push_edit("main", path, edit, message=lambda _: "Pin", author=self.git.author)[1]

    def pinned(self, environment: str) -> Pin | None:
        path = f"apps/web/{environment}/kustomization.yaml"
        return read_pin(self.gitops.git("show", f"main:{path}"), IMAGE, path)

    def context(
        self,
        environment: str = "dev",
        commit: str | None = None,
        reports: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Any:
        """Return a task's context; ``reports`` are the facts of earlier steps by task id."""
        told: list[dict[str, Any]] = []
        facts = dict(reports or {})
        conf = {"service": "web", "environment": environment, "commit": self.second if commit is None else commit}
        conf |= {"reason": changes.pop("reason", "")}
        conf |= changes.pop("conf", {})
        self.conf = conf | changes

        def xcom_pull(*, task_ids: str, key: str) -> dict[str, Any] | None:
            return {"facts": facts[task_ids]} if key == "report" and task_ids in facts else None

        ti = SimpleNamespace(
            id="ti", dag_id="release_service", run_id="r1", max_tries=3,
            xcom_pull=xcom_pull, xcom_push=lambda key, value: told.append(value),
        )  # fmt: skip
        run = SimpleNamespace(conf=conf, triggering_user_name=changes.pop("starter", "oscar"))
        return {
            "params": conf | changes,
            "ti": ti,
            "task_instance": ti,
            "dag_run": run,
            "told": told,
            "task_state_store": Store(),
        }

    def release(self, environment: str = "dev", commit: str | None = None, **changes: Any) -> Release:
        return Release.of(self.context(environment, commit, **changes))

    def say_yes(
        self,
        bound_to: str,
        by: str | None = "paula",
        chosen: str = APPROVE,
        at: datetime | None = None,
        gate: str = "approve_release",
    ) -> None:
        body = f"Look.\n\n{binding_line(bound_to)}"
        self.answers[gate] = Answer("Release?", body, (chosen,), by, at or datetime.now(UTC), ("paula", "quentin"))

    def ran(self, **steps: StepReport | None) -> None:
        """Have Airflow's server tell of a run with these steps; one without a report failed unheard."""
        good = ("done", "reused", "not needed")
        tasks = tuple(
            TaskRecord(
                name, "success" if report and report.outcome in good else "failed", None, None, 1,
                report.as_dict() if report else None,
            )
            for name, report in steps.items()
        )  # fmt: skip
        self.airflow.run.side_effect = lambda _dag, _run: RunRecord(
            "release_service", "r1", "running", "oscar", None, None, None, self.conf, tasks
        )


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with the one service ``web`` and six people."""
    include = tmp_path / "home/include"
    (include / "services").mkdir(parents=True)
    (include / "schemas").symlink_to(ROOT / "include/schemas")
    entries = [(name, TARGET.format(name, "automatic")) for name in ("dev", "rc")]
    entries.append(("prod", TARGET.format("prod", "manual").replace("}", f", {APPROVAL}}}")))
    targets = "".join(f"  {name}: {entry}\n" for name, entry in entries)
    (include / "services/web.yaml").write_text(CATALOGUE + targets)
    (include / "identities.yaml").write_text(IDENTITIES)
    monkeypatch.setenv("PLATFORM_OPS_HOME", str(include.parent))
    return include


@pytest.fixture
def second_service(catalogue: Path) -> None:
    """A service ``api`` that is built from the project of ``web``, and has the same GitOps files."""
    web = (catalogue / "services/web.yaml").read_text()
    (catalogue / "services/api.yaml").write_text(web.replace("service: web", "service: api"))


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repositories to copy from: making them anew for each test takes longer than most tests."""
    folder = tmp_path_factory.mktemp("repositories")
    begin(folder)
    return folder


@pytest.fixture
def world(tmp_path: Path, repositories: Path, catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The outside world of a release of ``web``."""
    made = World(shutil.copytree(repositories, tmp_path / "repositories"))
    hooks = {
        "release.GitLabHook": made.gitlab,
        "work.GitLabHook": made.gitlab,
        "release.HarborHook": made.harbor,
        "release.ArgoCDHook": made.argocd,
        "work.ArgoCDHook": made.argocd,
        "release.GitHook": made.git,
        "work.GitHook": made.git,
        "images.ObjectStoreHook": made.store,
        "closing.ObjectStoreHook": made.store,
        "teardowns.AirflowApi": made.airflow,
        "readers.KubernetesHook": made.kubernetes,
    }
    monkeypatch.setattr("platform_ops.evidence.recording.ObjectStoreHook", lambda: made.store)
    monkeypatch.setattr("platform_ops.upkeep.check_steps.AirflowApi", lambda: made.airflow)
    monkeypatch.setattr("platform_ops.approvals.answers.AirflowApi", lambda: made.airflow)
    for name, hook in hooks.items():
        monkeypatch.setattr(f"platform_ops.delivery.{name}", lambda *_, hook=hook: hook)
    return made


@pytest.fixture
def ready(world: World) -> World:
    """A world where ``second`` is built, scanned and proven, and production runs ``base``."""
    world.push_image(world.second)
    leave_proof(world.release("rc"), world.ours)
    world.pin("prod", world.base, world.other)
    return world

"""The sandbox as tests see it: people who push, start, answer and look."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from jsonschema import Draft202012Validator

from platform_ops.evidence.document import BUCKET
from sandbox import contract, faults, processes
from sandbox.airflow_runs import DAG_ID, WAITING, Runs
from sandbox.checkout import Checkout
from sandbox.processes import ROOT
from sandbox.seed import GITOPS
from tests.waiting import wait_until

EVIDENCE = json.loads((ROOT / "include/schemas/evidence.schema.json").read_text())

SWEEPER = "close_open_records"
RED_TEST = {"tests/test_red.py": "def test_the_sum_is_right():\n    assert 1 + 1 == 3\n"}
BAD_PACKAGE = {"requirements.txt": "leftpad==0.0.1\n"}


class World:
    """One sandbox.

    :param state: its folder.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.environment = contract.read(state)
        self.home = Path(self.environment["PLATFORM_OPS_HOME"])
        self._runs: dict[tuple[str, str], Runs] = {}
        self.admin = self.runs("ADMIN")

    def runs(self, role: str, dag_id: str = DAG_ID) -> Runs:
        if (role, dag_id) not in self._runs:
            self._runs[role, dag_id] = Runs(self.environment, role, dag_id)
        return self._runs[role, dag_id]

    def close(self) -> None:
        for runs in self._runs.values():
            runs.api.close()

    def url(self, system: str, path: str = "") -> str:
        return self.environment[f"{system}_URL"] + path

    # git

    def checkout(self, project: str, person: str = "dana") -> Checkout:
        token = {"dana": "GITLAB_DEVELOPER_TOKEN", "ravi": "GITLAB_MAINTAINER_TOKEN"}.get(person, "GITLAB_TOKEN")
        return Checkout(self.url("GITLAB", f"/{project}.git"), person, self.environment[token])

    def push(
        self, service: str, *branches: str, files: Mapping[str, str] | None = None, title: str, person: str = "dana"
    ) -> str:
        """Commit on top of the first branch and push to all of them."""
        with self.checkout(f"shop/{service}", person) as work:
            work.switch(branches[0])
            work.write({"CHANGES.md": f"{title}\n"} | dict(files or {}))
            commit = work.commit(title)
            work.push(*branches)
        return commit

    def never_ready(self, service: str) -> None:
        """Let the service's pods in dev never get ready, and Kubernetes notice soon."""
        path, labels = f"apps/{service}/dev/deployment.yaml", f"      labels:\n        app: {service}\n"
        self.edit_gitops(path, labels, f"{labels}        simulate: never-ready\n")
        self.edit_gitops(path, "progressDeadlineSeconds: 60", "progressDeadlineSeconds: 5")

    def edit_gitops(self, path: str, old: str, new: str) -> None:
        with self.checkout(GITOPS, "platform-bot") as work:
            text = (work.root / path).read_text()
            assert old in text
            work.write({path: text.replace(old, new)})
            work.commit(f"Change {path}")
            work.push("main")

    def pin_file(self, service: str, environment: str) -> str:
        with self.checkout(GITOPS, "platform-bot") as work:
            return (work.root / f"apps/{service}/{environment}/kustomization.yaml").read_text()

    def gitops_log(self, service: str, environment: str) -> str:
        with self.checkout(GITOPS, "platform-bot") as work:
            return work.git("log", "--format=%B", "--", f"apps/{service}/{environment}/kustomization.yaml")

    # runs

    @staticmethod
    def run_id(service: str, environment: str, commit: str) -> str:
        return f"release__{service}__{environment}__{commit[:12]}"

    def released(self, service: str, environment: str, commit: str) -> str:
        """Wait for the run that a push started and return its verdict."""
        run_id = self.run_id(service, environment, commit)
        self.admin.wait(run_id)
        return self.verdict(run_id)

    def verdict(self, run_id: str) -> str:
        """Return the recorded verdict; a run is green exactly when its verdict is."""
        verdict = str(self.facts(run_id, "record_evidence").get("verdict"))
        assert (self.admin.state(run_id) == "success") == (verdict in ("released", "superseded"))
        return verdict

    def facts(self, run_id: str, task_id: str) -> dict[str, Any]:
        return dict(self.admin.report(run_id, task_id).get("facts") or {})

    def start(self, service: str, environment: str, commit: str = "", role: str = "OPERATOR", **more: Any) -> str:
        """Start a run by REST and return its id."""
        conf = {"service": service, "environment": environment, "commit": commit} | more
        answer = self.runs(role).start(conf)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["dag_run_id"])

    def asked(self, service: str, title: str, role: str = "OPERATOR", **push: Any) -> str:
        """Bring a new commit to rc, start its production release and wait until it asks; return the run."""
        commit = self.push(service, "rc", "master", title=title, **push)
        assert self.released(service, "rc", commit) == "released"
        run_id = self.start(service, "prod", commit, role)
        assert self.admin.wait(run_id, until=(WAITING,)) == WAITING
        return run_id

    def set_success(self, run_id: str, task_id: str) -> None:
        """Do what an operator with the button "mark success" does."""
        self.set_state(run_id, task_id, "success")

    def set_state(self, run_id: str, task_id: str, state: str) -> None:
        path = f"{self.admin.path(run_id)}/taskInstances/{task_id}"
        answer = self.admin.api.patch(path, json={"new_state": state})
        assert answer.status_code == 200, answer.text

    def give_up(self, run_id: str) -> None:
        """Do what an operator with the run's button "mark failed" does: Airflow still starts the last steps."""
        answer = self.admin.api.patch(self.admin.path(run_id), json={"state": "failed"})
        assert answer.status_code == 200, answer.text

    def sweep(self, **conf: Any) -> dict[str, Any]:
        """Have open records closed, also those of runs that ended this instant; return the report."""
        sweeps = self.runs("ADMIN", SWEEPER)
        answer = sweeps.start({"minutes": 0} | conf)
        assert answer.status_code == 200, answer.text
        run_id = str(answer.json()["dag_run_id"])
        assert sweeps.wait(run_id) == "success"
        return dict(sweeps.report(run_id, "close_records"))

    def clear(self, run_id: str, task_id: str, *, alone: bool = False) -> None:
        """Do what an operator with the button "clear" does: this task and what follows it run again.

        :param alone: clear this task only, and leave an ended run ended.
        """
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "include_downstream": not alone,
            "reset_dag_runs": not alone,
            "only_failed": False,
        }
        answer = self.admin.api.post("/api/v2/dags/release_service/clearTaskInstances", json=body)
        assert answer.status_code == 200, answer.text

    # what is left behind

    def status(self, service: str, commit: str, environment: str) -> tuple[str, str]:
        """Return state and description of the newest status at GitLab."""
        rows = self.gitlab(service, f"repository/commits/{commit}/statuses")
        found = [row for row in rows if row["name"] == f"release/{environment}"]
        return (found[-1]["status"], found[-1]["description"]) if found else ("", "")

    def deployments(self, service: str, environment: str) -> list[tuple[str, str]]:
        """Return commit and state of each deployment at GitLab, oldest first."""
        rows = self.gitlab(service, "deployments", environment=environment)
        return [(row["sha"], row["status"]) for row in rows]

    def first_deployment(self, service: str, environment: str, seconds: float = 120) -> list[tuple[str, str]]:
        """Wait until GitLab shows a deployment, and return what it shows then."""
        return wait_until(lambda: self.deployments(service, environment), "a deployment", seconds)

    def deployed(self, service: str, environment: str) -> str:
        """Return the commit that GitLab's environment page calls deployed."""
        (found,) = self.gitlab(service, "environments", name=environment)
        return str(self.gitlab(service, f"environments/{found['id']}")["last_deployment"]["sha"])

    def gitlab(self, service: str, path: str, **asked: str) -> Any:
        """Ask GitLab's REST about a service's project."""
        project = quote(f"shop/{service}", safe="")
        headers = {"PRIVATE-TOKEN": self.environment["GITLAB_TOKEN"]}
        url = self.url("GITLAB", f"/api/v4/projects/{project}/{path}")
        return httpx.get(url, params=asked, headers=headers, trust_env=False).json()

    def page(self, run_id: str, role: str = "VIEWER") -> str:
        answer = self.runs(role).api.get(f"/platform-ops/runs/{DAG_ID}/{quote(run_id, safe='')}")
        assert answer.status_code == 200
        return answer.text

    @contextmanager
    def object_store(self) -> Iterator[Any]:
        import urllib3
        from minio import Minio

        with urllib3.PoolManager() as pool:
            yield Minio(
                self.environment["OBJECT_STORE_URL"].removeprefix("http://"),
                access_key=self.environment["OBJECT_STORE_ACCESS_KEY"],
                secret_key=self.environment["OBJECT_STORE_SECRET_KEY"],
                secure=False,
                region="us-east-1",
                http_client=pool,
            )

    def evidence(self, run_id: str) -> dict[str, Any]:
        """Return the stored document, after comparing its bytes with the recorded hash."""
        facts = self.facts(run_id, "record_evidence")
        with self.object_store() as store:
            body = store.get_object(BUCKET, facts["key"]).read()
        assert hashlib.sha256(body).hexdigest() == facts["sha256"]
        document: dict[str, Any] = json.loads(body)
        Draft202012Validator(EVIDENCE).validate(document)
        return document

    def effects(self, system: str) -> Counter[str]:
        """Return how often each thing really happened."""
        answer = httpx.get(self.url(system, "/_sandbox/state"), trust_env=False)
        return Counter(answer.json()["effects"])

    # what goes wrong

    @contextmanager
    def faults(self, system: str, *orders: Mapping[str, Any]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        """Order faults for as long as the block lasts; what it yields tells how often each has struck."""
        url = self.url(system, faults.PATH)
        for order in orders:
            answer = httpx.post(url, json=dict(order), trust_env=False)
            assert answer.status_code == 201, answer.text
        try:
            yield lambda: list(httpx.get(url, trust_env=False).json()["faults"])
        finally:
            httpx.delete(url, trust_env=False)

    def server(self, command: str, system: str) -> None:
        """Start or stop a server of the sandbox."""
        command_line = [sys.executable, "-m", "sandbox", command, system, "--state", str(self.state)]
        done = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def died(self, system: str, seconds: float = 60) -> None:
        """Wait until a server is gone."""
        wait_until(lambda: processes.running(self.state, system) is None, f"the end of {system}", seconds)


@contextmanager
def stopped(world: World, system: str) -> Iterator[None]:
    """Stop a server of the sandbox and start it again."""
    world.server("stop", system)
    try:
        yield
    finally:
        world.server("start", system)

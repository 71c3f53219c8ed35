"""The backups of a running sandbox, as its tests use them."""

import json
import os
from pathlib import Path
from typing import Any

from platform_ops.backups.names import BACK_UP, RESTORE
from sandbox.airflow_runs import Runs
from tests.functional.world import World
from tests.waiting import wait_until

SOURCE = """\
source: {name}
owner: platform-team@example.com
kind: directory
what:
  path: {path}
tier: nightly
retention:
  daily: 30
store:
  bucket: backups
encryption: backup_keys
target:
  rpo: 2d
  rto: 1h
"""


class Backups:
    """The DAGs of backups, and the bucket they write to."""

    def __init__(self, world: World, files: Path) -> None:
        self.world = world
        self.files = files
        from minio import Minio

        self.store = Minio(
            world.environment["OBJECT_STORE_URL"].removeprefix("http://"),
            access_key=world.environment["OBJECT_STORE_ACCESS_KEY"],
            secret_key=world.environment["OBJECT_STORE_SECRET_KEY"],
            secure=False,
            region="us-east-1",
        )

    def source(self, name: str) -> Path:
        """Enter a directory in the catalogue and return it."""
        path = self.files / name
        (path / "folder").mkdir(parents=True)
        (path / "folder" / "secret plans.txt").write_text("The plans of the platform.\n" * 1000)
        (path / os.fsdecode(b"not utf-8 \xff")).write_bytes(os.urandom(4096))
        (path / "link").symlink_to("folder")
        text = SOURCE.format(name=name, path=json.dumps(str(path)))
        (self.world.home / "include" / "backups" / f"{name}.yaml").write_text(text)
        return path

    def run(self, dag_id: str, *sources: str) -> tuple[str, dict[str, dict[str, Any]]]:
        """Run a DAG for sources; return its state and what each task of the first of them reported."""
        runs: Runs = self.world.runs("OPERATOR", dag_id)
        self.offered(dag_id, *sources)
        answer = runs.start({"sources": list(sources)} if sources else {})
        assert answer.status_code == 200, answer.text
        run_id = str(answer.json()["dag_run_id"])
        state = runs.wait(run_id, seconds=300)
        listed = runs.api.get(f"{runs.path(run_id)}/taskInstances").json()["task_instances"]
        reports = {
            task["task_id"].rpartition(".")[2]: runs.report(run_id, task["task_id"], task["map_index"])
            for task in listed
            if task["map_index"] <= 0
        }
        return state, reports

    def offered(self, dag_id: str, *sources: str) -> None:
        """Wait until the form of a DAG offers sources."""
        api = self.world.runs("OPERATOR", dag_id).api

        def shown() -> bool:
            form = api.get(f"/api/v2/dags/{dag_id}/details").text
            return all(f'"{name}"' in form for name in sources)

        wait_until(shown, "the sources in the form", 120)

    def point(self, name: str) -> dict[str, Any]:
        """Back a source up and return the facts of its copy."""
        state, reports = self.run(BACK_UP, name)
        assert state == "success", reports
        return dict(reports["copy_source"]["facts"])

    def names(self, name: str) -> list[str]:
        """Return the keys of every object of a source."""
        return [one.object_name for one in self.store.list_objects("backups", prefix=f"{name}/", recursive=True)]

    def keys(self, name: str) -> dict[str, bytes]:
        """Return every object of a source by its file name."""
        found = {}
        for key in self.names(name):
            answer = self.store.get_object("backups", key)
            found[key.rpartition("/")[2]] = answer.read()
            answer.close()
            answer.release_conn()
        return found

    def as_reader(self) -> dict[str, str]:
        """Return the variables with which stock S3 clients read the backups."""
        its = self.world.environment
        return {
            "AWS_ENDPOINT_URL": its["OBJECT_STORE_URL"],
            "AWS_ACCESS_KEY_ID": its["OBJECT_STORE_BACKUP_READER_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": its["OBJECT_STORE_BACKUP_READER_SECRET_KEY"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "STORE": "backups",
        }

    def proofs(self, name: str) -> list[dict[str, Any]]:
        """Return what drills of a source found."""
        drills = {key.rpartition("/")[2] for key in self.names(name) if key.startswith(f"{name}/proofs/")}
        return [json.loads(body) for file, body in self.keys(name).items() if file in drills]


def restore(backups: Backups, **form: Any) -> str:
    """Start restore_backup and return the run."""
    answer = backups.world.runs("OPERATOR", RESTORE).start(form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["dag_run_id"])


def restored(backups: Backups, run_id: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Wait for a restore and return its state and what its steps reported."""
    runs = backups.world.runs("OPERATOR", RESTORE)
    state = runs.wait(run_id, seconds=300)
    steps = ("plan_restore", "approve_restore", "restore_point", "compare_restore", "record_evidence")
    return state, {step: runs.report(run_id, step) for step in steps}

"""What a run of each DAG of the backups leaves: how it ended, and what it was about."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from platform_ops.backups.recorded import RECORDED
from platform_ops.backups.steps import RecordEvidence
from platform_ops.common.records import RunRecord, TaskRecord

WISH = {"source": "tree", "point": "latest", "target": "/srv/back", "subset": "", "dry_run": False}
POINT = "20261125T030000Z-0123abcd"


def run(dag_id: str, task_id: str, conf: dict[str, Any] | None = None, **facts: Any) -> RunRecord:
    report = {"summary": "No disk.", "outcome": "failed", "facts": facts}
    task = TaskRecord(task_id, "failed", None, None, 1, report)
    last = TaskRecord("record_evidence", "running", None, None, 1, None)
    return RunRecord(dag_id, "r1", "running", None, None, None, None, conf or {}, (task, last))


@pytest.mark.parametrize(
    ("ended", "subject"),
    [
        (run("back_up_sources", "choose_sources", sources=["tree", "code"]), {"sources": ["tree", "code"]}),
        (run("drill_restores", "choose_sources", sources=["tree"]), {"sources": ["tree"]}),
        (run("drill_restores", "choose_sources"), {"sources": []}),
        (run("report_backups", "write_report", keys=["a.json", "a.html"]), {"report": ["a.json", "a.html"]}),
        (run("restore_backup", "plan_restore", WISH, **WISH | {"point": POINT, "files": 3}), WISH | {"point": POINT}),
        # It was ended before it had a plan.
        (run("restore_backup", "plan_restore", WISH), WISH),
    ],
)
def test_the_document_names_what_the_run_was_about(
    monkeypatch: pytest.MonkeyPatch, ended: RunRecord, subject: dict[str, Any]
) -> None:
    objects: dict[str, bytes] = {}
    store = SimpleNamespace(
        keys=lambda bucket, prefix: iter(()),
        put_new=lambda bucket, key, body: objects.setdefault(key, body) is body,
        url=lambda bucket, key: f"http://store.test/{key}",
    )
    monkeypatch.setattr("platform_ops.evidence.recording.ObjectStoreHook", lambda: store)
    monkeypatch.setattr("platform_ops.backups.steps.AirflowApi", lambda: SimpleNamespace(run=lambda *_: ended))
    told: list[dict[str, Any]] = []
    ti = SimpleNamespace(dag_id=ended.dag_id, run_id="r1", xcom_push=lambda key, value: told.append(value))
    RecordEvidence(task_id="record_evidence").execute({"ti": ti, "params": {}})
    assert (told[-1]["facts"]["verdict"], told[-1]["facts"]["reason"]) == ("failed", "No disk.")
    document = json.loads(objects[f"runs/{ended.dag_id}/r1/1.json"])
    assert document["subject"] == subject
    assert [step["step"] for step in document["steps"]] == [ended.tasks[0].task_id]
    assert "late" not in document


def test_every_dag_of_the_backups_is_recorded() -> None:
    from sandbox.processes import ROOT

    assert set(RECORDED) == {path.stem for path in (ROOT / "dags" / "backups").glob("*.py")}

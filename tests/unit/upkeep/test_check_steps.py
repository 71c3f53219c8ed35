"""The steps of check_connections, on rooms that answer from a table."""

import json
import shutil
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException

from platform_ops.common.documents import BadDocument
from platform_ops.common.errors import AuthenticationFailed, Invalid, NotFound, Unreachable
from platform_ops.common.permissions import CheckedConnection, Finding, Permission, State
from platform_ops.common.records import RunRecord, TaskRecord
from platform_ops.upkeep import check_steps
from platform_ops.upkeep.check_steps import (
    CheckConnection,
    ListConnections,
    PermissionMissing,
    RecordEvidence,
    ReportConnections,
)
from platform_ops.upkeep.checks import System, UnknownConnection
from sandbox.processes import ROOT

ROW = Permission("scope api", "it is needed")


class Room(CheckedConnection):
    """Answers, or raises, whatever it is asked for."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def __call__(self, connection):
        self.asked.append(connection)
        return self

    def check_permissions(self, places=()):
        self.asked.append(tuple(places))
        if isinstance(self.answer, Exception):
            raise self.answer
        return tuple(Finding(ROW, State(state), f"It is {state}.") for state in self.answer)


def context(**pulled):
    told = []
    ti = SimpleNamespace(
        dag_id="check_connections",
        run_id="r1",
        xcom_push=lambda key, value: told.append(value),
        xcom_pull=lambda *, task_ids, key, map_indexes=None: pulled.get(task_ids),
    )
    return {"ti": ti, "params": {"connections": None}, "told": told}


def check(monkeypatch, answer):
    room = Room(answer)
    monkeypatch.setitem(check_steps.ROOMS, System.GITLAB, room)
    given = context()
    try:
        CheckConnection(task_id="check_connection", connection="gitlab_default").execute(given)
    finally:
        room.told = given["told"][-1]
    return room


def test_the_list_is_the_result_that_airflow_maps():
    given = context()
    found = ListConnections(task_id="list_connections").execute(given)
    assert {"gitlab_default", "kubernetes_prod", "object_store_default", "gitlab_webhook"} <= set(found)
    assert given["told"][-1]["facts"]["connections"] == found
    given["params"] = {"connections": ["harbor_default"]}
    assert ListConnections(task_id="list_connections").execute(given) == ["harbor_default"]


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """A copy of the shipped catalogue, to spoil."""
    shutil.copytree(ROOT / "include", tmp_path / "include")
    monkeypatch.setenv("PLATFORM_OPS_HOME", str(tmp_path))
    return tmp_path / "include"


def test_what_is_wrong_in_the_catalogue_is_a_red_line_of_its_own(monkeypatch, catalogue):
    entry = (catalogue / "services" / "storefront.yaml").read_text()
    (catalogue / "services" / "torn.yaml").write_text(entry.replace("service:", "servant:", 1))
    (catalogue / "backups" / "torn.yaml").write_text("source: [")
    files = ["include/services/torn.yaml", "include/backups/torn.yaml"]
    found = ListConnections(task_id="list_connections").execute(context())
    assert found[-2:] == files
    # They may say more of the connections that were asked for.
    given = context()
    given["params"] = {"connections": ["gitlab_default"]}
    assert ListConnections(task_id="list_connections").execute(given) == ["gitlab_default", *files]
    given["params"] = {"connections": ["torn_default"]}
    with pytest.raises(
        UnknownConnection, match=r"Nothing uses connection torn_default; .*torn\.yaml would name is not"
    ):
        ListConnections(task_id="list_connections").execute(given)
    for file in files:
        with pytest.raises(BadDocument, match=r"torn\.yaml"):
            CheckConnection(task_id="check_connection", connection=file).execute(context())
    assert check(monkeypatch, ["ok"]).told["outcome"] == "done"


def test_a_connection_that_nothing_uses_any_more_is_told():
    with pytest.raises(UnknownConnection, match="no longer says what gone_default is for"):
        CheckConnection(task_id="check_connection", connection="gone_default").execute(context())


def test_a_connection_is_asked_for_what_the_catalogue_says(monkeypatch):
    room = check(monkeypatch, ["ok", "too much", "unknown"])
    assert room.asked == ["gitlab_default", ("shop/notifier", "shop/payments", "shop/storefront")]
    assert room.told["outcome"] == "done"
    assert room.told["summary"] == "gitlab_default: It is too much. (1 too much, 1 unknown, 1 ok)"
    assert [each["state"] for each in room.told["facts"]["findings"]] == ["too much", "unknown", "ok"]


def told_by(monkeypatch, answer, kind):
    given = {}
    original = check_steps.CheckConnection.hand_on

    def keep(self, context, report):
        given["report"] = report
        original(self, context, report)

    monkeypatch.setattr(check_steps.CheckConnection, "hand_on", keep)
    with pytest.raises(kind):
        check(monkeypatch, answer)
    return given["report"]


def test_what_is_missing_fails_the_task_and_keeps_the_findings(monkeypatch):
    report = told_by(monkeypatch, ["ok", "missing", "expires"], PermissionMissing)
    assert (report.error, report.summary) == ("PermissionMissing", "gitlab_default: It is missing.")
    assert [each["state"] for each in report.facts["findings"]] == ["missing", "expires", "ok"]


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (Unreachable("Nobody answers."), Unreachable, "Nobody answers."),
        (AuthenticationFailed("401"), AuthenticationFailed, "401"),
        (AirflowNotFoundException("no"), NotFound, "Airflow has no connection gitlab_default"),
        (ValueError("no such port"), Invalid, "gitlab_default can't be used: no such port"),
    ],
)
def test_a_connection_that_can_not_be_asked_keeps_its_kind_of_error(monkeypatch, raised, kind, words):
    report = told_by(monkeypatch, raised, kind)
    assert words in report.summary
    assert report.facts["connection"] == "gitlab_default"


LISTED = {"facts": {"connections": ["gitlab_default", "harbor_default", "airflow_api"]}}
FINE = {"summary": "Fine.", "outcome": "done", "facts": {"findings": [{"state": "ok"}]}}
MISSING = {"summary": "harbor_default: no.", "outcome": "failed", "facts": {"system": "Harbor"}}


def test_the_report_has_a_line_for_each_and_for_those_that_said_nothing():
    given = context(list_connections=LISTED, check_connection=[FINE, MISSING, None])
    ReportConnections(task_id="report_connections").execute(given)
    told = given["told"][-1]
    assert told["summary"] == (
        "1 of 3 connections are as they should be. harbor_default: missing; airflow_api: not checked."
    )
    assert [line["connection"] for line in told["facts"]["connections"]] == [
        "harbor_default",
        "airflow_api",
        "gitlab_default",
    ]


def test_without_a_list_there_is_nothing_to_report():
    given = context()
    ReportConnections(task_id="report_connections").execute(given)
    assert given["told"][-1]["outcome"] == "not needed"


def test_the_evidence_names_each_connection_and_what_was_said(monkeypatch):
    objects = {}
    store = SimpleNamespace(
        keys=lambda bucket, prefix: iter(()),
        put_new=lambda bucket, key, body: objects.setdefault(key, body) is body,
        url=lambda bucket, key: f"http://store.test/{key}",
    )
    tasks = (
        TaskRecord("list_connections", "success", None, None, 1, LISTED | {"outcome": "done"}),
        TaskRecord("check_connection", "success", None, None, 1, FINE, 0, "gitlab_default"),
        TaskRecord("check_connection", "failed", None, None, 1, MISSING, 1, "harbor_default"),
        TaskRecord("record_evidence", "running", None, None, 1, None),
    )
    run = RunRecord("check_connections", "r1", "running", None, None, None, None, {}, tasks)
    monkeypatch.setattr("platform_ops.evidence.recording.ObjectStoreHook", lambda: store)
    monkeypatch.setattr("platform_ops.upkeep.check_steps.AirflowApi", lambda: SimpleNamespace(run=lambda *_: run))
    given = context(list_connections=LISTED)
    RecordEvidence(task_id="record_evidence").execute(given)
    assert given["told"][-1]["facts"]["reason"] == "harbor_default"
    document = json.loads(objects["runs/check_connections/r1/1.json"])
    assert document["verdict"] == "broken"
    assert document["subject"] == LISTED["facts"]
    assert [step["step"] for step in document["steps"]] == [
        "list_connections",
        "check_connection gitlab_default",
        "check_connection harbor_default",
    ]

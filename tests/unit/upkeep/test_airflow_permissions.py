"""What our two accounts in Airflow may do, by answers as Airflow gives them."""

import json

import httpx
import pytest

from platform_ops.common.errors import AuthenticationFailed
from platform_ops.upkeep.airflow_permissions import READER, STARTER, AirflowReader, AirflowStarter

DAG = "/api/v2/dags/release_service"
WRITES = {"POST dagRuns": f"{DAG}/dagRuns", "POST clearTaskInstances": f"{DAG}/clearTaskInstances"}
SECRET = "a-secret-of-gitlab"
SIGNING_TOKEN = "whsec_" + "A" * 43 + "="


class Airflow:
    """Judges the account before the body, as FastAPI's dependencies do; no body of ours means anything."""

    def __init__(self, *allowed, login=201):
        self.allowed, self.login = set(allowed), login
        self.seen = []

    def __call__(self, request):
        name = f"{request.method} {request.url.path.rpartition('/')[2]}"
        if name == "POST token":
            return httpx.Response(self.login, json={"access_token": "t", "detail": "Invalid credentials"})
        self.seen.append(request)
        if name not in self.allowed:
            return httpx.Response(403, json={"detail": "Forbidden"})
        return httpx.Response(422 if request.method == "POST" else 200, json={"detail": []})


READS = {"GET dagRuns", "GET taskInstances", "GET hitlDetails", "GET xcomEntries"}


@pytest.fixture
def made(monkeypatch):
    def make(kind, airflow, **extra):
        fields = {
            "conn_type": "airflow",
            "host": "http://airflow.test",
            "login": "bot",
            "password": "p",
            "extra": extra,
        }
        monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_OF_TESTS", json.dumps(fields))
        return kind("airflow_of_tests", inner=httpx.MockTransport(airflow))

    return make


def wrong(findings):
    return [(finding.permission.name, finding.state) for finding in findings if finding.state != "ok"]


def test_a_reader_reads_four_things_and_writes_nothing(made):
    airflow = Airflow(*READS)
    findings = made(AirflowReader, airflow).check_permissions(["release_service"])
    assert wrong(findings) == []
    assert {finding.permission for finding in findings} == set(READER)
    bodies = [json.loads(request.content) for request in airflow.seen if request.method == "POST"]
    assert bodies
    assert all(body["logical_date"] == "never" for body in bodies), "a body that means something would be done"


@pytest.mark.parametrize("read", sorted(READS))
def test_what_a_reader_can_not_read_is_missing(made, read):
    findings = made(AirflowReader, Airflow(*READS - {read})).check_permissions(["release_service"])
    assert [state for _, state in wrong(findings)] == ["missing"]


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ("POST dagRuns", "start DAG runs"),
        ("POST clearTaskInstances", "clear task instances"),
        ("GET connections", "read connections"),
    ],
)
def test_a_reader_that_may_more_is_too_much(made, more, name):
    findings = made(AirflowReader, Airflow(*READS, more)).check_permissions(["release_service"])
    assert wrong(findings) == [(name, "too much")]


def test_a_starter_starts_and_nothing_else(made):
    findings = made(AirflowStarter, Airflow("POST dagRuns"), token=SECRET).check_permissions(["release_service"])
    assert wrong(findings) == []
    assert {finding.permission for finding in findings} == set(STARTER)
    assert not [finding for finding in findings if SECRET in finding.sentence]


def test_a_starter_that_may_not_start(made):
    findings = made(AirflowStarter, Airflow(), token=SECRET).check_permissions(["release_service"])
    assert wrong(findings) == [("start DAG runs", "missing")]
    assert "in DAG release_service for bot" in findings[1].sentence


@pytest.mark.parametrize(
    ("extra", "state"),
    [
        ({}, "missing"),
        ({"token": "short"}, "missing"),
        ({"token": SECRET, "signing_token": "short"}, "missing"),
        ({"token": "", "signing_token": SIGNING_TOKEN}, "missing"),
        ({"token": 123456789012}, "missing"),
        ({"signing_token": SECRET}, "missing"),
        ({"signing_token": "whsec_not-base64-at-all"}, "missing"),
        ({"signing_token": SIGNING_TOKEN}, "ok"),
        ({"token": SECRET, "signing_token": SIGNING_TOKEN}, "ok"),
        ({"token": SECRET}, "ok"),
    ],
)
def test_the_secret_of_the_webhook(made, extra, state):
    findings = made(AirflowStarter, Airflow("POST dagRuns"), **extra).check_permissions()
    assert findings[-1].state == state
    assert not [value for value in extra.values() if value and str(value) in findings[-1].sentence]


def test_a_refused_account(made):
    with pytest.raises(AuthenticationFailed, match="Invalid credentials"):
        made(AirflowReader, Airflow(login=401)).check_permissions()


def test_a_write_that_airflow_takes_after_all_is_told(made):
    def careless(request):
        return httpx.Response(201 if request.url.path.endswith("token") else 200, json={"access_token": "t"})

    findings = made(AirflowReader, careless).check_permissions(["release_service"])
    assert ("start DAG runs", "unknown") in wrong(findings)

"""Pushes reach Airflow as GitLab's webhooks: late, many at once, too large."""

import base64
import hashlib
import hmac
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.functional.world import World, stopped
from tests.waiting import wait_until

SERVICES = {"offline": {}, "crowd": {}}

PATH = "/platform-ops/hooks/gitlab"
DELIVERIES = 50


def signed(world: World, event: dict[str, Any], event_id: str) -> tuple[bytes, dict[str, str]]:
    """Return body and headers as GitLab would send them."""
    body, stamp = json.dumps(event).encode(), str(int(time.time()))
    key = base64.b64decode(world.environment["GITLAB_WEBHOOK_SIGNING_TOKEN"].removeprefix("whsec_"))
    digest = hmac.digest(key, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256)
    return body, {
        "Content-Type": "application/json",
        "X-Gitlab-Event": "Push Hook",
        "webhook-id": event_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def deliver(world: World, event: dict[str, Any], event_id: str) -> httpx.Response:
    body, headers = signed(world, event, event_id)
    return httpx.post(world.url("AIRFLOW", PATH), content=body, headers=headers, timeout=30, trust_env=False)


def event_of_rc(world: World, service: str) -> tuple[dict[str, Any], str]:
    """Return a push of what stands on rc already, and its commit."""
    with world.checkout(f"shop/{service}") as work:
        work.switch("rc")
        commit = work.head()
    project = {"path_with_namespace": f"shop/{service}"}
    return {"object_kind": "push", "ref": "refs/heads/rc", "after": commit, "project": project}, commit


def runs_of(world: World, service: str) -> list[str]:
    answer = world.admin.api.get(
        "/api/v2/dags/release_service/dagRuns", params={"limit": 100, "order_by": "-run_after"}
    )
    return [run["dag_run_id"] for run in answer.json()["dag_runs"] if run["conf"].get("service") == service]


def test_pushes_while_the_scheduler_is_down_are_released_once_it_is_back(world: World) -> None:
    event, standing = event_of_rc(world, "offline")
    by_hand = world.run_id("offline", "rc", standing)
    builds = world.effects("JENKINS").get("builds", 0)
    with stopped(world, "airflow-scheduler"):
        first, again = (deliver(world, event, "offline-1") for _ in range(2))
        assert (first.status_code, first.json()["run_id"]) == (201, by_hand)
        assert (again.status_code, again.json()["duplicate"]) == (200, True)
        pushed = world.push("offline", "dev", title="While the scheduler is down")
        by_gitlab = world.run_id("offline", "dev", pushed)
        wait_until(lambda: world.admin.state(by_gitlab), "the run of the push", 30)
        assert [world.admin.state(run) for run in (by_hand, by_gitlab)] == ["queued", "queued"]
    assert world.released("offline", "rc", standing) == "released"
    assert world.released("offline", "dev", pushed) == "released"
    assert sorted(runs_of(world, "offline")) == sorted([by_hand, by_gitlab])
    assert world.effects("JENKINS").get("builds", 0) == builds + 1
    assert {task["try_number"] for run in (by_hand, by_gitlab) for task in world.admin.tasks(run).values()} == {1}


def test_one_event_delivered_many_times_at_once_is_one_run(world: World) -> None:
    event, commit = event_of_rc(world, "crowd")
    with ThreadPoolExecutor(DELIVERIES) as pool:
        same = [pool.submit(deliver, world, event, "crowd-1") for _ in range(DELIVERIES // 2)]
        others = [pool.submit(deliver, world, event, f"crowd-{number}") for number in range(2, DELIVERIES // 2 + 2)]
        answers = [sent.result() for sent in same + others]
    assert sorted(answer.status_code for answer in answers) == [200] * (DELIVERIES - 1) + [201]
    assert {answer.json()["run_id"] for answer in answers} == {world.run_id("crowd", "rc", commit)}
    assert world.released("crowd", "rc", commit) == "released"
    assert len(runs_of(world, "crowd")) == 1


def test_airflow_ends_the_connection_of_who_sends_too_much(world: World) -> None:
    _, headers = signed(world, {}, "large")
    address = httpx.URL(world.url("AIRFLOW"))
    with socket.create_connection((address.host, address.port), timeout=30) as sender:
        lines = [f"POST {PATH} HTTP/1.1", f"Host: {address.host}", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        sender.sendall("\r\n".join([*lines, "", ""]).encode())
        size = 1024 * 1024 + 1
        sender.sendall(f"{size:x}\r\n".encode() + b" " * size)
        answer = b""
        while part := sender.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413 ")

"""A release on a bad day: answers that are lost, and tasks that are killed. Whatever happens, it happens once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from platform_ops.common.fail_points import STAGES
from sandbox import fail_points
from sandbox.airflow_runs import DAG_ID
from tests.functional.world import World
from tests.waiting import wait_until

RELEASE = {
    "JENKINS": Counter(queued=1, builds=1, images=1),
    "HARBOR": Counter(images=1, tags=2, scans=1),
    "GITLAB": Counter({"pushes": 2, "statuses": 2, "deployments": 1, "deployments ended": 1}),
    "ARGOCD": Counter(syncs=1),
    "OBJECT_STORE": Counter(objects=2),
}
"""What the push of a commit to rc and its release do; one of the objects is the proof."""

LOST = {
    "JENKINS": [{"method": "POST", "path": "/buildWithParameters"}],
    "HARBOR": [{"method": "POST", "path": "/artifacts/[^/]+/tags$", "times": 2}],
    "GITLAB": [
        {"method": "POST", "path": "/(statuses/[^/]+|deployments)$", "times": 3},
        {"method": "PUT", "path": "/deployments/"},
        {"method": "POST", "path": "gitops.git/git-receive-pack$"},
    ],
    "ARGOCD": [{"method": "POST", "path": "/sync$"}],
    "OBJECT_STORE": [{"method": "PUT", "path": "^/evidence/", "times": 2}],
}  # fmt: skip
"""Every call of a release that changes something."""


CHANGES = (
    "gitlab.set_status", "jenkins.start", "harbor.add_tag", "gitlab.create_deployment", "git.push", "argocd.sync",
    "object_store.put_new", "gitlab.set_deployment",
)  # fmt: skip


def unpaused(world: World) -> set[str]:
    listed = world.admin.api.get("/api/v2/dags", params={"paused": False, "limit": 100}).json()
    assert listed["total_entries"] == len(listed["dags"])
    return {dag["dag_id"] for dag in listed["dags"]}


@pytest.fixture(autouse=True)
def nobody_else(world: World) -> Iterator[None]:
    """What is counted is the release's: no run of another DAG leaves anything meanwhile."""
    others = unpaused(world) - {DAG_ID}

    def pause(*, paused: bool) -> None:
        for dag_id in others:
            answer = world.admin.api.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": paused})
            assert answer.status_code == 200, answer.text

    def is_quiet() -> bool:
        asked = [
            world.admin.api.get(f"/api/v2/dags/{one}/dagRuns", params={"state": ["queued", "running"]})
            for one in others
        ]
        return not any(answer.json()["total_entries"] for answer in asked)

    def is_paused_quiet() -> bool:
        # Paused when quiet, since the runs of a paused DAG don't go on; and looked at again, since one may have begun.
        if is_quiet():
            pause(paused=True)
            if is_quiet():
                return True
            pause(paused=False)
        return False

    try:
        wait_until(is_paused_quiet, "the end of scheduled runs", 120)
        yield
    finally:
        pause(paused=False)


def test_only_releases_run_while_effects_are_counted(world: World) -> None:
    assert unpaused(world) == {DAG_ID}


def effects(world: World) -> dict[str, Counter[str]]:
    return {system: world.effects(system) for system in RELEASE}


def test_what_was_done_is_found_though_its_answer_was_lost(world: World) -> None:
    before = effects(world)
    with ExitStack() as stack:
        told = [
            stack.enter_context(world.faults(system, *({"kind": "lose_reply"} | order for order in orders)))
            for system, orders in LOST.items()
        ]
        # Its application is not automated, so the release itself asks for the sync.
        commit = world.push("notifier", "rc", files={"LOST": "once"}, title="Every answer is lost")
        assert world.released("notifier", "rc", commit) == "released"
        assert all(order["struck"] == order["times"] for tell in told for order in tell())
    after = effects(world)
    assert {system: after[system] - before[system] for system in RELEASE} == RELEASE


@pytest.mark.parametrize("stage", STAGES)
def test_a_task_that_is_killed_around_a_change_finds_its_own_work(world: World, stage: str) -> None:
    for point in CHANGES:
        fail_points.arm(world.state, point, stage)
    before = effects(world)
    commit = world.push("notifier", "rc", files={"KILLED": stage}, title=f"Killed {stage}")
    try:
        assert world.released("notifier", "rc", commit) == "released"
        assert fail_points.armed(world.state) == ()
    finally:
        fail_points.disarm(world.state)
    after = effects(world)
    assert {system: after[system] - before[system] for system in RELEASE} == RELEASE


def test_an_api_server_that_dies_when_it_has_made_the_run_leaves_one_run(world: World) -> None:
    before = effects(world)
    fail_points.arm(world.state, "airflow.start_run", "answered")
    try:
        commit = world.push("notifier", "rc", files={"KILLED": "the API server"}, title="Killed while it took the push")
        world.died("airflow-api-server")
        assert fail_points.armed(world.state) == ()
    finally:
        fail_points.disarm(world.state)
    world.server("start", "airflow-api-server")
    # Whether GitLab sends the event again in time or not: the run is there.
    assert world.released("notifier", "rc", commit) == "released"
    after = effects(world)
    assert {system: after[system] - before[system] for system in RELEASE} == RELEASE

"""Runs that Airflow ended without their last steps, and what closes them."""

import json

from jsonschema import Draft202012Validator

from platform_ops.evidence.document import BUCKET
from tests.functional.world import EVIDENCE, World, stopped

SYSTEMS = ("object_store",)
"""Whose real servers this is run against too."""

SERVICES: dict[str, dict[str, str]] = {
    "given-up": {}, "orphan": {}, "left-running": {}, "late-evidence": {}, "in-progress": {},
}  # fmt: skip
TEARDOWNS = ("record_evidence", "report_release")


def rows(told: dict) -> dict[str, dict]:
    """Return what a sweep closed, by run."""
    return {row["run"]: row for row in told["facts"]["closed"]}


def everything(world: World) -> dict[str, dict]:
    return {system: world.effects(system) for system in ("GITLAB", "JENKINS", "ARGOCD")}


def documents(world: World, run: str, dag_id: str = "release_service") -> list[dict]:
    with world.object_store() as store:
        keys = [found.object_name for found in store.list_objects(BUCKET, prefix=f"runs/{dag_id}/{run}/")]
        return [json.loads(store.get_object(BUCKET, key).read()) for key in keys]


def test_a_run_that_a_person_gives_up_still_closes_itself(world: World) -> None:
    run = world.asked("given-up", "Given up")
    commit = world.facts(run, "resolve_commit")["commit"]
    world.give_up(run)
    world.admin.wait(run)
    # Airflow judges by the step before the last ones, which it skipped, and calls the run green.
    assert world.admin.state(run) == "success"
    assert world.evidence(run)["verdict"] == "failed"
    assert world.status("given-up", commit, "prod")[0] == "failed"
    assert run not in rows(world.sweep())


def test_a_run_without_its_last_steps_is_closed_once(world: World) -> None:
    run = world.asked("orphan", "Ended without its last steps")
    commit = world.facts(run, "resolve_commit")["commit"]
    for step in TEARDOWNS:
        world.set_state(run, step, "failed")
    world.give_up(run)
    world.admin.wait(run)
    assert world.status("orphan", commit, "prod")[0] == "running"
    assert documents(world, run) == []

    before = everything(world)
    shown = rows(world.sweep(dry_run=True))
    assert shown[run]["was_open"] == "evidence, status"
    assert everything(world) == before
    assert documents(world, run) == []

    closed = rows(world.sweep())[run]
    assert (closed["verdict"], closed["ended_as"]) == ("failed", "failed")
    (document,) = documents(world, run)
    why = "Airflow ended the run as failed without its last steps"
    assert document["verdict"] == "failed"
    assert document["late"].startswith(why)
    state, description = world.status("orphan", commit, "prod")
    assert state == "failed"
    assert why in description
    assert description.startswith("failed · evidence sha256 ")

    after = everything(world)
    assert run not in rows(world.sweep())
    assert everything(world) == after
    assert len(documents(world, run)) == 1


def test_a_deployment_that_nobody_ended_is_ended(world: World) -> None:
    world.never_ready("left-running")
    commit = world.push("left-running", "dev", title="Ended while it was deployed")
    assert world.first_deployment("left-running", "dev") == [(commit, "running")]
    run = world.run_id("left-running", "dev", commit)
    for step in TEARDOWNS:
        world.set_state(run, step, "failed")
    world.admin.wait(run)
    assert world.deployments("left-running", "dev") == [(commit, "running")]
    assert rows(world.sweep())[run]["was_open"] == "evidence, status, deployment"
    assert world.deployments("left-running", "dev") == [(commit, "failed")]
    state, description = world.status("left-running", commit, "dev")
    assert state == "failed"
    assert "Airflow ended the run as failed without its last steps" in description
    assert run not in rows(world.sweep())


def test_evidence_that_could_not_be_stored_is_stored_later_and_told(world: World) -> None:
    with stopped(world, "object_store"):
        commit = world.push("late-evidence", "dev", title="Evidence comes late")
        run = world.run_id("late-evidence", "dev", commit)
        world.admin.wait(run)
    assert "no evidence could be stored" in world.status("late-evidence", commit, "dev")[1]
    assert rows(world.sweep())[run]["was_open"] == "evidence, status"
    (document,) = documents(world, run)
    assert (document["verdict"], document["differences"]) == ("released", [])
    state, description = world.status("late-evidence", commit, "dev")
    assert state == "success"
    assert "released · evidence sha256 " in description
    assert run not in rows(world.sweep())


def test_the_evidence_of_other_dags_is_stored_later_too(world: World) -> None:
    checks = world.runs("OPERATOR", "check_connections")
    with stopped(world, "object_store"):
        answer = checks.start({"connections": ["jenkins_default"]})
        assert answer.status_code == 200, answer.text
        run = str(answer.json()["dag_run_id"])
        checks.wait(run)
    closed = rows(world.sweep())[run]
    assert (closed["dag"], closed["was_open"], closed["verdict"]) == ("check_connections", "evidence", "sound")
    (document,) = documents(world, run, "check_connections")
    Draft202012Validator(EVIDENCE).validate(document)
    assert (document["subject"], document["late"][:8]) == ({"connections": ["jenkins_default"]}, "Airflow ")
    assert run not in rows(world.sweep())


def test_a_run_in_progress_is_left_alone(world: World) -> None:
    run = world.asked("in-progress", "Waits while others are closed")
    commit = world.facts(run, "resolve_commit")["commit"]
    assert run not in rows(world.sweep())
    assert world.status("in-progress", commit, "prod")[0] == "running"
    assert documents(world, run) == []
    assert world.runs("APPROVER").answer(run, "Approve").status_code == 200
    world.admin.wait(run)
    assert world.verdict(run) == "released"

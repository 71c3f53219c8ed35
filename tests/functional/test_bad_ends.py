"""What goes wrong in the things that are released, and in what people answer."""

import httpx
import pytest

from platform_ops.evidence.document import BUCKET
from tests.functional.world import BAD_PACKAGE, RED_TEST, World

SERVICES: dict[str, dict[str, str]] = {
    "red-tests": {}, "bad-scan": {}, "never-ready": {}, "refusal": {}, "own-work": {}, "tampering": {}, "unproven": {},
    "withdrawn": {}, "bad-input": {},
    # Long enough to be asked, short enough to be waited for.
    "expiry": {"24h": "3s"},
}  # fmt: skip


def red(world: World, service: str, environment: str, commit: str, verdict: str, *words: str) -> None:
    """Require a red run with its reason on the page and at GitLab, and nothing pinned."""
    run = world.run_id(service, environment, commit)
    assert world.released(service, environment, commit) == verdict
    state, description = world.status(service, commit, environment)
    assert state == "failed"
    assert description.startswith(f"{verdict} · evidence sha256 {world.facts(run, 'record_evidence')['sha256']}")
    page = world.page(run)
    for word in words:
        assert word in page
    assert commit not in world.pin_file(service, environment)
    assert world.evidence(run)["verdict"] == verdict


def test_a_red_unit_test_is_named(world: World) -> None:
    commit = world.push("red-tests", "dev", files=RED_TEST, title="Break the sum")
    red(world, "red-tests", "dev", commit, "failed", "test_the_sum_is_right")


def test_a_scan_above_the_policy_is_refused(world: World) -> None:
    commit = world.push("bad-scan", "dev", files=BAD_PACKAGE, title="Add leftpad")
    red(world, "bad-scan", "dev", commit, "refused", "1 Critical", "at most Medium is allowed")


def test_pods_that_never_get_ready_are_explained(world: World) -> None:
    world.never_ready("never-ready")
    commit = world.push("never-ready", "dev", title="Never ready")
    assert world.released("never-ready", "dev", commit) == "failed"
    run = world.run_id("never-ready", "dev", commit)
    assert world.admin.report(run, "verify_running")["error"] == "NeverReady"
    assert world.admin.report(run, "verify_running")["facts"]["troubles"]
    assert "ready" in world.page(run)
    assert world.status("never-ready", commit, "dev")[0] == "failed"


def test_a_no_turns_the_run_red_and_says_whose_it_was(world: World) -> None:
    run = world.asked("refusal", "Not today")
    assert world.runs("APPROVER2").answer(run, "Reject").status_code == 200
    world.admin.wait(run)
    commit = world.facts(run, "resolve_commit")["commit"]
    assert world.verdict(run) == "rejected"
    assert "quentin said no" in world.page(run)
    assert "quentin said no" in world.status("refusal", commit, "prod")[1]
    assert commit not in world.pin_file("refusal", "prod")


def test_no_answer_means_no(world: World) -> None:
    run = world.asked("expiry", "Nobody looks")
    world.admin.wait(run)
    commit = world.facts(run, "resolve_commit")["commit"]
    assert world.verdict(run) == "expired"
    assert world.status("expiry", commit, "prod")[0] == "failed"
    assert commit not in world.pin_file("expiry", "prod")


def test_nobody_approves_their_own_work(world: World) -> None:
    run = world.asked("own-work", "By Paula", person="paula")
    assert world.facts(run, "approve_release")["may_answer"] == ["quentin"]
    assert world.runs("APPROVER").answer(run, "Approve").status_code == 403
    assert world.runs("APPROVER2").answer(run, "Reject").status_code == 200
    # Paula wrote it and Quentin starts it: nobody is left.
    commit = world.facts(run, "resolve_commit")["commit"]
    world.admin.wait(run)
    second = world.start("own-work", "prod", commit, "APPROVER2")
    world.admin.wait(second)
    assert world.verdict(second) == "refused"
    assert world.admin.report(second, "approve_release")["error"] == "TooFewApprovers"
    assert commit not in world.pin_file("own-work", "prod")


def test_what_a_person_sets_by_hand_releases_nothing(world: World) -> None:
    run = world.asked("tampering", "Set by hand")
    commit = world.facts(run, "resolve_commit")["commit"]
    world.set_success(run, "approve_release")
    world.admin.wait(run)
    assert world.verdict(run) == "refused"
    assert world.admin.report(run, "judge_approval")["error"] == "NotApproved"
    world.set_success(run, "judge_approval")
    world.clear(run, "pin_image")
    world.admin.wait(run)
    assert world.admin.report(run, "pin_image")["error"] == "NotApproved"
    assert world.verdict(run) == "refused"
    assert commit not in world.pin_file("tampering", "prod")


def test_a_digest_that_was_edited_on_the_way_is_refused(world: World) -> None:
    run = world.asked("tampering", "Another digest")
    commit = world.facts(run, "resolve_commit")["commit"]
    report = world.admin.report(run, "verify_image")
    report["facts"]["digest"] = f"sha256:{'0' * 64}"
    path = f"{world.admin.path(run)}/taskInstances/verify_image/xcomEntries/report"
    assert world.admin.api.patch(path, json={"value": report}).status_code == 200
    assert world.runs("APPROVER").answer(run, "Approve").status_code == 200
    world.admin.wait(run)
    assert world.verdict(run) == "refused"
    assert world.admin.report(run, "pin_image")["error"] == "DigestChanged"
    assert commit not in world.pin_file("tampering", "prod")


def test_production_takes_only_what_ran_in_rc(world: World) -> None:
    commit = world.push("unproven", "master", title="Past rc")
    run = world.start("unproven", "prod", commit)
    world.admin.wait(run)
    assert world.verdict(run) == "refused"
    assert world.admin.report(run, "verify_image")["error"] == "Unproven"
    assert commit not in world.pin_file("unproven", "prod")


def test_a_proof_that_was_withdrawn_meanwhile_stops_the_pin(world: World) -> None:
    run = world.asked("withdrawn", "Proven for a while")
    commit = world.facts(run, "resolve_commit")["commit"]
    with world.object_store() as store:
        store.remove_object(BUCKET, world.facts(run, "verify_image")["proof"]["key"])
    assert world.runs("APPROVER").answer(run, "Approve").status_code == 200
    world.admin.wait(run)
    assert world.verdict(run) == "refused"
    assert world.admin.report(run, "pin_image")["error"] == "Unproven"
    assert world.evidence(run)["verdict"] == "refused"
    state, description = world.status("withdrawn", commit, "prod")
    assert state == "failed"
    assert "no proof of healthy pods in rc" in description
    assert commit not in world.pin_file("withdrawn", "prod")


def test_approved_in_conf_is_no_approval(world: World) -> None:
    run = world.start("tampering", "prod", approved=True)
    world.admin.wait(run)
    assert world.verdict(run) == "refused"
    assert "no parameter approved" in world.page(run)


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ({"service": "nothing", "environment": "dev"}, "nothing"),
        ({"service": "bad-input", "environment": "moon"}, "moon"),
        ({"service": "bad-input", "environment": "dev", "commit": "abc123"}, "abc123"),
        ({"environment": "dev"}, "service"),
    ],
)
def test_a_run_that_means_nothing_is_not_started(world: World, conf: dict[str, str], word: str) -> None:
    answer = world.runs("OPERATOR").start(conf)
    assert answer.status_code == 400
    assert word in answer.text


def test_a_viewer_starts_nothing(world: World) -> None:
    assert world.runs("VIEWER").start({"service": "bad-input", "environment": "dev"}).status_code == 403


def test_a_commit_from_elsewhere_is_refused(world: World) -> None:
    foreign = world.start("bad-input", "dev", "0123456789" * 4)
    world.admin.wait(foreign)
    assert world.admin.report(foreign, "resolve_commit")["error"] == "CommitNotFound"
    elsewhere = world.push("bad-input", "dev", title="Only on dev")
    assert world.released("bad-input", "dev", elsewhere) == "released"
    run = world.start("bad-input", "rc", elsewhere)
    world.admin.wait(run)
    assert world.admin.report(run, "resolve_commit")["error"] == "NotOnBranch"
    assert world.verdict(run) == "refused"
    # GitLab was not told of a start, so it is not told of an end.
    assert world.status("bad-input", elsewhere, "rc") == ("", "")


@pytest.mark.parametrize("headers", [{}, {"X-Gitlab-Token": "wrong-wrong-wrong"}])
def test_a_webhook_without_its_token_starts_nothing(world: World, headers: dict[str, str]) -> None:
    event = {
        "object_kind": "push",
        "ref": "refs/heads/dev",
        "after": "f" * 40,
        "project": {"path_with_namespace": "shop/bad-input"},
    }
    url = world.url("AIRFLOW", "/platform-ops/hooks/gitlab")
    answer = httpx.post(url, json=event, headers=headers | {"X-Gitlab-Event": "Push Hook"}, trust_env=False)
    assert answer.status_code == 401
    assert world.admin.state(world.run_id("bad-input", "dev", "f" * 40)) is None


def test_a_catalogue_file_with_an_unknown_field_is_named(world: World) -> None:
    path = world.home / "include" / "services" / "bad-input.yaml"
    good = path.read_text()
    try:
        path.write_text(good + "colour: blue\n")
        run = world.start("bad-input", "dev")
        world.admin.wait(run)
    finally:
        path.write_text(good)
    report = world.admin.report(run, "resolve_commit")
    assert report["error"] == "BadDocument"
    assert all(word in report["summary"] for word in ("bad-input.yaml", "line 40", "colour"))
    assert world.admin.state(run) == "failed"

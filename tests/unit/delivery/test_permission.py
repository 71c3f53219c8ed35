"""Who is asked about a release, and what their answer is tied to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from platform_ops.approvals.answers import told
from platform_ops.approvals.identities import UnknownPerson
from platform_ops.approvals.rules import (
    REJECT,
    ApprovalExpired,
    ApprovalForeign,
    ApprovalRejected,
    NotApproved,
    TooFewApprovers,
    Yes,
)
from platform_ops.delivery.names import GATES
from platform_ops.delivery.permission import Question, answers, approved_by, question
from platform_ops.delivery.pins import Pin

DIFF = "+digest: x\n"


@pytest.fixture
def ask(world):
    """Put the question of a release to production, from what the branch holds now."""

    def put(environment: str = "prod", since: str | None = None, **changes: str) -> Question:
        of, diff = changes.pop("of", world.ours), changes.pop("diff", DIFF)
        run_id = changes.pop("run_id", "r1")
        release = replace(world.release(environment, **changes), run_id=run_id)
        policy = release.service.targets["prod"].approval
        manual = {name: replace(target, approval=policy) for name, target in release.service.targets.items()}
        release = replace(release, service=replace(release.service, targets=manual))
        pin = Pin(world.other, since or world.first)
        with release.source() as source:
            asked = question(release, source, pin, of, diff)
        assert asked
        return asked

    return put


def commit(world, *parents: str, author: str = "dana", committer: str = "bot") -> str:
    made = world.source.commit("More", *parents, files={"app": "3"}, author=author, committer=committer)
    world.source.move(made, "master")
    return made


def test_the_question_holds_what_the_release_brings(world, ask) -> None:
    asked = ask(since=world.base)
    assert [one.sha for one in asked.commits] == [world.second, world.first]
    assert (asked.digest, asked.diff, asked.may_answer) == (world.ours, DIFF, ("paula", "quentin"))


@pytest.mark.parametrize("role", ["author", "committer"])
def test_who_wrote_or_committed_a_commit_is_not_asked(world, ask, role: str) -> None:
    middle = commit(world, world.second, **{role: "paula"})
    assert ask(commit=commit(world, middle)).may_answer == ("quentin",)


def test_who_wrote_what_runs_already_may_answer(world, ask) -> None:
    middle = commit(world, world.second, author="paula")
    assert ask(commit=commit(world, middle), since=middle).may_answer == ("paula", "quentin")


def test_who_merged_the_head_is_not_asked(world, ask) -> None:
    world.mergers = {world.second: ("paula",)}
    assert ask().may_answer == ("quentin",)


def test_who_merged_a_merge_commit_on_the_way_is_not_asked(world, ask) -> None:
    merge = commit(world, world.second, world.apart)
    world.mergers = {merge: ("quentin",)}
    assert ask(commit=commit(world, merge)).may_answer == ("paula",)


def test_who_started_the_run_is_not_asked(ask) -> None:
    assert ask(starter="paula").may_answer == ("quentin",)


def test_a_run_that_nobody_started_excludes_nobody(ask) -> None:
    assert ask(starter=None).may_answer == ("paula", "quentin")


def test_nobody_is_asked_when_all_took_part(world, ask) -> None:
    world.mergers = {world.second: ("paula",)}
    with pytest.raises(TooFewApprovers):
        ask(starter="quentin")


@pytest.mark.parametrize("role", ["author", "committer"])
def test_a_stranger_among_the_authors_stops_it(world, ask, role: str) -> None:
    made = commit(world, world.second, **{role: "eve"})
    with pytest.raises(UnknownPerson, match=r"eve@example\.com"):
        ask(commit=made)


def test_a_stranger_who_merged_stops_it(world, ask) -> None:
    world.mergers = {world.second: ("eve",)}
    with pytest.raises(UnknownPerson, match="GitLab user eve"):
        ask()


def test_the_same_question_has_the_same_binding(ask) -> None:
    assert ask().bound_to == ask().bound_to


@pytest.mark.parametrize(
    "change",
    [
        {"environment": "rc"},
        {"of": "sha256:" + "c" * 64},
        {"diff": DIFF + " "},
        {"run_id": "r2"},
        {"commit": "first", "since": "base"},
        {"service": "shop"},
    ],
)
def test_the_binding_changes_with_all_that_an_answer_depends_on(world, catalogue, ask, change: dict[str, str]) -> None:
    text = (catalogue / "services/web.yaml").read_text()
    (catalogue / "services/shop.yaml").write_text(text.replace("service: web", "service: shop"))
    same = ask()
    changed = ask(**{name: getattr(world, value, value) for name, value in change.items()})
    assert changed.bound_to != same.bound_to


def test_the_answer_comes_from_airflows_server(world) -> None:
    world.say_yes("b" * 64)
    assert answers(world.release(), 1) == {"approve_release": world.answers["approve_release"]}
    assert answers(world.release(), 2) == world.answers | {"confirm_release": None}
    assert [call.args for call in world.airflow.answer.mock_calls] == [
        ("release_service", "r1", gate) for gate in (GATES[0], *GATES)
    ]


def test_answers_are_told_in_order_and_nobody_said_no_at_expiry(world) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    world.say_yes("b" * 64, at=at)
    world.say_yes("b" * 64, None, REJECT, at, GATES[1])
    assert told(answers(world.release(), 2)) == [
        {"by": "paula", "said": "yes", "at": "2026-01-02T03:04:05+00:00"},
        {"by": None, "said": "no", "at": "2026-01-02T03:04:05+00:00"},
    ]
    assert told({GATES[0]: None, GATES[1]: replace(world.answers[GATES[1]], answered_at=None)}) == []


def test_a_yes_to_this_question_counts(world, ask) -> None:
    asked = ask()
    world.say_yes(asked.bound_to)
    yes = Yes("paula", world.answers["approve_release"].answered_at)
    assert approved_by(asked, answers(world.release(), 1), 1) == (yes,)


def test_without_an_answer_there_is_no_yes(world, ask) -> None:
    with pytest.raises(NotApproved):
        approved_by(ask(), answers(world.release(), 1), 1)


def test_an_answer_to_another_run_is_foreign(world, ask) -> None:
    world.say_yes(ask(run_id="r2").bound_to)
    with pytest.raises(ApprovalForeign, match="something else"):
        approved_by(ask(), answers(world.release(), 1), 1)


def test_a_yes_by_who_took_part_does_not_count(world, ask) -> None:
    asked = ask(starter="paula")
    world.say_yes(asked.bound_to, by="paula")
    with pytest.raises(ApprovalForeign, match="may not approve"):
        approved_by(asked, answers(world.release(), 1), 1)


def test_a_no_and_an_old_yes_are_no(world, ask) -> None:
    asked = ask()
    world.say_yes(asked.bound_to, chosen=REJECT)
    with pytest.raises(ApprovalRejected):
        approved_by(asked, answers(world.release(), 1), 1)
    world.say_yes(asked.bound_to, at=datetime.now(UTC) - timedelta(hours=25))
    with pytest.raises(ApprovalExpired):
        approved_by(asked, answers(world.release(), 1), 1)


def test_another_quorum_is_another_question(ask, catalogue) -> None:
    one = ask()
    web = catalogue / "services/web.yaml"
    web.write_text(web.read_text().replace("quorum: 1", "quorum: 2"))
    two = ask()
    assert (one.policy.quorum, two.policy.quorum) == (1, 2)
    assert one.bound_to != two.bound_to

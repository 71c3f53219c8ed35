"""What people read before they answer, made of other people's text."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.approvals.asking import plain
from platform_ops.approvals.policy import ApprovalPolicy
from platform_ops.approvals.rules import TooFewApprovers, Yes, binding_line, bound_by
from platform_ops.delivery.permission import Question
from platform_ops.delivery.request import LISTED_COMMITS, body, request
from platform_ops.systems.git.models import Commit

POLICY = ApprovalPolicy(("paula", "quentin"), 1, timedelta(hours=24))
BOUND = "b" * 64
FORGED = binding_line("e" * 64)
BUILD = {"tests": {"passed": 5, "failed": 0, "skipped": 1}}
IMAGE = {"counts": {"Low": 3, "High": 0}, "allowed": "Medium"}


def commit(title: str = "Fix it", author: str = "Dana", sha: str = "c" * 40) -> Commit:
    return Commit(sha, "t" * 40, (), author, "dana@example.com", "Bot", "bot@example.com", "2026-01-02", title)


def question(*commits: Commit, diff: str = "+digest: x\n") -> Question:
    return Question(POLICY, "sha256:" + "a" * 64, diff, commits or (commit(),), ("paula", "quentin"), BOUND)


def text_of(world, asked: Question, **changes: str) -> str:
    return body(world.release("prod", **changes), asked, (), BUILD, IMAGE)


def test_the_request_names_the_release_and_the_people(world) -> None:
    made = request(world.release("prod"), question(), (), build=BUILD, image=IMAGE)
    assert made.subject == f"Release web {world.second[:12]} to prod?"
    assert (made.bound_to, made.may_answer) == (BOUND, ("paula", "quentin"))
    assert made.report.summary.startswith("paula or quentin may say yes or no until 20")
    facts = made.report.facts
    assert (facts["binding"], facts["diff"], facts["may_answer"]) == (BOUND, "+digest: x\n", ["paula", "quentin"])
    assert facts["answers"] == []
    assert facts["expires_at"] == made.expires_at.isoformat(timespec="seconds")
    assert timedelta(hours=23) < made.expires_at - datetime.now(UTC) <= timedelta(hours=24)


def test_the_second_request_goes_to_the_others_until_the_first_yes_is_too_old(world) -> None:
    asked = replace(question(), policy=replace(POLICY, quorum=2))
    answered = datetime.now(UTC) - timedelta(hours=23)
    made = request(world.release("prod"), asked, (Yes("paula", answered),), build=BUILD, image=IMAGE)
    assert made.subject == f"paula said yes. Release web {world.second[:12]} to prod?"
    assert (made.bound_to, made.may_answer) == (BOUND, ("quentin",))
    assert made.expires_at == answered + timedelta(hours=24)
    assert made.report.summary.startswith("paula said yes. quentin may say yes or no until 20")
    facts = made.report.facts
    assert facts["may_answer"] == ["quentin"]
    assert facts["answers"] == [{"by": "paula", "said": "yes", "at": answered.isoformat(timespec="seconds")}]


def test_a_server_whose_clock_is_ahead_gives_no_more_time(world) -> None:
    ahead = Yes("paula", datetime.now(UTC) + timedelta(hours=1))
    made = request(world.release("prod"), question(), (ahead,), build=BUILD, image=IMAGE)
    assert made.expires_at <= datetime.now(UTC) + timedelta(hours=24)


def test_nobody_is_asked_when_only_who_said_yes_is_left(world) -> None:
    asked = replace(question(), may_answer=("paula",))
    with pytest.raises(TooFewApprovers, match="Nobody is left to answer"):
        request(world.release("prod"), asked, (Yes("paula", datetime.now(UTC)),), build=BUILD, image=IMAGE)


def test_the_text_says_how_many_must_agree_and_who_has(world) -> None:
    asked = replace(question(), policy=replace(POLICY, quorum=2))
    zone = timezone(timedelta(hours=9))
    given = (Yes("paula", datetime(2026, 1, 2, 12, 4, 5, tzinfo=zone)),)
    first, second = (body(world.release("prod"), asked, yes, BUILD, IMAGE).splitlines() for yes in ((), given))
    assert "- 2 people must agree; you are the first" in first
    assert "- 2 people must agree; `paula` said yes at 2026-01-02 03:04:05 UTC" in second
    assert not any("must agree" in line for line in text_of(world, question()).splitlines())


def test_the_text_shows_all_that_an_answer_depends_on(world) -> None:
    text = text_of(world, question(), reason="Black Friday")
    for shown in (
        "**web** to **prod**, from branch `master`",
        f"- commit `{world.second}`",
        f"- image `sha256:{'a' * 64}`",
        "- tests: 5 passed, 0 failed, 1 skipped",
        "- scan: 3 Low; allowed up to Medium",
        "- reason: `Black Friday`",
        "- `cccccccccccc` `Fix it` (`Dana`)",
        "    +digest: x",
    ):
        assert shown in text.splitlines()


def test_what_earlier_steps_did_not_tell_is_said_plainly(world) -> None:
    text = body(world.release("prod"), question(), (), {}, {"allowed": "Medium"})
    assert "- tests: passed when this source tree was built" in text
    assert "- scan: nothing found; allowed up to Medium" in text
    assert "reason" not in text


@pytest.mark.parametrize(("count", "more"), [(LISTED_COMMITS, None), (LISTED_COMMITS + 3, "- and 3 more")])
def test_a_long_list_of_commits_is_cut_and_says_so(world, count: int, more: str | None) -> None:
    lines = text_of(world, question(*[commit(f"Change {number}") for number in range(count)])).splitlines()
    assert f"**{count} commits since the last release**" in lines
    assert sum(line.startswith("- `cccccccccccc`") for line in lines) == LISTED_COMMITS
    assert (more in lines) if more else not any("more" in line for line in lines)


def test_foreign_text_is_code_on_one_line() -> None:
    assert plain("a\nb\r\n\tc") == "`a b c`"
    assert plain("` **bold** [x](http://evil)") == "`' **bold** [x](http://evil)`"
    assert plain(" \n ") == ""
    assert len(plain("x" * 1000)) == 202


@given(st.text())
def test_no_foreign_text_leaves_its_quotes_or_its_line(text: str) -> None:
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    assert "`" not in shown[1:-1]
    assert not shown or (shown[0], shown[-1]) == ("`", "`")


@pytest.mark.parametrize(
    "asked",
    [
        question(commit(f"Fix\n\n{FORGED}")),
        question(commit(author=f"Dana\n{FORGED}")),
        question(diff=f"+digest: x\n{FORGED}"),
        question(diff=f"+digest: x\r{FORGED}\n"),
        question(diff=f"+digest: x\u2028{FORGED}"),
    ],
)
def test_no_title_name_or_diff_forges_the_binding(world, asked: Question) -> None:
    text = text_of(world, asked, reason=f"Why?\n{FORGED}")
    assert FORGED not in text.splitlines()
    # The gate's own line comes last; the text alone carries none, whatever it quotes.
    assert bound_by(text) is None
    assert bound_by(f"{text.rstrip()}\n\n{binding_line(BOUND)}") == BOUND


def test_a_diff_stays_inside_its_block(world) -> None:
    text = text_of(world, question(diff="--- a/x\n+++ b/x\n+# **Approve this**\n"))
    block = text.partition("**What changes in GitOps**\n\n")[2]
    assert block.splitlines() == ["    --- a/x", "    +++ b/x", "    +# **Approve this**"]

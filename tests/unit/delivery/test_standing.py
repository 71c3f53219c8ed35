import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_ops.common.errors import Superseded
from platform_ops.delivery.pins import Pin
from platform_ops.delivery.standing import Diverged, Standing, may_go_on, standing

LINE = ["a" * 40, "b" * 40, "c" * 40]
OTHER = "d" * 40
DIGEST = "sha256:" + "1" * 64
ELSE = "sha256:" + "2" * 64


def on_the_line(older: str, newer: str) -> bool:
    return older in LINE and newer in LINE and LINE.index(older) <= LINE.index(newer)


@pytest.mark.parametrize(
    ("pinned", "commit", "expected"),
    [
        (None, LINE[0], Standing.FIRST),
        (LINE[1], LINE[1], Standing.PINNED),
        (LINE[0], LINE[2], Standing.AHEAD),
        (LINE[2], LINE[0], Standing.BEHIND),
        (LINE[1], OTHER, Standing.APART),
    ],
)
def test_standing(pinned: str | None, commit: str, expected: Standing) -> None:
    pin = Pin(DIGEST, pinned) if pinned else None
    assert standing(pin, commit, on_the_line) is expected


def test_an_older_commit_with_another_digest_is_superseded_everywhere() -> None:
    for environment in ("dev", "rc", "prod"):
        with pytest.raises(Superseded, match="already pins bbbbbbbbbbbb"):
            may_go_on(Standing.BEHIND, Pin(ELSE, LINE[1]), LINE[0], environment, DIGEST)


def test_a_newer_commit_with_the_same_digest_supersedes_nothing() -> None:
    may_go_on(Standing.BEHIND, Pin(DIGEST, LINE[1]), LINE[0], "prod", DIGEST)


@pytest.mark.parametrize("environment", ["rc", "prod"])
def test_diverged_history_is_refused_where_people_rely_on_the_line(environment: str) -> None:
    with pytest.raises(Diverged, match="neither contains it"):
        may_go_on(Standing.APART, Pin(ELSE, OTHER), LINE[0], environment, None)


def test_dev_follows_its_branch_to_another_line() -> None:
    may_go_on(Standing.APART, Pin(ELSE, OTHER), LINE[0], "dev", None)


@given(
    pinned=st.sampled_from([*LINE, OTHER]),
    commit=st.sampled_from([*LINE, OTHER]),
    environment=st.sampled_from(["dev", "rc", "prod"]),
)
def test_no_release_ever_moves_back_along_its_line(pinned: str, commit: str, environment: str) -> None:
    pin = Pin(ELSE, pinned)
    stand = standing(pin, commit, on_the_line)
    try:
        may_go_on(stand, pin, commit, environment, DIGEST)
    except (Superseded, Diverged):
        return
    assert not (pinned != commit and on_the_line(commit, pinned))

import pytest

from platform_ops.common.errors import (
    AuthenticationFailed,
    Busy,
    FailNow,
    Invalid,
    NotFound,
    PlatformError,
    Refused,
    Superseded,
    TryAgain,
    error_for_status,
    with_facts,
)


@pytest.mark.parametrize("kind", [Refused, Superseded, Busy])
def test_an_error_takes_along_what_was_known_before_it(kind: type[PlatformError]) -> None:
    error = kind("No.")
    with pytest.raises(kind) as caught, with_facts({"commit": "c"}):
        raise error
    assert caught.value is error
    assert error.facts == {"commit": "c"}


def test_an_errors_own_facts_win() -> None:
    with pytest.raises(Refused) as caught, with_facts({"digest": "old", "commit": "c"}):
        raise Refused("No.", facts={"digest": "new"})
    assert caught.value.facts == {"digest": "new", "commit": "c"}


def test_the_facts_known_so_far_are_not_changed() -> None:
    known = {"commit": "c"}
    with pytest.raises(Refused), with_facts(known):
        raise Refused("No.", facts={"digest": "d"})
    assert known == {"commit": "c"}


def test_facts_learned_inside_the_block_count_too() -> None:
    known = {"commit": "c"}

    def learn() -> None:
        with with_facts(known):
            known["digest"] = "d"
            raise Refused("No.")

    with pytest.raises(Refused) as caught:
        learn()
    assert caught.value.facts == {"commit": "c", "digest": "d"}


def test_other_errors_and_good_ends_pass_untouched() -> None:
    with with_facts({"commit": "c"}):
        pass
    with pytest.raises(KeyError) as caught, with_facts({"commit": "c"}):
        raise KeyError("x")
    assert not hasattr(caught.value, "facts")


@pytest.mark.parametrize(
    ("status", "kind", "family"),
    [
        (401, AuthenticationFailed, FailNow),
        (403, AuthenticationFailed, FailNow),
        (404, NotFound, FailNow),
        (410, NotFound, FailNow),
        (400, Invalid, FailNow),
        (422, Invalid, FailNow),
        (409, Busy, TryAgain),
        (412, Busy, TryAgain),
        (423, Busy, TryAgain),
        (429, Busy, TryAgain),
        (500, Busy, TryAgain),
        (503, Busy, TryAgain),
    ],
)
def test_each_status_is_for_now_or_for_later(status: int, kind: type[PlatformError], family: type) -> None:
    assert error_for_status(status) is kind
    assert issubclass(kind, family)

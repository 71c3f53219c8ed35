"""Contexts that are entered one ahead of their use."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from platform_ops.backups.in_order import one_ahead


def noted(count: int, said: list[str]) -> Generator[int]:
    @contextmanager
    def one(number: int) -> Iterator[int]:
        said.append(f"enter {number}")
        try:
            yield number
        finally:
            said.append(f"leave {number}")

    return one_ahead(map(one, range(count)))


@pytest.mark.parametrize("count", range(4))
def test_each_is_used_in_its_turn_while_the_next_is_there(count: int) -> None:
    said = list[str]()
    for number in noted(count, said):
        said.append(f"use {number}")
        assert f"leave {number}" not in said
        assert (f"enter {number + 1}" in said) == (number + 1 < count)
        assert f"enter {number + 2}" not in said
    assert [one for one in said if "use" in one] == [f"use {number}" for number in range(count)]
    assert sorted(one for one in said if "leave" in one) == [f"leave {number}" for number in range(count)]


def test_what_was_entered_is_left_when_its_user_fails() -> None:
    said = list[str]()
    with suppress(ZeroDivisionError), closing(noted(3, said)) as numbers:
        next(numbers)
        raise ZeroDivisionError
    assert sorted(said) == ["enter 0", "enter 1", "leave 0", "leave 1"]

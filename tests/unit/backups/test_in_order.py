"""Work that is done at once and given back in order, and contexts that are entered one ahead of their use."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from threading import Event

import pytest

from platform_ops.backups.in_order import in_order, one_ahead


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


def test_results_come_in_order_whatever_is_done_first() -> None:
    second_done = Event()

    def work(number: int) -> int:
        second_done.wait(10) if number == 0 else second_done.set()
        return number

    assert list(in_order(range(200), work)) == list(range(200))


def test_what_is_ready_takes_no_work() -> None:
    worked = list[int]()

    def work(number: int) -> str:
        worked.append(number)
        return f"worked on {number}"

    found = in_order(range(1, 5), work, ready=lambda number: f"had {number}" if number % 2 else None)
    assert list(found) == ["had 1", "worked on 2", "had 3", "worked on 4"]
    assert sorted(worked) == [2, 4]


def test_the_first_error_ends_it() -> None:
    begun = list[int]()

    def work(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    with pytest.raises(ValueError, match="five"):
        list(in_order(range(10**6), work))
    assert len(begun) < 200

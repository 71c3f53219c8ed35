"""Several things at once, with the results in the order in which they were asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

WORKERS = 8
_AHEAD = 8
"""How many things for each thread are asked for before the first is done."""

A = TypeVar("A")
R = TypeVar("R")


def one_ahead(contexts: Iterable[AbstractContextManager[R]]) -> Generator[R]:
    """Enter each context while the one before it is in use; a caller that stops early must close the generator."""
    entered: deque[tuple[ExitStack, R]] = deque()
    try:
        for context in contexts:
            stack = ExitStack()
            entered.append((stack, stack.enter_context(context)))
            if len(entered) > 1:
                yield entered[0][1]
                entered.popleft()[0].close()
        if entered:
            yield entered[0][1]
    finally:
        for stack, _ in entered:
            stack.close()


def in_order(
    items: Iterable[A],
    work: Callable[[A], Callable[[], R] | None],
    otherwise: Callable[[A], R] | None = None,
    *,
    workers: int = WORKERS,
) -> Iterator[R]:
    """Yield a result for each item, in order; work that takes long is done in threads.

    The first error ends it: what has not begun by then is not begun.

    :param work: returns what a thread is to do for an item; None where ``otherwise`` gives the result at once.
    :param otherwise: not needed where every item has work.
    """
    waiting: deque[Future[R] | A] = deque()

    def result(one: Future[R] | A) -> R:
        if isinstance(one, Future):
            return one.result()
        if otherwise is None:  # pragma: no cover
            raise AssertionError("an item without work needs another way to its result")
        return otherwise(one)

    with ThreadPoolExecutor(workers, thread_name_prefix="in-order") as pool:
        try:
            for item in items:
                task = work(item)
                waiting.append(item if task is None else pool.submit(task))
                while len(waiting) > _AHEAD * workers or (waiting and _is_ready(waiting[0])):
                    yield result(waiting.popleft())
            while waiting:
                yield result(waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _is_ready(one: object) -> bool:
    return not isinstance(one, Future) or one.done()

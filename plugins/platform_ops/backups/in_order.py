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
    work: Callable[[A], R],
    *,
    ready: Callable[[A], R | None] = lambda _: None,
    workers: int = WORKERS,
) -> Iterator[R]:
    """Yield a result for each item, in order; the work is done in threads.

    The first error ends it: what has not begun by then is not begun.

    :param ready: returns a result that takes no work; None for an item that has to be worked on.
    """
    waiting: deque[Future[R] | R] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="in-order") as pool:
        try:
            for item in items:
                known = ready(item)
                waiting.append(pool.submit(work, item) if known is None else known)
                while len(waiting) > _AHEAD * workers or (waiting and _is_done(waiting[0])):
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _is_done(one: object) -> bool:
    return not isinstance(one, Future) or one.done()


def _result(one: Future[R] | R) -> R:
    return one.result() if isinstance(one, Future) else one

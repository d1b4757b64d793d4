"""Work done in threads beside the main one, results in order and memory bounded."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_workers() -> int:
    """Threads that decode pictures where none are asked for: one for each processor, at most 8."""
    return min(len(os.sched_getaffinity(0)), 8)


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Generator[Result, None, None]:
    """``map`` in threads: results in the items' order, at most ``ahead`` of them waiting to be taken.

    An error of the function is raised where its result would come; what has not begun is then cancelled.

    Args:
        function: called in a thread; decoding pictures releases the interpreter's lock.
        items: its arguments.
        workers: threads; 0 calls the function in the caller's own.
        ahead: items begun before the first result is taken, at least 1.
    """
    if workers == 0:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pydissect") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

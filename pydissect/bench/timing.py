"""Taking times in turn, so that what slows the machine down slows all sides down."""

import os
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)


def seconds(function: Callable[[], object]) -> float:
    """How long a call takes."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def best_seconds(function: Callable[[], object], runs: int) -> float:
    """How long a call takes when other work disturbs it least: the best of several."""
    return min(seconds(function) for _ in range(runs))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch, and with it our kernels, works on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def cpu_level(name: str) -> Iterator[None]:
    """Our kernels use this instruction set."""
    before = os.environ.get("PYDISSECT_CPU_LEVEL")
    os.environ["PYDISSECT_CPU_LEVEL"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYDISSECT_CPU_LEVEL"]
        else:
            os.environ["PYDISSECT_CPU_LEVEL"] = before


def interleaved(
    sides: Mapping[Key, Callable[[], float]], rounds: int, done: Callable[[int], None]
) -> dict[Key, list[float]]:
    """Seconds of each side in each round. Every second round runs backwards.

    Args:
        sides: each returns how long it took.
        rounds: how often each is run.
        done: told how many rounds are.
    """
    times: dict[Key, list[float]] = {key: [] for key in sides}
    done(0)
    for i in range(rounds):
        for key in list(sides) if i % 2 == 0 else reversed(list(sides)):
            times[key].append(sides[key]())
        done(i + 1)
    return times


def median_ratio(above: list[float], below: list[float]) -> float:
    """The median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))

"""Work in threads: order, look-ahead, errors, cancellation."""

import threading
import time

import pytest

from pydissect.parallel import ordered_map


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("ahead", [1, 2, 7, 100])
def test_results_come_in_order(workers: int, ahead: int):
    def function(item: int) -> int:
        # The first of each group of three are the slowest.
        time.sleep(0.002 * (2 - item % 3))
        return item * item

    assert list(ordered_map(function, range(20), workers, ahead)) == [i * i for i in range(20)]


@pytest.mark.parametrize("workers", [0, 2])
def test_no_items(workers: int):
    assert list(ordered_map(str, [], workers, 4)) == []


def test_threads_work_at_the_same_time():
    """Each waits for the other, so one after the other would never end."""
    meeting = threading.Barrier(2, timeout=60)

    def function(item: int) -> int:
        meeting.wait()
        return item

    assert list(ordered_map(function, range(4), workers=2, ahead=2)) == [0, 1, 2, 3]


def test_look_ahead_is_bounded():
    taken: list[int] = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = ordered_map(lambda item: item, items(), workers=4, ahead=5)
    assert taken == []  # nothing begins before the first result is wanted
    for i in range(10):
        assert next(results) == i
        # Item i + 5 is fetched no sooner than result i has been taken, and this asks for result i.
        assert len(taken) == i + 5
    results.close()


def test_no_workers_call_in_the_callers_thread():
    threads = list(ordered_map(lambda _: threading.current_thread(), range(3), 0, 8))
    assert set(threads) == {threading.current_thread()}


def test_no_workers_begin_nothing_ahead():
    begun: list[int] = []
    results = ordered_map(begun.append, range(5), 0, 4)
    next(results)
    assert begun == [0]


def test_workers_are_other_threads():
    threads = set(ordered_map(lambda _: threading.current_thread(), range(3), 2, 8))
    assert threading.current_thread() not in threads


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ahead", [1, 50])
def test_an_error_is_raised_in_its_place(workers: int, ahead: int):
    def function(item: int) -> int:
        if item in (3, 5):
            raise ValueError(f"item {item}")
        return item

    results = ordered_map(function, range(10), workers, ahead)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_an_error_cancels_what_has_not_begun():
    begun: list[int] = []

    def function(item: int) -> None:
        begun.append(item)
        if item == 0:
            raise ValueError
        time.sleep(0.05)

    with pytest.raises(ValueError):  # noqa: PT011 (a message would say no more)
        list(ordered_map(function, range(1000), workers=1, ahead=1000))
    # One thread: beside the item that failed, at most the one that it had gone on to.
    assert len(begun) <= 2


def test_closing_cancels_what_has_not_begun():
    begun: list[int] = []

    def function(item: int) -> int:
        begun.append(item)
        if item > 0:
            time.sleep(0.05)
        return item

    # 400 items are waiting when the first result is taken: 10 s of work for two threads.
    results = ordered_map(function, range(1000), workers=2, ahead=400)
    assert next(results) == 0
    results.close()
    assert len(begun) < 200
    finished = list(begun)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pydissect")]
    time.sleep(0.1)
    assert begun == finished


def test_the_items_own_error_ends_the_threads():
    def items():
        yield 1
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(ordered_map(lambda item: item, items(), 2, 4))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pydissect")]

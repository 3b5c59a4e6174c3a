"""Items on an executor: all of them, a bounded number at once, and one bad one stops no other."""

import doctest
import math
import threading
import time
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context

import pytest

from imgtool import batch


def test_the_example_in_the_docstring_runs():
    assert doctest.testmod(batch) == (0, 2)


def threads():
    return ThreadPoolExecutor(2)


def processes():
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def this_thread():
    return nullcontext()


@pytest.mark.parametrize("executor", [threads, processes, this_thread])
@pytest.mark.parametrize("window", [1, 3, 100])
def test_every_item_comes_back_once_with_its_result_or_its_error(executor, window):
    with executor() as pool:
        results = dict(batch.run(math.sqrt, range(-4, 5), pool, window=window))
    assert sorted(results) == list(range(-4, 5))
    assert all(isinstance(results[n], ValueError) for n in range(-4, 0))
    assert all(results[n] == math.sqrt(n) for n in range(5))


def test_no_items_are_no_results():
    with ThreadPoolExecutor(1) as pool:
        assert list(batch.run(math.sqrt, [], pool, window=4)) == []


def test_items_are_taken_only_as_places_come_free():
    taken = []

    def items():
        for n in range(20):
            taken.append(n)
            yield n

    with ThreadPoolExecutor(2) as pool:
        for done, _ in enumerate(batch.run(math.sqrt, items(), pool, window=3), 1):
            assert len(taken) <= done + 3


def test_items_are_yielded_as_they_finish():
    gate = threading.Event()

    def work(n):
        if n == 0:
            assert gate.wait(10)
        return n

    with ThreadPoolExecutor(2) as pool:
        results = batch.run(work, [0, 1], pool, window=2)
        assert next(results) == (1, 1)
        gate.set()
        assert list(results) == [(0, 0)]


def test_closing_early_cancels_what_has_not_begun():
    begun = []

    def work(n):
        begun.append(n)
        time.sleep(0.01)
        return n

    with ThreadPoolExecutor(1) as pool:
        results = batch.run(work, range(50), pool, window=50)
        next(results)
        results.close()
    assert len(begun) < 10


def test_an_interrupt_inside_the_work_ends_the_batch():
    def work(n):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyboardInterrupt):
        list(batch.run(work, range(3), pool, window=1))


def test_what_the_executor_cancels_by_itself_is_an_error_of_its_item():
    class Gone(Executor):
        def submit(self, work, /, *arguments):
            future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    ((item, error),) = batch.run(math.sqrt, [4], Gone(), window=1)
    assert item == 4
    assert isinstance(error, CancelledError)

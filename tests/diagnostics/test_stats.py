"""``stats``: six counts that are a dict, and what else it counts."""

import copy
import json
import pickle
import threading
import time

import pytest
from patience import LIMIT, until

from graphfutures import GraphExecutor, current_executor
from graphfutures.diagnostics.totals import Slots


@pytest.fixture
def executor():
    with GraphExecutor(2) as one:
        yield one


def fail():
    raise ValueError("bad")


def test_it_is_a_dict_of_six_counts(executor):
    assert executor.submit(abs, -1).result(LIMIT) == 1
    executor.shutdown()
    stats = executor.stats()
    counts = {"waiting": 0, "ready": 0, "running": 0, "done": 1, "failed": 0, "cancelled": 0}
    assert stats == counts
    assert repr(stats) == repr(counts)
    assert json.loads(json.dumps(stats)) == counts
    assert {**stats} == stats | {} == counts
    for copied in (pickle.loads(pickle.dumps(stats)), copy.deepcopy(stats)):
        assert copied == counts
        assert type(copied) is dict


def test_totals_by_name(executor):
    nap = executor.options(name="nap")
    for seconds in (0.01, 0.02):
        nap.submit(time.sleep, seconds).result(LIMIT)
    failed = executor.submit(fail)
    assert isinstance(executor.submit(abs, failed).exception(LIMIT), ValueError)
    executor.shutdown()
    functions = executor.stats().functions
    assert list(functions) == ["nap", "fail"], "the one first that took longest; what never ran is not there"
    assert functions["nap"].attempts == 2
    assert functions["nap"].failed == 0
    assert 0.02 <= functions["nap"].longest <= functions["nap"].seconds
    assert functions["nap"].mean == functions["nap"].seconds / 2 >= 0.015
    assert (functions["fail"].attempts, functions["fail"].failed, functions["fail"].bytes) == (1, 1, 0)


def test_further_attempts_count_as_such(executor):
    failed = executor.options(retries=2).submit(fail)
    assert isinstance(failed.exception(LIMIT), ValueError)
    executor.shutdown()
    stats = executor.stats()
    assert (stats["failed"], stats.functions["fail"].attempts, stats.functions["fail"].failed) == (1, 3, 3)


def test_it_is_of_one_moment(executor):
    assert executor.submit(abs, -1).result(LIMIT) == 1
    assert until(executor.attempts)
    before = executor.stats()
    assert executor.submit(len, "ab").result(LIMIT) == 2
    executor.shutdown()
    assert list(before.functions) == ["abs"]
    assert set(executor.stats().functions) == {"abs", "len"}


def test_slots(executor):
    assert executor.stats().slots == (2, 0, 0)
    gate, begun = threading.Event(), threading.Semaphore(0)

    def wait():
        begun.release()
        assert gate.wait(LIMIT)

    def outer():
        return executor.submit(wait).result()

    first = executor.submit(wait)
    assert begun.acquire(timeout=LIMIT)
    assert executor.stats().slots == (2, 1, 0)
    second = executor.submit(outer)
    assert begun.acquire(timeout=LIMIT)
    assert executor.stats().slots == Slots(number=2, busy=2, lent=1)
    gate.set()
    assert (first.result(LIMIT), second.result(LIMIT)) == (None, None)


def test_a_slot_of_one_whose_time_is_over_is_busy(executor):
    gate = threading.Event()
    late = executor.options(timeout=0.05).submit(gate.wait, LIMIT)
    assert isinstance(late.exception(LIMIT), TimeoutError)
    assert executor.stats()["running"] == 0
    assert executor.stats().slots.busy == 1
    gate.set()
    assert until(lambda: executor.stats().slots.busy == 0)


def test_slots_of_several_backends():
    with GraphExecutor(2, backends={"inline": 1}) as executor:
        assert executor.stats().slots.number == 3


def test_what_is_forgotten_is_counted():
    with GraphExecutor(2) as executor:
        for future in [executor.submit(int) for _ in range(10_050)]:
            future.result(LIMIT)
    stats = executor.stats()
    assert stats.functions["int"].attempts == 10_000
    assert stats.missing == 50
    with GraphExecutor(2, record=True) as executor:
        for future in [executor.submit(int) for _ in range(10_050)]:
            future.result(LIMIT)
    assert (executor.stats().functions["int"].attempts, executor.stats().missing) == (10_050, 0)


def test_on_threads_no_bytes_are_known(executor):
    future = executor.submit(bytes, 1_000_000)
    assert len(future.result(LIMIT)) == 1_000_000
    assert executor.stats().bytes == 0


def seen_inside():
    stats = current_executor().stats()
    return type(stats).__name__, stats["running"], len(stats)


@pytest.mark.ci
def test_on_processes_bytes_in_files_are_known_and_tasks_see_a_plain_dict():
    with GraphExecutor(1, backend="processes") as executor:
        assert executor.submit(seen_inside).result(LIMIT) == ("dict", 1, 6)
        future = executor.submit(bytes, 1_000_000)
        assert until(future.done)
        assert 1_000_000 <= executor.stats().bytes < 1_100_000
        del future
        assert until(lambda: executor.stats().bytes == 0)
        assert executor.stats().slots.number == 1


def test_views_tell_the_same(executor):
    for other in (executor.options(name="a"), executor.strict, executor.options(name="a").strict):
        assert other.stats() == executor.stats()
        assert other.stats().slots == (2, 0, 0)

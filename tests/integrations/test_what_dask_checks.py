"""What dask checks of its schedulers for threads and processes, checked of ours.

Pools that users bring are in ``POOLS``.
"""

from __future__ import annotations

import pickle
import random
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import ThreadPool
from operator import add
from typing import Any

import dask
import numpy as np
import pytest
from dask.callbacks import Callback
from patience import LIMIT, in_time

import graphfutures
from graphfutures import GraphExecutor, schedulers

SPAWN = get_context("spawn")
VAR: ContextVar[int] = ContextVar("VAR", default=1)
worker = threading.local()


def mark_worker() -> None:
    worker.of_pool = True


def in_pool(*needs: Any) -> bool:
    return getattr(worker, "of_pool", False)


def inc(number: int) -> int:
    return number + 1


def deep(number: int) -> None:
    if number:
        deep(number - 1)
    raise LookupError("at the bottom")


POOLS = {
    "ThreadPool": lambda: ThreadPool(2, mark_worker),
    "ThreadPoolExecutor": lambda: ThreadPoolExecutor(2, initializer=mark_worker),
    "Pool": lambda: SPAWN.Pool(2, mark_worker),
    "ProcessPoolExecutor": lambda: ProcessPoolExecutor(2, SPAWN, mark_worker),
}


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """Started before the threads of a test are counted."""
    with ProcessPoolExecutor(1, SPAWN) as pool:
        pool.submit(int).result(LIMIT)
        yield pool


@pytest.fixture
def by_name(backend, processes_by_name):
    return partial(graphfutures.get, scheduler=backend, num_workers=2)


@pytest.fixture
def ways(by_name, pool):
    """To get something by a backend, and on a pool of others."""
    return by_name, partial(graphfutures.multiprocessing.get, pool=pool)


def meet(number: int) -> dict[Any, Any]:
    """A graph that takes so many workers at once."""
    barrier = threading.Barrier(number)
    return {("meet", n): (barrier.wait, LIMIT) for n in range(number)}


# -- values and failures ----------------------------------------------------------------------


def test_what_lies_between_is_there_for_those_who_ask_for_it(ways):
    graph = {"x": 1, "y": (inc, "x"), "z": (add, 10, "y")}
    for get in ways:
        assert get(graph, ["y", "z"]) == (2, 12)
        assert get(graph, [["z"], "y"]) == ((12,), 2)


def test_a_failure_shows_where_it_was_raised(ways):
    for get in ways:
        with pytest.raises(LookupError, match="at the bottom") as raised:
            get({"x": (deep, 2), "y": (inc, "x")}, "y")
        shown = "".join(traceback.format_exception(raised.value))
        assert shown.count("in deep") >= 3
        assert get({"x": (inc, 1)}, "x") == 2


def test_lambdas_as_tasks_and_as_values(by_name):
    made = by_name({"one": 1, "two": (lambda x: x + 1, "one"), "made": (lambda n: lambda x: x + n, "two")}, "made")
    assert made(40) == 42


@pytest.mark.asks(shares_memory=True)
def test_objects_that_can_only_be_passed_on(by_name):
    class Closed:
        def __getitem__(self, place):
            raise AssertionError("looked into")

        __iter__ = __len__ = __eq__ = __getitem__
        __hash__ = None

        def __reduce__(self):
            raise AssertionError("pickled")

    closed = Closed()
    lazy = dask.delayed(lambda value: value, pure=False)(dask.delayed(lambda: closed, pure=False)())
    (found,) = by_name(lazy.dask, lazy.__dask_keys__())
    assert found is closed
    assert by_name({"x": (list, [closed])}, "x")[0] is closed


@pytest.mark.parametrize("source", [np.random, random])
def test_tasks_do_not_draw_the_same_numbers(by_name, source):
    graph = {("draw", n): (lambda: tuple(source.randint(0, 10_000) for _ in range(5)),) for n in range(10)}
    assert len(set(by_name(graph, list(graph)))) == 10


@pytest.mark.parametrize(
    "keyword", [{"func_dumps": pickle.dumps, "func_loads": pickle.loads}, {"initializer": mark_worker}]
)
def test_what_is_meant_for_processes_is_accepted(by_name, keyword):
    assert by_name({"x": 1, "y": (add, "x", 2)}, "y", **keyword) == 3
    assert dask.compute(dask.delayed(in_pool)(), scheduler=by_name, **keyword) == (False,)
    with dask.config.set(keyword):
        assert by_name({"x": 1, "y": (add, "x", 2)}, "y") == 3


# -- contexts ---------------------------------------------------------------------------------


@pytest.mark.asks(shares_memory=True)
def test_workers_that_run_already_see_the_context_of_each_call(by_name):
    assert by_name({"x": (VAR.get,)}, "x") == 1
    token = VAR.set(2)
    try:
        assert by_name({"x": (VAR.get,)}, "x") == 2
    finally:
        VAR.reset(token)
    assert by_name({"x": (VAR.get,)}, "x") == 1


@pytest.mark.asks(shares_memory=True)
def test_warnings_of_workers_that_run_already_are_caught_by_who_asks(by_name):
    by_name({"x": (inc, 1)}, "x")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        by_name({"x": (warnings.warn, "of a task")}, "x")
    assert [str(warning.message) for warning in caught] == ["of a task"]


# -- callbacks --------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["start", "start_state", "pretask", "posttask"])
def test_a_callback_that_fails(by_name, step):
    started, finished = [], []

    def fail(*state):
        raise LookupError("callback")

    noting = Callback(start=started.append, finish=lambda dsk, state, failed: finished.append(failed))
    with noting, Callback(**{step: fail}), pytest.raises(LookupError, match="callback"):
        by_name({"x": (inc, 1), "y": (inc, "x")}, "y")
    assert finished == [True] * len(started)  # whose turn it is first is not said
    assert by_name({"x": (inc, 1)}, "x") == 2


def test_callbacks_hear_of_each_task_once(by_name):
    begun = []
    with Callback(pretask=lambda key, dsk, state: begun.append(key)):
        assert by_name({"x": 1, "y": (inc, "x"), "z": (add, 10, "y")}, "z", optimize_graph=False) == 12
    assert begun == ["y", "z"]


# -- pools and workers ------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS)
def test_a_pool_is_used_and_stays_as_it_is(pool):
    graph = {"x": (in_pool,), "y": (in_pool, "x")}
    with POOLS[pool]() as theirs:
        for get in (graphfutures.get, graphfutures.threaded.get, graphfutures.multiprocessing.get):
            assert in_time(get, graph, ["x", "y"], pool=theirs) == (True, True)
            with dask.config.set(pool=theirs):
                assert in_time(get, graph, ["x", "y"]) == (True, True)


@pytest.mark.parametrize("pool", ["ThreadPool", "Pool"])
def test_a_failure_in_a_pool(pool):
    with POOLS[pool]() as theirs:
        with pytest.raises(LookupError, match="at the bottom"):
            in_time(graphfutures.get, {"x": (deep, 2), "y": (inc, "x")}, "y", pool=theirs)
        assert theirs.apply(inc, (1,)) == 2


def test_as_many_workers_as_the_pool_has():
    barrier = threading.Barrier(3)

    def who():
        barrier.wait(LIMIT)
        return threading.get_ident()

    graph = {("who", n): (who,) for n in range(30)}
    with ThreadPoolExecutor(3) as pool:
        assert len(set(graphfutures.threaded.get(graph, list(graph), pool=pool))) == 3


def test_as_many_workers_as_dasks_configuration_says():
    with dask.config.set(num_workers=3):
        for get in (graphfutures.get, graphfutures.threaded.get):
            assert sorted(get(meet(3), [("meet", 0), ("meet", 1), ("meet", 2)])) == [0, 1, 2]
    assert {workers for _, workers in schedulers._shared} == {3}


@pytest.mark.parametrize("workers", [None, 4])
def test_many_gets_start_no_more_threads_than_there_are_workers(workers):
    before = threading.active_count()
    graph: dict[Any, Any] = {("x", n): (inc, n) for n in range(10)}
    graph["sum"] = (sum, list(graph))
    for _ in range(20):
        assert graphfutures.threaded.get(graph, "sum", num_workers=workers) == 55
    assert threading.active_count() <= before + schedulers.shared("threads", workers)._max_workers


def test_gets_of_threads_that_end_leave_no_threads():
    before = threading.active_count()
    for number in range(20):
        assert in_time(graphfutures.threaded.get, {"x": (inc, number)}, "x", num_workers=2) == number + 1
    assert threading.active_count() <= before + 2


def test_many_threads_ask_at_once(by_name):
    all_here, found = threading.Barrier(20), {}

    def ask(number):
        all_here.wait(LIMIT)
        graph = {"x": number, **{("y", n): (add, "x", n) for n in range(20)}}
        found[number] = by_name({**graph, "z": (sum, [("y", n) for n in range(20)])}, "z")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert found == {number: 20 * number + 190 for number in range(20)}


# -- interrupts -------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="no thread can be sent a signal")
@pytest.mark.parametrize("way", ["shared", "own", "fewer", "pool"])
def test_an_interrupt_is_raised_while_tasks_still_run(way):
    gate, here, ended = threading.Event(), threading.Barrier(3), []
    main = threading.get_ident()

    def stand(number):
        if not here.wait(LIMIT):  # one of them
            gate.wait(0.2)  # a lock that is just about to be waited for does not notice a signal (CPython's, too)
            signal.pthread_kill(main, signal.SIGINT)
        gate.wait(LIMIT)
        ended.append("stood")

    graph: dict[Any, Any] = {("stand", n): (stand, n) for n in range(3)}
    graph |= {("later", n): (ended.append, ("stand", n)) for n in range(3)}
    with GraphExecutor(3 if way == "own" else 4) as executor, ThreadPoolExecutor(3) as pool:
        get, workers = {
            "shared": (graphfutures.threaded.get, {"num_workers": 3}),
            "own": (executor.get, {}),
            "fewer": (executor.get, {"num_workers": 3}),
            "pool": (graphfutures.threaded.get, {"pool": pool}),
        }[way]
        try:
            with pytest.raises(KeyboardInterrupt):
                get(graph, list(graph), **workers)
            assert not ended
        finally:
            gate.set()
        assert get({"x": (inc, 1)}, "x", **workers) == 2
    for shared in schedulers._shared.values():
        shared.shutdown()
    assert ended == ["stood"] * 3

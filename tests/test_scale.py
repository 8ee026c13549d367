"""Large graphs: time and memory grow with their size, no faster, and nothing recurses."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import wait
from time import perf_counter, process_time
from typing import Any

import pytest

from graphfutures import GraphExecutor, GraphFuture

LIMIT = 100.0
SMALL, LARGE = 10_000, 100_000
#: ten times the tasks may take so many times the time or the memory
FACTOR = 40
Futures = list[GraphFuture[Any]]


def chain(executor: GraphExecutor, head: GraphFuture[Any], n: int) -> Futures:
    futures = [head]
    for _ in range(n):
        futures.append(executor.submit(abs, futures[-1]))
    return futures


def fan_out(executor: GraphExecutor, head: GraphFuture[Any], n: int) -> Futures:
    return [executor.submit(abs, head) for _ in range(n)]


def fan_in(executor: GraphExecutor, head: GraphFuture[Any], n: int) -> Futures:
    futures = [executor.submit(abs, -1) for _ in range(n)]
    return [*futures, executor.submit(sum, [head, *futures])]


def independent(executor: GraphExecutor, head: GraphFuture[Any], n: int) -> Futures:
    return [executor.submit(abs, -1) for _ in range(n)]


def items(executor: GraphExecutor, head: GraphFuture[Any], n: int) -> Futures:
    return [executor.submit(sum, executor.submit(lambda first: [first] * n, head))]


def end(build: Callable[..., Futures], how: str, n: int) -> tuple[float, Futures]:
    """Seconds of the processor from the first submit until all has settled; the futures."""
    gate = threading.Event()

    def first() -> int:
        if how == "fails":
            raise ValueError("the head")
        return 1

    gc.collect()
    with GraphExecutor(1) as executor:
        start = process_time()
        executor.submit(gate.wait, LIMIT)
        head = executor.submit(first)
        futures = build(executor, head, n)
        if how == "is cancelled":
            assert head.cancel()
        gate.set()
        assert not wait([head, *futures], LIMIT).not_done
        seconds = process_time() - start
    assert not executor._hub.scheduler.unsettled
    return seconds, futures


def memory(build: Callable[..., Futures], how: str, n: int) -> int:
    tracemalloc.start()
    try:
        end(build, how, n)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


QUICK = [
    (chain, "is done"),
    (chain, "fails"),
    (chain, "is cancelled"),
    (fan_out, "fails"),
    (fan_out, "is cancelled"),
    (fan_in, "is done"),
]
SLOW = [(fan_out, "is done"), (fan_in, "fails"), (fan_in, "is cancelled"), (independent, "is done"), (items, "is done")]
graphs = pytest.mark.parametrize(
    ("build", "how"),
    [
        pytest.param(build, how, id=f"{build.__name__} {how}".replace(" ", "-"), marks=marks)
        for rows, marks in ((QUICK, ()), (SLOW, pytest.mark.ci))
        for build, how in rows
    ],
)


@graphs
def test_time_is_linear(build: Callable[..., Futures], how: str) -> None:
    small = end(build, how, SMALL)[0]
    large, futures = end(build, how, LARGE)
    assert large < FACTOR * max(small, 0.02)
    if how == "is done":
        assert futures[-1].result(0) == {fan_in: LARGE + 1, items: LARGE}.get(build, 1)
    else:
        struck = futures[-1:] if build is fan_in else futures
        assert all(future.cancelled() == (how == "is cancelled") for future in struck)


@pytest.mark.ci
@graphs
def test_memory_is_linear(build: Callable[..., Futures], how: str) -> None:
    memory(build, how, 100)
    assert memory(build, how, LARGE // 10) < FACTOR / 2 * memory(build, how, SMALL // 10)


@pytest.mark.parametrize("build", [chain, fan_out])
def test_exceptions_of_many_dependents_are_quick(build: Callable[..., Futures]) -> None:
    _, futures = end(build, "fails", LARGE)
    start = perf_counter()
    errors = [future.exception(0) for future in futures[1::10]]
    assert perf_counter() - start < 3
    assert all(type(error) is ValueError for error in errors)
    assert len({id(error) for error in errors}) == len(errors), "each has its own"
    assert all(error.__cause__ is errors[0].__cause__ for error in errors)
    assert max(len(note) for error in errors for note in error.__notes__) < 500


def test_a_chain_of_which_only_the_end_is_kept() -> None:
    with GraphExecutor(2) as executor:
        future = executor.submit(int, 1)
        for _ in range(LARGE):
            future = executor.submit(abs, future)
        assert future.result(LIMIT) == 1


def test_a_long_chain_that_nobody_keeps_goes_without_recursion() -> None:
    with GraphExecutor(1) as executor:
        gate = threading.Event()
        executor.submit(gate.wait, LIMIT)
        future = executor.submit(int, 1)
        for _ in range(LARGE):
            future = executor.submit(abs, future)
        assert executor.submit(gate.set).cancel() or gate.is_set()
        del future
        executor.shutdown(wait=False, cancel_futures=True)
        gate.set()
    assert executor.stats()["cancelled"] == LARGE + 2


def test_a_chain_on_inline() -> None:
    executor = GraphExecutor(backend="inline")
    future = executor.submit(int, 1)
    for _ in range(LARGE):
        future = executor.submit(abs, future)
    assert future.result(0) == 1
    executor.shutdown()


def test_a_chain_on_inline_that_waits_for_a_foreign_future() -> None:
    from concurrent.futures import Future

    for how in ("is done", "fails", "is cancelled"):
        executor = GraphExecutor(backend="inline")
        foreign: Future[int] = Future()
        futures = chain(executor, executor.submit(int, foreign), SMALL)
        if how == "is done":
            foreign.set_result(1)
            assert futures[-1].result(0) == 1
        elif how == "fails":
            foreign.set_exception(ValueError())
            assert isinstance(futures[-1].exception(0), ValueError)
        else:
            foreign.cancel()
            assert futures[-1].cancelled()
        executor.shutdown()


def test_a_deep_diamond() -> None:
    with GraphExecutor(2) as executor:
        a, b = executor.submit(int, 1), executor.submit(int, 1)
        for _ in range(SMALL):
            a, b = executor.submit(max, a, b), executor.submit(min, a, b)
        assert (a.result(LIMIT), b.result(LIMIT)) == (1, 1)


@pytest.mark.ci
def test_a_million_independent_tasks() -> None:
    small = min(end(independent, "is done", LARGE)[0] for _ in range(2))
    large, futures = end(independent, "is done", 1_000_000)
    assert len(futures) == 1_000_000
    assert all(future.result(0) == 1 for future in futures)
    assert large < FACTOR * small


@pytest.mark.long
def test_a_million_tasks_that_are_cancelled() -> None:
    seconds, futures = end(fan_out, "is cancelled", 1_000_000)
    assert all(future.cancelled() for future in futures)
    assert seconds < LIMIT

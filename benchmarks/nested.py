"""What waiting inside tasks, and trying again, cost, beside our own plain task: no peer can do it.

Costs are seconds per task or attempt; threads are counted as the most that were alive at once.
"""

import threading
from time import perf_counter

from benchmarks.steps import WORKERS, count, start_workers, step
from graphfutures import GraphExecutor, current_executor

FIB_TASKS = 8_361  # those of fib(18)


def fib_number(number: int) -> int:
    """Two tasks inside this one for the two numbers before."""
    step()
    if number < 2:
        return number
    inside = current_executor()
    before, one_more = inside.submit(fib_number, number - 1), inside.submit(fib_number, number - 2)
    return before.result() + one_more.result()  # type: ignore[no-any-return]


def fib(scale: float) -> float:
    """fib(18) by nested submit: seconds per task."""
    number, tasks = (18, FIB_TASKS) if scale >= 1 else (10, 177)
    with GraphExecutor(WORKERS) as executor:
        start_workers(executor, WORKERS)
        started = perf_counter()
        executor.submit(fib_number, number).result()
        return (perf_counter() - started) / tasks


def plain(scale: float, *, tasks: int) -> float:
    """As many independent tasks: seconds per task."""
    tasks = count(tasks, scale)
    with GraphExecutor(WORKERS) as executor:
        start_workers(executor, WORKERS)
        started = perf_counter()
        for future in [executor.submit(step) for _ in range(tasks)]:
            future.result()
        return (perf_counter() - started) / tasks


def most_threads(scale: float) -> float:
    """``map`` of tasks that each wait on a nested one: the most threads that were alive at once."""
    most = 0

    def outer(number: int) -> int:
        nonlocal most
        most = max(most, threading.active_count())
        return current_executor().submit(abs, number).result()  # type: ignore[no-any-return]

    with GraphExecutor(WORKERS) as executor:
        for _ in executor.map(outer, range(count(100_000, scale))):
            pass
    return float(most)


def retried(scale: float) -> float:
    """Tasks that fail twice and then succeed: seconds per attempt."""
    tasks = count(10_000, scale)
    failures = [0] * tasks

    def fail_twice(number: int) -> None:
        failures[number] += 1
        if failures[number] < 3:
            raise ValueError(number)

    with GraphExecutor(WORKERS) as executor:
        start_workers(executor, WORKERS)
        view = executor.options(retries=2)
        started = perf_counter()
        for future in [view.submit(fail_twice, number) for number in range(tasks)]:
            future.result()
        return (perf_counter() - started) / (3 * tasks)

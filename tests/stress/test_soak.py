"""A million small tasks on worker processes: memory and descriptors do not grow with their number.

``python tests/stress/test_soak.py 1000000`` prints what was measured.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from typing import Any, NamedTuple

import psutil
import pytest
from patience import LIMIT

from graphfutures import GraphExecutor

#: how many tasks are unfinished at most
AT_ONCE = 5_000


class Measured(NamedTuple):
    """Of this process and of the largest worker: bytes that nobody shares, and bytes in memory; open files."""

    uss: int
    rss: int
    descriptors: int
    uss_of_worker: int
    rss_of_worker: int
    descriptors_of_worker: int


def measured(workers: list[int]) -> Measured:
    gc.collect()
    mine = psutil.Process()
    own = mine.memory_full_info()
    others = [psutil.Process(pid) for pid in workers]
    theirs = [one.memory_full_info() for one in others]
    return Measured(
        *(own.uss, own.rss, mine.num_fds()),
        *(max(one.uss for one in theirs), max(one.rss for one in theirs), max(one.num_fds() for one in others)),
    )


def ten(executor: GraphExecutor, n: int) -> list[tuple[Any, Any]]:
    """Ten tasks, each with what is expected of it: some alone, a chain, and values and arguments that are pickled."""
    alone = [executor.submit(abs, -n) for _ in range(6)]
    text = executor.submit(str, alone[0])
    number = executor.submit(int, text)
    pair = executor.submit(divmod, n, 7)
    last = (executor.submit(len, pair), 2) if n % 100 else (executor.submit(sum, [number, n]), 2 * n)
    return [*((future, n) for future in alone), (text, str(n)), (number, n), (pair, divmod(n, 7)), last]


def work(executor: GraphExecutor, number: int) -> None:
    """So many tasks, each of which is waited for."""
    pending: deque[tuple[Any, Any]] = deque()
    for n in range(number // 10):
        pending += ten(executor, n)
        while len(pending) > AT_ONCE:
            future, expected = pending.popleft()
            assert future.result(LIMIT) == expected
    assert all(future.result(LIMIT) == expected for future, expected in pending)


def soak(number: int) -> tuple[Measured, Measured]:
    """What is measured after a tenth of the tasks, and after all."""
    with GraphExecutor(2, backend="processes") as executor:
        work(executor, number // 10)
        workers = [one.process.pid for one in executor._hub.backend.attendants]
        first = measured(workers)
        work(executor, number - number // 10)
        assert workers == [one.process.pid for one in executor._hub.backend.attendants]
        return first, measured(workers)


@pytest.mark.long
def test_a_million_tasks_take_no_more_memory_than_a_tenth_of_them() -> None:
    first, last = soak(1_000_000)
    assert all(after <= 1.1 * before for before, after in zip(first, last, strict=True)), (first, last)


if __name__ == "__main__":
    for one in soak(int(sys.argv[1])):
        print(one)

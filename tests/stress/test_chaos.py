"""Random graphs on worker processes that are killed at random moments: every value is right, every time."""

from __future__ import annotations

import logging
import random
import sys
import threading
from queue import SimpleQueue
from typing import Any

import pytest
from faults import executor_of
from patience import LIMIT

from graphfutures import GraphExecutor


def combine(number: int, wait: float, *values: Any) -> tuple[int, str]:
    """A value that tells of all that it was made from, and is no plain number every other time."""
    threading.Event().wait(wait)
    total = (number + sum(value if isinstance(value, int) else value[0] for value in values)) % 1_000_003
    return total if number % 2 else (total, "x" * (number % 7 * 1000))  # type: ignore[return-value]


class Killing(threading.Thread):
    """Kills workers of an executor, one each time it is told to, until it is told None."""

    def __init__(self, executor: GraphExecutor, rng: random.Random) -> None:
        super().__init__()
        #: seconds after which to do so
        self.orders: SimpleQueue[float | None] = SimpleQueue()
        #: how many workers were killed that had something to do
        self.kills = 0
        self._attendants = executor._hub.backend.attendants
        self._rng = rng

    def run(self) -> None:
        while (seconds := self.orders.get()) is not None:
            threading.Event().wait(seconds)
            started = [one for one in tuple(self._attendants) if one.process is not None]
            busy = [one for one in started if one.hand]
            if started:
                one = self._rng.choice(busy or started)
                self.kills += bool(one.hand)
                one.kill()


def chaos(executor: GraphExecutor, seed: int, most: int) -> int:
    """Run one graph, and compare each value with what a plain call gives.

    :param most: how many tasks it has at most.
    :return: how many workers were killed that had something to do.
    """
    rng = random.Random(seed)
    door = executor.options(crash_retries=1000)
    futures: list[Any] = []
    values: list[Any] = []
    killing = Killing(executor, random.Random(f"{seed} kills"))
    killing.start()
    size = rng.choice([most // 5, most // 2, most])
    kills = {rng.randrange(size // 2): rng.choice([0.0, 0.0, 0.003, 0.03]) for _ in range(rng.randint(1, 3))}
    for number in range(size):
        near = list(range(max(0, number - rng.choice([1, 5, 100])), number))
        needs = rng.sample(near, min(len(near), rng.randint(0, 3)))
        wait = rng.choice([0.0] * 50 + [0.001] * 5 + [0.02])
        futures.append(door.submit(combine, number, wait, *[futures[need] for need in needs]))
        values.append(combine(number, 0, *[values[need] for need in needs]))
        if number in kills:
            futures[-1].add_done_callback(lambda _, seconds=kills[number]: killing.orders.put(seconds))
    try:
        found = [future.result(LIMIT) for future in futures]
    finally:
        killing.orders.put(None)
        killing.join(LIMIT)
    assert found == values
    return killing.kills


@pytest.mark.ci
@pytest.mark.parametrize("first", range(0, 50, 5))
def test_chaos(first: int) -> None:
    with executor_of(1 + first % 4) as executor:
        kills = [chaos(executor, seed, most=500) for seed in range(first, first + 5)]
    assert sum(kills) > 0, "no worker was killed in the midst of its work"


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 3000, 100))
def test_long_chaos(first: int) -> None:
    for seed in range(first, first + 100):
        print(seed)
        with executor_of(1 + seed % 4) as executor:
            chaos(executor, seed, most=2000)


if __name__ == "__main__":
    logging.getLogger("graphfutures").setLevel(logging.ERROR)
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        with executor_of(1 + number % 4) as one:
            print(number, chaos(one, number, most=2000), flush=True)

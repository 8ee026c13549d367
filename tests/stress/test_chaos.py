"""Random graphs on worker processes that are killed at random moments: every value is right, every time."""

from __future__ import annotations

import logging
import random
import sys
import threading
from typing import Any

import psutil
import pytest
from patience import LIMIT, in_time, until

from graphfutures import GraphExecutor


def combine(number: int, wait: float, *values: Any) -> tuple[int, str]:
    """A value that tells of all that it was made from, and is no plain number every other time."""
    threading.Event().wait(wait)
    total = (number + sum(value if isinstance(value, int) else value[0] for value in values)) % 1_000_003
    return total if number % 2 else (total, "x" * (number % 7 * 1000))  # type: ignore[return-value]


def killed(child: psutil.Process) -> bool:
    """Kill a child if it is a worker."""
    try:
        if "--process-name GraphExecutor" not in " ".join(child.cmdline()):
            return False
        child.kill()
    except psutil.Error:
        return False
    return True


def chaos(seed: int) -> None:
    """Run one graph, and compare each value with what a plain call gives."""
    rng = random.Random(seed)
    with GraphExecutor(rng.choice([1, 2, 4]), backend="processes") as executor:
        door = executor.options(crash_retries=1000)
        futures: list[Any] = []
        values: list[Any] = []
        ended = threading.Event()

        def kill() -> None:
            turns = random.Random(f"{seed} kills")
            for _ in range(turns.randint(1, 6)):
                if ended.wait(turns.choice([0.0, 0.01, 0.1, 0.3])):
                    return
                children = psutil.Process().children()
                turns.shuffle(children)
                any(killed(child) for child in children)

        killer = threading.Thread(target=kill)
        killer.start()
        for number in range(rng.choice([20, 200, 1000])):
            near = list(range(max(0, number - rng.choice([1, 5, 100])), number))
            needs = rng.sample(near, min(len(near), rng.randint(0, 3)))
            wait = rng.choice([0.0] * 200 + [0.001, 0.05])
            futures.append(door.submit(combine, number, wait, *[futures[need] for need in needs]))
            values.append(combine(number, 0, *[values[need] for need in needs]))
        try:
            found = [future.result(LIMIT) for future in futures]
        finally:
            ended.set()
            killer.join(LIMIT)
        assert found == values
        in_time(executor.shutdown)
    me = psutil.Process()
    assert until(lambda: not any(killed(child) for child in me.children())), "a worker is left"


@pytest.mark.ci
@pytest.mark.parametrize("seed", range(20))
def test_chaos(seed: int) -> None:
    chaos(seed)


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 3000, 100))
def test_long_chaos(first: int) -> None:
    for seed in range(first, first + 100):
        print(seed)
        chaos(seed)


if __name__ == "__main__":
    logging.getLogger("graphfutures").setLevel(logging.ERROR)
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        print(number, flush=True)
        chaos(number)

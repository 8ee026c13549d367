"""What threads wait at."""

import random
import threading
from collections import deque
from queue import Empty

import pytest
from patience import LIMIT, until

from graphfutures.bells import Letters


def test_what_was_put_is_got_in_its_order():
    letters = Letters()
    for number in range(3):
        letters.put(number)
    assert [letters.get(0) for _ in range(3)] == [0, 1, 2]
    assert letters.empty()


@pytest.mark.parametrize("timeout", [0, -1, 1e-9, 0.01])
def test_nothing_comes(timeout):
    with pytest.raises(Empty):
        Letters().get(timeout)


def test_everybody_who_waits_gets_one():
    letters, got = Letters(), deque()
    waiting = [threading.Thread(target=lambda: got.append(letters.get(LIMIT))) for _ in range(4)]
    for thread in waiting:
        thread.start()
    for number in range(4):
        letters.put(number)
    for thread in waiting:
        thread.join(LIMIT)
    assert sorted(got) == [0, 1, 2, 3]


def test_no_one_waits_for_ever_whose_time_is_over():
    """A timed ``get`` of the standard SimpleQueue may: when its time ends just as another takes what it woke for."""
    letters, got, over = Letters(), deque(), threading.Event()

    def take(seed):
        rng = random.Random(seed)
        while not over.is_set():
            try:
                got.append(letters.get(rng.choice([0, 1e-6, 3e-6, 2e-5])))
            except Empty:
                pass

    taking = [threading.Thread(target=take, args=(seed,), daemon=True) for seed in range(4)]
    putting = [threading.Thread(target=lambda: [letters.put(number) for number in range(20_000)]) for _ in range(2)]
    for thread in taking + putting:
        thread.start()
    for thread in putting:
        thread.join(LIMIT)
    assert until(lambda: len(got) == 40_000)
    over.set()
    for thread in taking:
        thread.join(LIMIT)
        assert not thread.is_alive()

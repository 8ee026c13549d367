"""Finalizers that touch futures, while the collector runs at every turn, inside the hub as well."""

from __future__ import annotations

import pytest

SCRIPT = """
import gc, random, sys, threading
from concurrent.futures import CancelledError, wait
from graphfutures import GraphExecutor

backend, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
futures, called, ran, complaints = [], [], dict.fromkeys(["cancel", "submit", "result", "call back", "lose"], 0), []
sys.unraisablehook = lambda args: complaints.append(repr(args.exc_value))

class Trap:
    # Collected only by the collector, wherever that happens to run.
    def __init__(self, executor):
        self.itself = self
        self.executor = executor

    def __del__(self):
        future = rng.choice(futures) if futures else None
        what = rng.choice(list(ran))
        if future is None:
            return
        if what == "cancel":
            future.cancel()
        elif what == "submit":
            try:
                futures.append(self.executor.submit(int, 7))
                futures.append(self.executor.submit(abs, future))
            except RuntimeError as error:
                if "shutdown" not in str(error):
                    raise
        elif what == "result":
            try:
                future.result(timeout=0)
            except (TimeoutError, CancelledError):
                pass
        elif what == "call back":
            future.add_done_callback(called.append)
        else:
            GraphExecutor(1, backend=backend).submit(int, 7)  # and dropped
        ran[what] += 1

def work(executor, *values):
    Trap(executor)
    return Trap(executor) and 7

executor = GraphExecutor(2, backend=backend)
gc.set_threshold(1, 1, 1)
for _ in range(rounds):
    Trap(executor)
    first = executor.submit(work, executor)
    second = executor.submit(work, executor, first, [first])
    futures += [first, second]
    if rng.random() < 0.2:
        second.cancel()
    if rng.random() < 0.1:
        wait([first], 10)
    del futures[:-50]
gc.set_threshold(700, 10, 10)
mine = list(futures)
late = wait(mine, 10).not_done
executor.submit(int).result(10)
executor.shutdown()
gc.collect()
for _ in range(5):  # one that ends may have a finalizer start another one
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(5)
print("late:", len(late), "complaints:", complaints[:5], "threads:", threading.active_count(), all(ran.values()))
"""


@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_finalizers(script, backend: str) -> None:
    ended = script(SCRIPT, backend, 1, 500)
    assert ended.lines == ["late: 0 complaints: [] threads: 1 True"]
    assert ended.err == ""


@pytest.mark.long
@pytest.mark.parametrize("backend", ["threads", "inline"])
@pytest.mark.parametrize("seed", range(2, 12))
def test_many_seeds(script, backend: str, seed: int) -> None:
    assert script(SCRIPT, backend, seed, 2000).lines == ["late: 0 complaints: [] threads: 1 True"]


COLLECTIONS = """
import gc
from concurrent.futures import as_completed, wait
from graphfutures import GraphExecutor

current, kept = [], []

def look(phase, info):
    if current:
        future = current[-1]
        future.done(), future._state, repr(future)
        with future._condition:
            future._waiters

gc.set_threshold(1)
with GraphExecutor(2) as executor:
    gc.callbacks.append(look)
    for number in range(300):
        futures = [executor.submit(divmod, 1, 0), executor.submit(abs, -1)]
        futures.append(executor.submit(abs, futures[0]))
        current[:] = futures
        kept.append(futures)  # or objects are made again from what is left of others
        assert not wait(futures, 60).not_done
        for future in as_completed(futures, 60):
            current.append(future)
            type(future.exception(60)).__name__
        current.append(futures[2])
        assert futures[2].exception() is futures[2].exception()
    gc.callbacks.clear()
print("whole")
"""


def test_futures_are_looked_at_while_the_collector_runs(script) -> None:
    # CPython 3.11 corrupts an object whose __dict__ is asked for while its __dict__ is being made.
    assert script(COLLECTIONS).lines == ["whole"]

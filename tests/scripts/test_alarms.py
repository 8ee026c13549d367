"""Signal handlers that raise at random points of our functions, in the main thread."""

from __future__ import annotations

import pytest

SCRIPT = """
import random, sys, threading, traceback
from concurrent.futures import CancelledError, wait
from graphfutures import GraphExecutor
from graphfutures.core.invariants import check
from graphfutures.core.states import RUNNING

backend, seed, alarms = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
WORKERS = 3
rng = random.Random(seed)

class Alarm(BaseException):
    pass

def on_alarm(*_):
    raise Alarm

signal.signal(signal.SIGALRM, on_alarm)

def work(*values):
    return len(values)

def some(executor, futures):
    # What a user does in the main thread.
    futures.append(executor.submit(work))
    futures.append(executor.submit(work, *rng.sample(futures[-8:], min(2, len(futures)))))
    futures.append(executor.submit(work, [futures[-1]]))
    rng.choice(futures[-8:]).cancel()
    futures[-1].add_done_callback(called.append)
    if rng.random() < 0.3:
        try:
            rng.choice(futures[-8:]).result()
        except CancelledError:
            pass
    if rng.random() < 0.3:
        wait(futures[-4:])

def holds(executor):
    hub = executor._hub
    with hub._lock:
        running = [task for task in hub.scheduler.unsettled if task.state is RUNNING]
        check(hub.scheduler, list(hub.scheduler.unsettled), [(task, task.attempt, task.place) for task in running])

def settles(executor, futures):
    late = wait(futures, timeout=10).not_done
    if late:
        print("pending:", *[executor.explain(f) for f in list(late)[:5]])
        faulthandler.dump_traceback(all_threads=True)
    return not late

def all_work(executor):
    # So many tasks run at once as there are workers.
    barrier = threading.Barrier(WORKERS)
    futures = [executor.submit(barrier.wait, 10) for _ in range(WORKERS)]
    return {f.result(15) for f in futures} == set(range(WORKERS))

raised, bad = 0, []
while raised < alarms:
    executor = GraphExecutor(WORKERS, backend=backend)
    futures, called = [], []
    until = raised + 100
    while raised < until:
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 4e-4))
                for _ in range(20):
                    some(executor, futures)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Alarm:
            raised += 1
        except Exception as error:
            bad.append(repr(error))
            traceback.print_exc()
            if len(bad) > 5:
                raise
        if raised % 20 == 0:
            holds(executor)
    if not settles(executor, futures):
        bad.append("pending")
        break
    holds(executor)
    if backend == "threads" and not all_work(executor):
        bad.append("a worker is lost")
    ending = threading.Thread(target=executor.shutdown, daemon=True)
    ending.start()
    ending.join(10)
    if ending.is_alive():
        bad.append("shutdown hangs")
        break
print("alarms:", raised >= alarms, "bad:", bad, "threads:", *[t.name for t in threading.enumerate() if t.is_alive()])
if bad:
    os._exit(0)
"""
FINE = ["alarms: True bad: [] threads: MainThread"]


@pytest.mark.parametrize("seed", [1, 2])
def test_threads(script, seed: int) -> None:
    assert script(SCRIPT, "threads", seed, 1000).lines == FINE


@pytest.mark.parametrize("seed", [1, 2])
def test_inline(script, seed: int) -> None:
    assert script(SCRIPT, "inline", seed, 1000).lines == FINE


@pytest.mark.long
@pytest.mark.parametrize("backend", ["threads", "inline"])
@pytest.mark.parametrize("seed", range(3, 33))
def test_many_seeds(script, backend: str, seed: int) -> None:
    assert script(SCRIPT, backend, seed, 2000).lines == FINE

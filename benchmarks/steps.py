"""The functions that the benchmarks run as tasks, the same ones on both sides.

A step does nothing except what makes it honest: it looks in which thread or process it runs. A pool that ran its tasks
in the caller would win every table here, so that is an error.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from multiprocessing import parent_process
from threading import get_ident

WORKERS = 2

Step = Callable[..., int]
MakeExecutor = Callable[[int], Executor]
Start = Callable[[Executor, int], None]

# Every benchmark submits from the main thread, which is also the one that imports this.
CALLER = get_ident()


class WrongThreadError(Exception):
    """A task did not run where its backend promises to run it."""


def step(*inputs: object) -> int:
    """The task that costs nothing, in a worker: the number of its arguments."""
    if get_ident() == CALLER:
        raise WrongThreadError("this task ran in the thread that submits, not in a worker")
    return len(inputs)


def step_here(*inputs: object) -> int:
    """The same for what runs its tasks in the calling thread, as inline and ``dask.get`` do."""
    if get_ident() != CALLER:
        raise WrongThreadError("this task ran in a worker, not in the thread that submits")
    return len(inputs)


def process_step(*inputs: object) -> int:
    """The same for what runs its tasks in worker processes."""
    if parent_process() is None:
        raise WrongThreadError("this task ran in the process that submits, not in a worker")
    return len(inputs)


def sleep_step(seconds: float) -> int:
    """A step that waits without using the processor."""
    time.sleep(seconds)
    return step()


def count(full: int, scale: float, *, least: int = 2) -> int:
    """How many of `full` there are at this scale."""
    return max(least, round(full * scale))


def start_workers(executor: Executor, workers: int) -> None:
    """Bring every worker to life: tasks that all meet cannot be run by fewer threads."""
    meeting = threading.Barrier(workers)
    for future in [executor.submit(meeting.wait, 60) for _ in range(workers)]:
        future.result()

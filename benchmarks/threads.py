"""What submitting, running and collecting costs where no task depends on another.

Every function takes what makes the executor, ours or ThreadPoolExecutor, and the scale, and returns seconds, per task
unless it says otherwise. Executors are made, and their threads started, before the clock.
"""

import asyncio
import gc
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Executor, as_completed
from functools import cache
from time import perf_counter

from benchmarks.steps import WORKERS, MakeExecutor, Start, Step, count, sleep_step, start_workers, step

OnExecutor = Callable[[MakeExecutor, float], float]

HASH_SECONDS = 0.01
NAP_SECONDS = 0.005
NAP_WORKERS = 32


def independent(
    make: MakeExecutor,
    scale: float,
    *,
    tasks: int = 20_000,
    repeat: int = 1,
    function: Step = step,
    start: Start = start_workers,
) -> float:
    """Submit all, then collect in order."""
    tasks = count(tasks, scale)
    total = 0.0
    with make(WORKERS) as executor:
        start(executor, WORKERS)
        for _ in range(repeat):
            started = perf_counter()
            futures = [executor.submit(function) for _ in range(tasks)]
            for future in futures:
                future.result()
            total += perf_counter() - started
    return total / (tasks * repeat)


def completed(make: MakeExecutor, scale: float) -> float:
    """Submit all, then collect in the order of completion, by the standard library's loop."""
    tasks = count(20_000, scale)
    with make(WORKERS) as executor:
        start_workers(executor, WORKERS)
        started = perf_counter()
        for future in as_completed([executor.submit(step) for _ in range(tasks)]):
            future.result()
        return (perf_counter() - started) / tasks


def gathered(make: MakeExecutor, scale: float) -> float:
    """Await all of them in an asyncio loop that gave them to the executor."""
    tasks = count(20_000, scale)

    async def gather(executor: Executor) -> float:
        loop = asyncio.get_running_loop()
        started = perf_counter()
        await asyncio.gather(*[loop.run_in_executor(executor, step) for _ in range(tasks)])
        return (perf_counter() - started) / tasks

    with make(WORKERS) as executor:
        start_workers(executor, WORKERS)
        return asyncio.run(gather(executor))


def one_task(make: MakeExecutor, scale: float) -> float:
    """Make an executor, run one task, and end it: seconds per executor."""
    repeats = count(500, scale)
    started = perf_counter()
    for _ in range(repeats):
        with make(WORKERS) as executor:
            executor.submit(step).result()
    return (perf_counter() - started) / repeats


def round_trip(
    make: MakeExecutor, scale: float, *, tasks: int = 5_000, function: Step = step, start: Start = start_workers
) -> float:
    """Submit one and wait for its result, again and again: nothing to do but to hand over."""
    tasks = count(tasks, scale)
    with make(WORKERS) as executor:
        start(executor, WORKERS)
        started = perf_counter()
        for _ in range(tasks):
            executor.submit(function).result()
        return (perf_counter() - started) / tasks


def event(make: MakeExecutor, scale: float) -> float:
    """Submit one and wait for an Event that it sets: a task must start although nobody asks for its result."""
    tasks = count(5_000, scale)
    ran = threading.Event()

    def announce() -> None:
        step()
        ran.set()

    with make(WORKERS) as executor:
        start_workers(executor, WORKERS)
        started = perf_counter()
        for _ in range(tasks):
            ran.clear()
            executor.submit(announce)
            if not ran.wait(60):
                raise TimeoutError("the task has not run, or not in a worker")
        return (perf_counter() - started) / tasks


def naps(make: MakeExecutor, scale: float) -> float:
    """Many workers that mostly sleep: seconds for all, where only idle slots cost."""
    tasks = count(5_000, scale)
    with make(NAP_WORKERS) as executor:
        start_workers(executor, NAP_WORKERS)
        started = perf_counter()
        for future in [executor.submit(sleep_step, NAP_SECONDS) for _ in range(tasks)]:
            future.result()
        return perf_counter() - started


def long_list(make: MakeExecutor, scale: float) -> float:
    """Submit a list of a million ints and get its length: seconds, nearly all to look for futures in it."""
    numbers = list(range(count(1_000_000, scale)))
    with make(WORKERS) as executor:
        start_workers(executor, WORKERS)
        started = perf_counter()
        length = executor.submit(len, numbers).result()
        cost = perf_counter() - started
    if length != len(numbers):
        raise AssertionError("the task got another list")
    return cost


def hash_seconds(iterations: int) -> float:
    """Hash without the GIL, in a worker: the seconds it took there."""
    step()
    return hash_here(iterations)


def hash_here(iterations: int) -> float:
    """Hash without the GIL: the seconds it took. It needs the processor only, no memory that threads would share."""
    started = perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"graph", b"futures", iterations)
    return perf_counter() - started


@cache
def hash_iterations() -> int:
    """How many iterations take HASH_SECONDS on an idle processor."""
    trial = 10_000
    return max(1, round(trial * HASH_SECONDS / min(hash_here(trial) for _ in range(10))))


def hashing(make: MakeExecutor, scale: float) -> float:
    """Work that keeps every processor busy: seconds for all of it."""
    tasks, iterations = count(200, scale), hash_iterations()
    with make(WORKERS) as executor:
        start_workers(executor, WORKERS)
        started = perf_counter()
        for future in [executor.submit(hash_seconds, iterations) for _ in range(tasks)]:
            future.result()
        return perf_counter() - started


def hashing_ideal(scale: float) -> float:
    """The same work by bare threads that share nothing but a counter: what the processors can do at this time."""
    tasks, iterations = count(200, scale), hash_iterations()
    left = iter(range(tasks))

    def hash_some() -> None:
        for _ in left:
            hash_seconds(iterations)

    threads = [threading.Thread(target=hash_some) for _ in range(WORKERS)]
    started = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return perf_counter() - started


def without_gc(side: Callable[[float], float], scale: float) -> float:
    """Run a side while the cyclic collector is off, whose passes over a million futures would be most of the cost."""
    gc.disable()
    try:
        return side(scale)
    finally:
        gc.enable()

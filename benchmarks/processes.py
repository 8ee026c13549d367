"""What tasks in worker processes cost, beside ProcessPoolExecutor, loky and what the processors could do at best.

Executors are made, and their processes started and used, before the clock, where nothing else is said.
"""

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from functools import cache, partial
from heapq import heapreplace
from os import getpid
from random import Random
from time import perf_counter, sleep

from benchmarks import graphs, threads
from benchmarks.steps import WORKERS, MakeExecutor, count, process_step
from graphfutures import GraphExecutor

OURS: MakeExecutor = partial(GraphExecutor, backend="processes")
POOL: MakeExecutor = ProcessPoolExecutor

Durations = Callable[[float], list[float]]  # the seconds of each task, at a scale

NAP_SECONDS = 0.02
CHUNKSIZES = (1_000, 5_000, 10_000)  # one of which is about the best for a map of nothing
PYTHON_SECONDS = 0.05
SHORT_SECONDS, LONG_SECONDS = 0.00001, 0.2


def nap() -> int:
    """Wait without using the processor: which process did."""
    process_step()
    sleep(NAP_SECONDS)
    return getpid()


def start_processes(executor: Executor, workers: int) -> None:
    """Bring every worker to life, and have it run something: as soon as there are two naps for two, each has one."""
    seen: set[int] = set()
    for _ in range(1_000):
        seen.update([future.result() for future in [executor.submit(nap) for _ in range(workers)]])
        if len(seen) == workers:
            break
    else:
        raise TimeoutError(f"{len(seen)} of {workers} worker processes have come up")
    for future in [executor.submit(process_step) for _ in range(100)]:
        future.result()


independent = partial(threads.independent, function=process_step, start=start_processes)
round_trip = partial(threads.round_trip, function=process_step, start=start_processes, tasks=2_000)


def of_graph(make: graphs.MakeGraph, scale: float) -> float:
    """The graph on our worker processes: seconds per task."""
    with OURS(WORKERS) as executor:
        start_processes(executor, WORKERS)
        return graphs.on_executor(executor, make(count(graphs.TASKS, scale)), process_step)


def of_graph_dask(make: graphs.MakeGraph, scale: float) -> float:
    """The graph by ``dask.multiprocessing.get``, on a pool whose processes run already."""
    import dask.multiprocessing

    with POOL(WORKERS) as pool:
        start_processes(pool, WORKERS)
        return graphs.by_dask(dask.multiprocessing.get, make(count(graphs.TASKS, scale)), process_step, pool=pool)


def mapped(make: MakeExecutor, scale: float, *, chunksizes: tuple[int, ...] = (1,)) -> float:
    """``map``, with the best of these chunksizes: seconds per task."""
    tasks, best = count(100_000, scale), float("inf")
    with make(WORKERS) as executor:
        start_processes(executor, WORKERS)
        for chunksize in chunksizes:
            started = perf_counter()
            for _ in executor.map(process_step, range(tasks), chunksize=chunksize):
                pass
            best = min(best, (perf_counter() - started) / tasks)
    return best


def first_result(make: MakeExecutor, scale: float) -> float:
    """Make an executor and get one result, from no process on: seconds, without those of the executor's end."""
    repeats, total = count(5, scale, least=1), 0.0
    for _ in range(repeats):
        started = perf_counter()
        with make(WORKERS) as executor:
            executor.submit(process_step).result()
            total += perf_counter() - started
    return total / repeats


def python_seconds(iterations: int, times: int = 1) -> float:
    """Run Python code that keeps the GIL: the seconds it took."""
    started = perf_counter()
    for _ in range(times):
        total = 0
        for number in range(iterations):
            total += number
    return perf_counter() - started


@cache
def python_iterations() -> int:
    """How many iterations take PYTHON_SECONDS on an idle processor."""
    trial = 100_000
    return max(1, round(trial * PYTHON_SECONDS / min(python_seconds(trial) for _ in range(10))))


def python(scale: float) -> float:
    """Python code on every processor: seconds for all of it."""
    tasks, iterations = count(40, scale), python_iterations()
    with OURS(WORKERS) as executor:
        start_processes(executor, WORKERS)
        started = perf_counter()
        for future in [executor.submit(python_seconds, iterations) for _ in range(tasks)]:
            future.result()
        return perf_counter() - started


def python_ideal(scale: float) -> float:
    """The same work in equal parts, all at once and without a word between them: seconds of one part."""
    tasks, iterations = count(40, scale), python_iterations()
    with POOL(WORKERS) as pool:
        start_processes(pool, WORKERS)
        parts = [pool.submit(python_seconds, iterations, tasks // WORKERS) for _ in range(WORKERS)]
        return sum(part.result() for part in parts) / WORKERS


def short_then_long(scale: float) -> list[float]:
    """What is known of the first tasks says nothing of those that follow."""
    return [SHORT_SECONDS] * count(1_000, scale) + [LONG_SECONDS] * count(20, scale)


def long_then_short(scale: float) -> list[float]:
    """The reverse."""
    return short_then_long(scale)[::-1]


def of_all_lengths(scale: float) -> list[float]:
    """Tasks of 1 to 200 ms, in an order drawn with a fixed seed."""
    tasks = count(40, scale)
    lengths = [0.001 + 0.199 * number / (tasks - 1) for number in range(tasks)]
    Random(0).shuffle(lengths)
    return lengths


def busy(seconds: float) -> float:
    """Keep a processor busy for so long by the clock, in a worker: the time at its end, by the clock of all."""
    process_step()
    end = perf_counter() + seconds
    while (now := perf_counter()) < end:
        pass
    return now


def wall_and_delay(durations: Durations, scale: float) -> tuple[float, float]:
    """Submit all, collect them as completed: seconds for all, and the most from a task's end until it was collected."""
    with OURS(WORKERS) as executor:
        start_processes(executor, WORKERS)
        longest, started = 0.0, perf_counter()
        for future in as_completed([executor.submit(busy, seconds) for seconds in durations(scale)]):
            longest = max(longest, perf_counter() - future.result())
        return perf_counter() - started, longest


def wall(durations: Durations, scale: float) -> float:
    """Seconds for all."""
    return wall_and_delay(durations, scale)[0]


def greedy(durations: Durations, scale: float) -> float:
    """The same if each went, in order and at no cost, to the worker that is free first."""
    free = [0.0] * WORKERS
    for seconds in durations(scale):
        heapreplace(free, free[0] + seconds)
    return max(free)


def longest_delay(scale: float) -> float:
    """The most seconds from a task's end until it was collected, whatever order short and long ones come in."""
    return max(wall_and_delay(durations, scale)[1] for durations in (short_then_long, long_then_short))

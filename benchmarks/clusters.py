"""What tasks cost on a cluster of dask's or on Ray, beside the same tasks given to it as its users do.

Both sides run on two workers, which are there before and were used, and on dask on the same two, in turn; seconds per
task, or of one run.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from time import perf_counter, sleep
from typing import Any

from benchmarks import values
from benchmarks.steps import WORKERS
from benchmarks.values import Get, Submit
from graphfutures import GraphExecutor

OnCluster = Callable[[bool, float], float]
Graph = Callable[[Submit, Get, int], float]

SECONDS = 0.1  # of a task that is no trouble to send


def increment(number: int) -> int:
    """One more."""
    return number + 1


def add(one: int, other: int) -> int:
    """A sum."""
    return one + other


def tree(submit: Submit, get: Get, tasks: int) -> float:
    """So many leaves and sums of two that there are as many tasks."""
    start = perf_counter()
    level = [submit(increment, number) for number in range(max(1, tasks // 2))]
    while len(level) > 1:
        odd = level[len(level) // 2 * 2 :]
        level = [submit(add, *level[place : place + 2]) for place in range(0, len(level) - 1, 2)] + odd
    get(level[0])
    return (perf_counter() - start) / tasks


def chain(submit: Submit, get: Get, tasks: int) -> float:
    """Each on the one before."""
    start = perf_counter()
    last: Any = 0
    for _ in range(tasks):
        last = submit(increment, last)
    get(last)
    return (perf_counter() - start) / tasks


def sleeps(submit: Submit, get: Get, tasks: int) -> float:
    """Tasks that need no one."""
    start = perf_counter()
    for one in [submit(sleep, SECONDS) for _ in range(tasks)]:
        get(one)
    return perf_counter() - start


@cache
def _client() -> Any:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0")
    client = Client(cluster)
    atexit.register(cluster.close)
    atexit.register(client.close)  # which is called first
    return client


@contextmanager
def dask(ours: bool) -> Iterator[tuple[Submit, Get]]:
    """A way to submit to a LocalCluster."""
    client = _client()
    with _used(ours, client, partial(client.submit, pure=False)) as found:
        yield found


@contextmanager
def _used(ours: bool, backend: Any, submit: Submit) -> Iterator[tuple[Submit, Get]]:
    if not ours:
        yield submit, lambda future: future.result()
        return
    with GraphExecutor(backend=backend) as executor:
        yield executor.submit, lambda future: future.result()


@contextmanager
def ray(ours: bool) -> Iterator[tuple[Submit, Get]]:
    """A way to submit to a Ray of this machine."""
    import ray as engine

    engine.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    try:
        if ours:
            with GraphExecutor(backend="ray") as executor:
                yield executor.submit, lambda future: future.result()
        else:
            remote = {function: engine.remote(function) for function in (increment, add)}
            yield lambda function, *args: remote[function].remote(*args), engine.get
    finally:
        engine.shutdown()


def of_graph(graph: Graph, tasks: int, cluster: Any, ours: bool, scale: float) -> float:
    """A graph of many tasks, after a small one of the kind."""
    with cluster(ours) as (submit, get):
        graph(submit, get, 200 if graph is not sleeps else WORKERS)
        return graph(submit, get, max(2, int(tasks * scale)))


def of_arrays(program: values.Program, ours: bool, scale: float) -> float:
    """A program with arrays of 64 MB."""
    with dask(ours) as (submit, get):
        program(submit, get, values.LENGTH * scale)
        return values.timed(program, submit, get, scale)

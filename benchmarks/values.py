"""What large values cost that tasks in worker processes hand to each other, beside dask.distributed and Ray.

Each program gets a way to submit and a way to get a value, so that it is the same for everybody. Seconds of one run, on
workers that have started and have run something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from benchmarks.processes import OURS
from benchmarks.steps import WORKERS

Submit = Callable[..., Any]
Get = Callable[[Any], Any]
Program = Callable[[Submit, Get, float], float]
Peer = Callable[[Program, float], float]

LENGTH = 8_000_000  # of an array of 64 MB
LINKS = 10
READERS = 8


def make(length: int) -> Any:
    """An array."""
    import numpy as np

    return np.ones(length)


def plus_one(array: Any) -> Any:
    """Another array."""
    return array + 1


def added(one: Any, other: Any) -> Any:
    """Another array."""
    return one + other


def total(array: Any) -> float:
    """A number."""
    return float(array.sum())


def chain(submit: Submit, get: Get, length: float) -> float:
    """Make an array, add one ten times, sum it."""
    array = submit(make, int(length))
    for _ in range(LINKS):
        array = submit(plus_one, array)
    return float(get(submit(total, array)))


def fan(submit: Submit, get: Get, length: float) -> float:
    """Make an array, and have eight tasks read it."""
    array = submit(make, int(length))
    totals = [submit(total, array) for _ in range(READERS)]
    return sum(get(one) for one in totals)


def tree(submit: Submit, get: Get, length: float) -> float:
    """Make eight arrays, and add them pairwise."""
    arrays = [submit(make, int(length)) for _ in range(READERS)]
    while len(arrays) > 1:
        arrays = [submit(added, *arrays[place : place + 2]) for place in range(0, len(arrays), 2)]
    return float(get(submit(total, arrays[0])))


def pairs(submit: Submit, get: Get, length: float) -> float:
    """Eight times make and add one; then pairs of those that are three apart are added and summed."""
    arrays = [submit(plus_one, submit(make, int(length))) for _ in range(READERS)]
    totals = [submit(total, submit(added, arrays[n], arrays[(n + 3) % READERS])) for n in range(READERS)]
    return sum(get(one) for one in totals)


def timed(program: Program, submit: Submit, get: Get, scale: float) -> float:
    """Run it with small arrays first, then with large ones."""
    program(submit, get, 1_000)
    started = perf_counter()
    program(submit, get, LENGTH * scale)
    return perf_counter() - started


def ours(program: Program, scale: float) -> float:
    """On our worker processes."""
    with OURS(WORKERS) as executor:
        return timed(program, executor.submit, lambda future: future.result(), scale)


def plain(program: Program, scale: float) -> float:
    """By calls in this process."""
    return timed(program, lambda function, *args: function(*args), lambda value: value, scale)


@contextmanager
def _distributed() -> Iterator[tuple[Submit, Get]]:
    from distributed import Client

    with Client(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as client:
        yield partial(client.submit, pure=False), lambda future: future.result()


@contextmanager
def _ray() -> Iterator[tuple[Submit, Get]]:
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    try:
        remote = {function: ray.remote(function) for function in (make, plus_one, added, total)}
        yield lambda function, *args: remote[function].remote(*args), ray.get
    finally:
        ray.shutdown()


def better_peer(program: Program, scale: float) -> float:
    """On dask.distributed or Ray, whichever is quicker; on one of them where only that is installed."""
    found = []
    for name, peer in (("distributed", _distributed), ("ray", _ray)):
        if find_spec(name) is not None:
            with peer() as (submit, get):
                found.append(timed(program, submit, get, scale))
    return min(found)

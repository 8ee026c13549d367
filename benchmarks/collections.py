"""What dask's own collections cost on our threads and on its own, each by name and with the same number of workers.

``python -m benchmarks.collections matmul ours|peer SCALE`` is the interpreter that the figure of memory starts.
"""

import atexit
import sys
from collections.abc import Callable
from functools import cache
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import graphfutures
from benchmarks.measure import WARM_UP, fresh
from benchmarks.memory import held, highest
from benchmarks.steps import WORKERS, count

FILES = 10
CHUNKS = 8  # in each direction
SCHEDULERS: dict[str, Any] = {
    "ours": graphfutures.threaded.get,
    "peer": "threads",
    "our processes": graphfutures.multiprocessing.get,
    "dask's processes": "processes",
}

Ask = Callable[[float], Any]
OnSide = Callable[[str, float], float]


@cache
def flights(scale: float) -> Any:
    """Ten files of flights that were drawn with a fixed seed, to be read again by whoever asks anything."""
    import dask.dataframe
    import numpy
    import pandas

    draw, rows = numpy.random.default_rng(0), count(100_000, scale, least=100)
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    for number in range(FILES):
        columns = {
            "origin": draw.choice(["EWR", "JFK", "LGA"], rows),
            "dep_delay": draw.normal(10, 30, rows).round(),
            "dep_time": draw.integers(0, 2400, rows),
            "weekday": draw.integers(0, 7, rows),
        }
        pandas.DataFrame(columns).to_csv(f"{folder.name}/{number}.csv", index=False)
    return dask.dataframe.read_csv(f"{folder.name}/*.csv")


def questions(scale: float) -> list[Any]:
    """What there is to know of the flights, of all and of those that took off."""
    frame = flights(scale)
    flown = frame[frame.dep_time > 100]
    return [
        frame.origin.count(),
        flown.origin.count(),
        frame.dep_delay.max(),
        flown.groupby("origin").origin.count(),
        flown.groupby("origin").dep_delay.mean(),
        flown.groupby("weekday").dep_delay.mean(),
    ]


@cache
def matrix(scale: float) -> Any:
    """A square matrix whose chunks are in memory."""
    import dask.array

    side = count(4_000, scale, least=100)
    lazy = dask.array.random.default_rng(0).random((side, side), chunks=(side // CHUNKS, side // CHUNKS))
    return lazy.persist(scheduler="sync")


def product(scale: float) -> list[Any]:
    """The mean of a matrix times itself."""
    factor = matrix(scale)
    return [(factor @ factor.T).mean()]


def seconds(ask: Ask, side: str, scale: float) -> float:
    """From the first look at a collection until the values are here: dask builds its graphs in this time, too."""
    import dask

    ask(scale)  # whose files or chunks are there before the clock
    started = perf_counter()
    dask.compute(ask(scale), scheduler=SCHEDULERS[side], num_workers=WORKERS)
    return perf_counter() - started


def matmul_bytes(side: str, scale: float) -> int:
    """What the process held at its highest, above the matrix and all that was imported before."""
    seconds(product, side, scale * WARM_UP)
    matrix(scale)
    before = held()
    seconds(product, side, scale)
    return highest() - before


def matmul_peak(side: str, scale: float) -> float:
    """Peak extra memory of one side, in an interpreter of its own."""
    # Smaller chunks drown in what the allocator has in store.
    return float(fresh("-m", "benchmarks.collections", "matmul", side, str(max(scale, 0.25))))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["matmul", side, scale]:
            print(matmul_bytes(side, float(scale)))

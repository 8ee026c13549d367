"""The error of a task that kills its worker; apart from the others, since its base brings half of multiprocessing."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from graphfutures.errors import GraphFuturesError, how_it_died


class WorkerCrashedError(GraphFuturesError, BrokenProcessPool):
    """A task has killed the worker process that ran it; the executor lives on."""


def worker_crashed(key: str, code: int | None, attempts: int) -> WorkerCrashedError:
    """For a task that has done so once too often.

    :param code: of the last process: what it exited with, or less the number of a signal; None if it is not known.
    """
    times = "once" if attempts == 1 else f"{attempts} times"
    return WorkerCrashedError(f"{key} was running {times} when {how_it_died(code)}; it is not tried again")

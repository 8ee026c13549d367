"""A batch as a task of dask's."""

from __future__ import annotations

from functools import partial
from typing import Any

from distributed import Queue, get_worker

from graphfutures.backends.clusters import work


def run(topic: str, name: str, runs: int | None, pickled: bytes, *kept: work.Kept) -> work.Kept:
    """Run a batch.

    :param topic: of the events by which its outcomes are told.
    :param name: of the batch, unlike any other.
    :param runs: how often it may be begun, None for as often as dask likes.
    :param pickled: see ``work.run``.
    :param kept: by the batches that it needs.
    :raises TooOftenError: if it was begun as often as it may.
    """
    worker: Any = get_worker()
    if runs is not None:
        try:
            Queue(name, maxsize=runs).put(None, timeout=1)
        except TimeoutError:
            raise TooOftenError(runs) from None
    return work.run(pickled, kept, partial(worker.log_event, topic))


class TooOftenError(Exception):
    """A batch was begun as often as it may be.

    :param runs: how often that is.
    """

    def __init__(self, runs: int) -> None:
        super().__init__(runs)
        self.runs = runs


def truncate(topic: str, dask_scheduler: Any = None) -> None:
    """In the scheduler: forget the events of a topic."""
    dask_scheduler._broker.truncate(topic)

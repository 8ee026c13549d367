"""A batch as a task of dask's."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from distributed import get_worker

from graphfutures.backends.clusters import work

#: seconds to wait for the scheduler
PATIENCE: Final = 30
#: what the notes are called of values that one task alone needs, after the topic
SOLE: Final = "-sole"
#: and those of where batches have ended
ENDS: Final = "-ends"


class Entry:
    """What dask calls: reads as ``run`` where that is called, since dask ends a worker that cannot read a task."""

    __name__ = "run"

    def __reduce__(self) -> Any:
        return eval, (f"lambda *args: __import__({__name__!r}, fromlist=['run']).run(*args)",)

    def __call__(self, *args: Any) -> work.Kept:
        """See ``run``."""
        return run(*args)


def run(topic: str, name: str, runs: int | None, pickled: bytes, *kept: work.Kept) -> work.Kept:
    """Run a batch.

    :param topic: of the events by which its outcomes are told.
    :param name: of the batch, unlike any other.
    :param runs: how often it may be begun, None for as often as dask likes.
    :param pickled: see ``work.run``.
    :param kept: by the batches that it needs.
    :raises RuntimeError: for what dask would not tell of.
    """
    worker: Any = get_worker()
    tell = partial(worker.log_event, topic)
    try:
        if runs is not None and _begun(worker, topic, name) >= runs:
            return work.refused(pickled, runs, tell)
        notes = _notes(worker, [topic + ENDS, name])
        return work.run(pickled, kept, tell, asked=partial(_sole, worker, topic), notes=notes)
    except Exception:
        raise
    except BaseException as error:  # which dask does not tell of
        raise RuntimeError(f"a batch of tasks ended with {error!r:.200}") from error


def _notes(worker: Any, keys: list[str]) -> work.Notes:
    """Those of a batch, which the scheduler has."""

    def write(ticket: int) -> None:
        _done(worker, worker.scheduler.set_metadata(keys=keys, value=ticket))

    def read() -> int:
        return int(_done(worker, worker.scheduler.get_metadata(keys=keys, default=0)))

    return work.Notes(write, read)


def _begun(worker: Any, topic: str, name: str) -> int:
    """How often a batch was begun before; from now on once more, though this process should die the next moment."""

    async def count() -> int:
        begun: int = await worker.scheduler.get_metadata(keys=[topic, name], default=0)
        await worker.scheduler.set_metadata(keys=[topic, name], value=begun + 1)
        return begun

    found: int = _done(worker, count())
    return found


def _sole(worker: Any, topic: str, taker: int) -> set[int]:
    """See ``work.Ask``: what the pump has said."""
    try:
        return {*map(int, _done(worker, worker.scheduler.get_metadata(keys=[topic + SOLE, str(taker)], default=())))}
    except Exception:  # the scheduler is slow to answer: a copy is right in any case
        return set()


def _done(worker: Any, what: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(what, worker.loop.asyncio_loop).result(PATIENCE)


def forget(topic: str, dask_scheduler: Any = None) -> None:
    """In the scheduler: forget the events of a topic, and what was noted beside them."""
    truncate(topic, dask_scheduler)
    dask_scheduler.task_metadata.pop(topic, None)
    dask_scheduler.task_metadata.pop(topic + ENDS, None)


def truncate(topic: str, dask_scheduler: Any = None) -> None:
    """In the scheduler: forget the events of a topic, and which values one task alone needs."""
    dask_scheduler._broker.truncate(topic)
    dask_scheduler.task_metadata.pop(topic + SOLE, None)

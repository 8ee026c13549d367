"""What an executor and its views tell of their graph."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from graphfutures.core.states import DONE, READY, RUNNING, WAITING
from graphfutures.diagnostics.events import Subscriber, Subscription, stream_of
from graphfutures.diagnostics.snapshot import Pending, Snapshot
from graphfutures.diagnostics.totals import Slots, Stats, busy, missing
from graphfutures.door import Door
from graphfutures.explaining import explain
from graphfutures.futures import GraphFuture
from graphfutures.history import Attempt, keys_of

T = TypeVar("T")


class Overview(Door):
    """What an executor and its views tell of their graph."""

    def put(self, value: T) -> GraphFuture[T]:
        """A future that has this value already; given to tasks, the value is not looked through."""
        future: GraphFuture[T] = GraphFuture(self._hub, next(self._hub.serials), name="put")
        hub = self._hub
        held = [backend.hold for backend in hub.backends if hasattr(backend, "hold")]
        future._outcome = held[0](value) if held else value
        future.state = DONE
        future._announce()
        return future

    def explain(self, future: GraphFuture[Any]) -> str:
        """Why a future is not done, or how it ended, in a sentence.

        :raises ValueError: for anything but a future of this executor.
        """
        if not isinstance(future, GraphFuture) or future._owner is not self._hub:
            raise ValueError(f"{future!r:.80} is not a future of this executor")
        self._hub.catch_up()
        return explain(self._hub, future)

    def stats(self) -> Stats:
        """How many tasks are waiting, ready and running now, and how many have ended how so far.

        :return: a dict; its attributes ``slots``, ``bytes``, ``functions`` and ``missing`` tell of slots, of values,
            and of what is remembered of the tasks of each name.
        """
        hub = self._hub
        hub.catch_up()
        scheduler, history = hub.scheduler, hub.history
        unsettled = tuple(scheduler.unsettled)
        states = [task.state for task in unsettled]
        counts = {
            "waiting": states.count(WAITING),
            "ready": states.count(READY),
            "running": states.count(RUNNING),
            "done": hub.added - len(states) - hub.failed - hub.cancelled,
            "failed": hub.failed,
            "cancelled": hub.cancelled,
        }
        running = [task for task in unsettled if task.state is RUNNING]
        computing = [task for task in running if not scheduler.waits_inside(task)]
        holding = [*computing, *(task for task, _ in tuple(scheduler.overdue))]
        number = used = size = 0
        for lane, backend in (hub.lanes or {"": hub.backend}).items():
            number += backend.max_workers
            used += busy([task for task in holding if task.lane == lane], backend.max_workers)
            size += backend.store.held if hasattr(backend, "store") else 0
        slots = Slots(number, used, len(running) - len(computing))
        return Stats(counts, slots, size, history.rows(), tuple(hub.without), history.maxlen)

    def attempts(self) -> list[Attempt]:
        """The last 10,000 attempts, or all of them with ``record=True``."""
        return self._hub.history.attempts()

    def snapshot(self) -> Snapshot:
        """What is remembered and what is pending, at one moment: what pictures and reports are made from."""
        hub = self._hub
        hub.catch_up()
        pending = [
            Pending(task.serial, task.name, task.state, tuple(getattr(need, "key", "") for need in task.dependencies))
            for task in tuple(hub.scheduler.unsettled)
            if isinstance(task, GraphFuture)
        ]
        attempts = hub.history.attempts()
        without = [
            Pending(serial, name, state, keys_of(tuple(needs))) for serial, name, state, *needs in tuple(hub.without)
        ]
        ended = hub.added - len(hub.scheduler.unsettled)
        forgotten = missing(ended, attempts, without, hub.history.maxlen)
        return Snapshot(hub.name, self._max_workers, attempts, forgotten, pending, without)

    def subscribe(self, subscriber: Subscriber) -> Subscription:
        """Have what happens told as it happens.

        :param subscriber: called with each :class:`Event <graphfutures.diagnostics.events.Event>`, in their order, in
            a thread of its own, soon after it has happened; if it raises, that is logged, and it is told no more.
        :return: to be closed, or used as a context manager; the end of the executor closes it as well.
        :raises TypeError: for what cannot be called.
        """
        if not callable(subscriber):
            raise TypeError(f"subscribe takes a function, which is called with each event, not {subscriber!r:.80}")
        return stream_of(self._hub).join(subscriber)

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write what ran when and where, for Perfetto (ui.perfetto.dev) or Chrome's ``about:tracing``.

        :param path: of the file, JSON; ``.gz`` at its end has it compressed.
        """
        from graphfutures.diagnostics.tracing import write

        write(self.snapshot(), path)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write what ran and where the time went, as one page that needs nothing else.

        :param path: of the file, HTML.
        """
        from graphfutures.diagnostics.reporting import write

        write(self.snapshot(), path)

    def visualize(self, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """A picture of the graph, of what is remembered of it and what is pending.

        :param path: of the file, ``.svg``, ``.dot`` or ``.mmd`` (Mermaid); none is written without it.
        :param options: see :class:`graphfutures.diagnostics.pictures.Picture`.
        :return: the picture, which notebooks show.
        """
        from graphfutures.diagnostics.pictures import of_snapshot

        return of_snapshot(self.snapshot(), path, **options)

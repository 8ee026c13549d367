"""A backend without workers: the test takes the tasks, and ends their attempts in whatever order it likes."""

from __future__ import annotations

import threading
from operator import index
from time import perf_counter
from typing import Any, NamedTuple

from graphfutures.backends.base import Capabilities, Exchange
from graphfutures.core.graph import Place
from graphfutures.core.states import RUNNING
from graphfutures.current import here
from graphfutures.errors import BrokenGraphError
from graphfutures.futures import GraphFuture
from graphfutures.hub import Hub
from graphfutures.running import on_terms, record_of, run


class _Handed(NamedTuple):
    """An attempt that the test has taken and not ended."""

    place: Place
    worker: int
    start: float


class ManualBackend:
    """A backend that does nothing by itself, so that a test decides what happens when::

        backend = ManualBackend()
        executor = GraphExecutor(backend=backend)
        x = executor.submit(pow, 2, 10)
        y = executor.submit(abs, x)
        assert backend.take() == [x]  # y waits for x, which now runs
        backend.finish(x, -5)         # nothing was called: x has this value
        assert backend.take() == [y]
        backend.run(y)                # calls abs(-5) here and now
        assert y.result(timeout=0) == 5
        executor.shutdown()

    Every method may be called from any thread.  A consequence is there when the method that caused it
    returns; only callbacks run on a thread of their own.  ``submit`` and ``cancel`` take effect in the thread
    that calls them, so here a signal handler must not raise in them.  The interpreter's exit does not wait
    for an executor with this backend.

    :param max_workers: how many attempts one place may hold at once.
    :param places: how many places there are, numbered from 0: each stands for a worker process that can be lost.
    :param patience: seconds after which ``executor.shutdown(wait=True)`` gives up waiting for a test that does not
        end its attempts, and fails all that is unfinished with ``BrokenGraphError``.
    :raises ValueError: for a number below 1.
    """

    capabilities = Capabilities()

    def __init__(self, max_workers: int = 4, *, places: int = 1, patience: float = 60.0) -> None:
        if max_workers < 1 or places < 1:
            raise ValueError("max_workers and places must be greater than 0")
        self.max_workers = max_workers
        self._patience = patience
        self._count = places
        self._begin()

    def _begin(self) -> None:
        self._places = [self._new_place(number) for number in range(self._count)]
        self._handed: dict[tuple[GraphFuture[Any], int], _Handed] = {}

    def _new_place(self, number: int) -> Place:
        return Place(f"manual {number}", self.max_workers)

    # -- for tests ----------------------------------------------------------------------------

    def take(self, n: int = 1, *, place: int = 0) -> list[GraphFuture[Any]]:
        """Start attempts: the next tasks to run, as a worker would get them; from now on they are running.

        :param n: how many at most; fewer are returned when fewer are ready, or the place holds ``max_workers``.
        :param place: where they are to run.
        :raises IndexError: if there is no such place.
        """
        if index(n) < 0:
            raise ValueError(f"n must not be negative, but is {n}")
        where = self._places[place]
        batch = self._hub.exchange(where, (), n) or []
        now = perf_counter()
        for future in batch:
            self._handed[future, future.attempt] = _Handed(where, place, now)
            future._worker, future._started = place, now
        return list(batch)

    def held(self, place: int | None = None) -> list[GraphFuture[Any]]:
        """The futures whose attempts were taken and not ended, in the order in which they were taken.

        :param place: only those that run there.
        :raises IndexError: if there is no such place.
        """
        places = self._places if place is None else [self._places[place]]
        return [future for (future, _), handed in tuple(self._handed.items()) if handed.place in places]

    def finish(self, future: GraphFuture[Any], value: Any = None, *, attempt: int | None = None) -> None:
        """End an attempt with a value; the task's function is not called.

        :param future: one that was taken.
        :param value: becomes the future's result.
        :param attempt: which attempt, counted from 1, if it is not the last one that was taken: that of a
            place that was lost meanwhile may still be heard of, and does not count.
        :raises LookupError: if no such attempt was taken, or it was ended already.
        """
        self._end(future, attempt, True, value)

    def fail(self, future: GraphFuture[Any], error: BaseException, *, attempt: int | None = None) -> None:
        """End an attempt with an exception; the task's function is not called.

        :param future: one that was taken.
        :param error: becomes the future's exception.
        :param attempt: as for ``finish``.
        :raises LookupError: if no such attempt was taken, or it was ended already.
        :raises TypeError: for an ``error`` that is no exception.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception, not {error!r:.80}: write fail(future, ValueError('why'))")
        self._end(future, attempt, False, error)

    def run(self, future: GraphFuture[Any]) -> None:
        """Call the task's function in this thread, and end its attempt with what it returns or raises.

        :param future: one that was taken.
        :raises LookupError: if it was not taken, or its attempt was ended already.
        """
        number, handed = self._pop(future, None)
        call = future._fn, future._args, future._rest
        outer, here.task = here.task, future
        try:
            fact = run(future, handed.worker)
        finally:
            here.task = outer
        if handed.place not in self._places:
            future._fn, future._args, future._rest = call  # it is to run once more, since its place was lost meanwhile
        self._hub.exchange(handed.place, ((future, number, *fact[2:]),), 0)

    def revoke(self, future: GraphFuture[Any], *, attempt: int | None = None) -> None:
        """Give a task back that was taken: it has not started, and is ready again.

        :param future: one that was taken.
        :param attempt: as for ``finish``.
        :raises LookupError: if no such attempt was taken, or it was ended already.
        """
        number, handed = self._pop(future, attempt)
        self._hub.revoked(future, number, handed.place)

    def lose(self, place: int = 0) -> list[GraphFuture[Any]]:
        """Have a place die, with all that runs there: those tasks are ready again; an empty place replaces it.

        :return: the futures that ran there.
        :raises IndexError: if there is no such place.
        """
        running = self.held(place)
        gone = self._places[place]
        self._places[place] = self._new_place(place)
        self._hub.lost(gone)
        return running

    def _pop(self, future: GraphFuture[Any], attempt: int | None) -> tuple[int, _Handed]:
        number = future.attempt if attempt is None else attempt
        handed = self._handed.pop((future, number), None)
        if handed is None:
            raise LookupError(f"attempt {number} of {future.key} was not taken, or has been ended already")
        return number, handed

    def _end(self, future: GraphFuture[Any], attempt: int | None, good: bool, outcome: Any) -> None:
        number, (place, worker, start) = self._pop(future, attempt)
        fact = (future, number, good, outcome, record_of(future, worker, start, good=good))
        self._hub.exchange(place, (on_terms(fact),), 0)

    # -- for the hub --------------------------------------------------------------------------

    def start(self, hub: Exchange) -> None:
        """See ``Backend``."""
        self._hub = hub
        if isinstance(hub, Hub):
            hub.abandoned = True  # at exit nobody is left who could end an attempt

    def wake(self) -> None:
        """See ``Backend``: what was posted is applied here; who runs what is ready is up to the test."""
        if not self._hub.inside() and self._hub.has_posts():
            self._hub.exchange(None, (), 0)

    attend = nudge = wake

    def close(self) -> None:
        """See ``Backend``."""
        self._hub.apply()

    def join(self) -> None:
        """See ``Backend``."""
        impatience = threading.Timer(self._patience, self._give_up)
        impatience.daemon = True
        impatience.start()
        try:
            self._hub.end()
        finally:
            impatience.cancel()
            impatience.join()

    def help(self) -> bool:
        """See ``Backend``."""
        return False

    def forked(self) -> None:
        """See ``Backend``."""
        self._begin()

    def _give_up(self) -> None:
        running = [future for future in self.held() if future.state is RUNNING]
        keys = ", ".join(future.key for future in running[:10])
        error = BrokenGraphError(f"shutdown has waited {self._patience:g} s for attempts that no test ends: {keys}")
        self._hub.broke(error)
        for future in running:
            try:
                self.fail(future, error)
            except LookupError:
                pass  # ended after all

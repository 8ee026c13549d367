"""A backend that ends tasks in an order drawn from a seed, and makes some of them fail."""

from __future__ import annotations

import threading
from _thread import RLock
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic, perf_counter
from typing import Any

from graphfutures.backends.base import Capabilities, Exchange, Finished
from graphfutures.bells import Bell, Thread
from graphfutures.core.graph import Place
from graphfutures.current import here
from graphfutures.errors import GraphFuturesError
from graphfutures.futures import GraphFuture
from graphfutures.hub import Hub
from graphfutures.running import on_terms, record_of, run
from graphfutures.watching import CALLBACK, WAITER

#: seconds between two looks whether somebody has begun to wait
LOOK = 0.001


class InjectedFailure(GraphFuturesError):
    """What a task fails with that ``SeededBackend`` has chosen; its message names the task and the seed."""


class SeededBackend:
    """A backend that ends tasks in an order drawn from a seed, one at a time, and makes some of them fail::

        @pytest.mark.parametrize("seed", range(50))
        def test_my_pipeline(seed):
            with GraphExecutor(backend=SeededBackend(seed)) as executor:
                assert my_pipeline(executor) == 42

    It has one thread.  That takes up to ``max_workers`` tasks, which are running from then on, draws which of them
    is to end next, calls its function, reports, and takes more.  It does so only while somebody waits: in ``result``
    or ``exception``, in the standard library's ``wait`` or ``as_completed``, in ``await``, for room under
    ``max_pending``, or in ``shutdown`` and at the end of ``with``.

    **What the seed decides.**  As long as one thread does all that is done from outside, and its waits have no
    timeouts, the same program with the same seed takes and ends the same tasks in the same order, makes the same
    ones fail, and finds the same futures done whenever it looks.  Tasks may submit.  What callbacks, other threads,
    coroutines and futures of others do comes when it comes.

    Where somebody waits in a way that cannot be seen, for an event that a callback sets or with
    ``asyncio.wrap_future``, it goes on once nothing has been submitted for ``patience`` seconds.

    :param seed: of the random numbers.
    :param max_workers: how many tasks are running at once; with 1 they end in the order in which they are taken.
    :param failures: the probability with which a task fails instead of being called, from 0 to 1.
    :param error: makes the exception of such a failure from a message.
    :param patience: in seconds, see above.
    :raises ValueError: for ``max_workers`` below 1, or ``failures`` that are no probability.
    :raises TypeError: for an ``error`` that cannot be called.
    """

    capabilities = Capabilities(limits_time=False)

    #: the keys of the tasks that have run, in the order in which they ended
    order: list[str]
    #: the keys of those whose failure was injected
    injected: list[str]

    def __init__(
        self,
        seed: int | str,
        *,
        max_workers: int = 4,
        failures: float = 0.0,
        error: Callable[[str], BaseException] = InjectedFailure,
        patience: float = 1.0,
    ) -> None:
        if max_workers < 1:
            raise ValueError("max_workers must be greater than 0")
        if not 0 <= failures <= 1:
            raise ValueError(f"failures must be a probability, from 0 to 1, not {failures!r}")
        if not callable(error):
            raise TypeError(f"error must make an exception of a message, as a type does, and is {error!r:.80}")
        self.seed = seed
        self.max_workers = max_workers
        self._failures = failures
        self._error = error
        self._patience = patience
        self.order = []
        self.injected = []

    def __repr__(self) -> str:
        return f"SeededBackend({self.seed!r})"

    # -- for the hub --------------------------------------------------------------------------

    def start(self, hub: Exchange) -> None:
        """See ``Backend``."""
        assert isinstance(hub, Hub), "only a hub knows who waits"
        self._hub = hub
        self._random = Random(self.seed)
        self._place = Place("seeded", self.max_workers)
        self._held: list[GraphFuture[Any]] = []
        self._closed = False
        self._last = monotonic()  # when somebody outside was heard of
        self._bell = Bell()
        self._staffing = RLock()
        self._thread: Thread | None = None

    def wake(self) -> None:
        """See ``Backend``."""
        if threading.current_thread() is not self._thread:
            self._last = monotonic()
        elif self._hub.loans:
            self._stand_in()
            return
        self._ring()

    attend = nudge = wake

    def close(self) -> None:
        """See ``Backend``."""
        self._closed = True
        self._ring()

    def join(self) -> None:
        """See ``Backend``."""
        if self._thread is None:
            self._hub.end()
        else:
            self._thread.join()

    def help(self) -> bool:
        """See ``Backend``."""
        return False

    def forked(self) -> None:
        """See ``Backend``."""
        self.start(self._hub)

    def _ring(self) -> None:
        self._bell.set()
        if self._thread is None:
            with self._staffing:
                if self._thread is None:
                    self._thread = thread = Thread(self._work, name=f"{self._hub.name}_seeded")
                    try:
                        thread.start()
                    except RuntimeError:
                        self._thread = None
                        raise

    # -- its thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        hub = self._hub
        finished: Sequence[Finished] = ()
        while True:
            self._bell.clear()
            # Nothing is taken in the same step: whoever is told of an end here may be about to submit.
            if hub.exchange(self._place, finished, 0) is None:
                return
            finished = ()
            if not self._somebody_waits():
                self._bell.wait(LOOK if self._held or hub.has_ready() else None)
                continue
            free = self.max_workers - len(self._held)
            self._held += (hub.exchange(self._place, (), free) or ()) if free else ()
            if self._held:
                finished = (self._end(self._held.pop(int(self._random.random() * len(self._held)))),)
            elif not hub.ended:
                self._bell.wait()

    def _stand_in(self) -> None:
        """A task waits inside, in the one thread that there is: run what is ready."""
        hub = self._hub
        while True:
            self._held += hub.exchange(self._place, (), self.max_workers - len(self._held)) or ()
            if not self._held:
                return
            future = self._held.pop(int(self._random.random() * len(self._held)))
            hub.exchange(self._place, (self._end(future),), 0)

    def _end(self, future: GraphFuture[Any]) -> Finished:
        """Run an attempt, or have it fail."""
        if self._random.random() < self._failures:
            fact = self._failed(future)
            self.injected.append(future.key)
        else:
            outer, here.task = here.task, future
            fact = run(future, 0)
            here.task = outer
        self.order.append(future.key)
        return fact

    def _failed(self, future: GraphFuture[Any]) -> Finished:
        start = future._started = perf_counter()
        future._worker = 0
        try:
            error: Any = self._error(f"injected into {future.key} by {self!r}")
        except Exception as other:
            error = other
        if not isinstance(error, BaseException):
            error = TypeError(f"error must return an exception, not {error!r:.80}")
        fact = on_terms((future, future.attempt, False, error, record_of(future, 0, start, good=False)))
        if fact[3] is error:
            future._forget_call()
        return fact

    def _somebody_waits(self) -> bool:
        """Whether nothing comes from outside until more tasks have ended."""
        if self._closed or self._hub.room or monotonic() - self._last > self._patience:
            return True
        return any(_is_awaited(task) for task in tuple(self._hub.scheduler.unsettled))


def _is_awaited(task: Any) -> bool:
    """Whether somebody is parked until it settles; one who looks through several futures is not, until he parks."""
    watch = getattr(task, "_watch", None)
    for kind, entry in tuple(watch.entries) if watch is not None else ():
        if kind is WAITER:
            bell = entry.event
            if bell._parked and not bell.is_set():
                return True
        elif kind is not CALLBACK:
            return True
    return False

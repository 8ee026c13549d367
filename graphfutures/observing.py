"""A graph that is watched: what changes in it is passed on, and nobody pays for that who does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias

from graphfutures.backends.base import Record
from graphfutures.core.observed import forget, ignore, observe
from graphfutures.guarded import Guarded
from graphfutures.history import CHANGING, History

#: called with a time and a list: of a task, its state from then on, and which of its attempts was handed over last; or
#: of None and either what is remembered of an attempt that has just returned, or what was ``noted``, and 0
Sink: TypeAlias = Callable[[float, list[Any]], object]


class Observing(Guarded):
    """A graph whose attempts are remembered, and whose changes are told to whoever watches."""

    #: what events are made by, once somebody has watched
    stream: Any = None
    #: what shows it live, if anything does
    dashboard: Any = None
    #: takes what changes, as long as somebody watches
    sink: Sink | None
    #: remembers an attempt that has returned
    remember: Callable[[Record], object]
    ask: Callable[..., object]

    def _begin_observing(self, history: History) -> None:
        self.sink = None
        self.remember_in(history)
        #: of the last tasks that have ended without an attempt that said so: number, name, state, and what they needed
        self.without: deque[tuple[Any, ...]] = deque(maxlen=history.maxlen)

    def remember_in(self, history: History) -> None:
        """Remember attempts there from now on."""
        self.history = history
        append = history.append if history.fresh is None else history.fresh.append
        self.remember = append if self.sink is None else partial(self._remember, append)

    def watch(self, sink: Sink | None) -> None:
        """Have what changes told, or no more.

        :param sink: called under the lock, or in whatever thread something was noted.
        """
        self.ask(self._watch, sink)

    def unwatched(self) -> None:
        """This is a forked child: whoever watched is in the other process."""
        self._watch(None)
        self.stream = None

    def tell_rest(self) -> None:
        """Wait until those who watch have been told all."""
        if self.stream is not None:
            self.stream.catch_up()

    def noted(self, what: str, worker: int, size: int = 0) -> None:
        """Something has become of a worker, or of a value.

        :param what: see ``Event``.
        :param worker: its number, -1 if it is not known.
        :param size: of the value, in bytes.
        """
        sink = self.sink  # which may go at any moment
        if sink is not None:
            sink(perf_counter(), [(None, (what, worker, size), 0)])

    # -- under the lock -----------------------------------------------------------------------

    def tell_watchers(self) -> None:
        """Pass on what has changed."""
        if self.sink is not None:
            changes = observe(self.scheduler)
            if changes:
                self.sink(perf_counter(), changes)  # if this is interrupted it comes twice, and is empty then
                forget(self.scheduler)

    def _watch(self, sink: Sink | None) -> None:
        self.sink = sink
        if sink is None:
            ignore(self.scheduler)
        else:
            observe(self.scheduler)
        with CHANGING:
            self.remember_in(self.history)

    def _remember(self, append: Callable[[Record], object], record: Record) -> None:
        append(record)
        if self.inside():
            self.tell_watchers()  # first, so that they hear it in order
        sink = self.sink
        if sink is not None:
            sink(perf_counter(), [(None, record, 0)])

"""Futures that are not ours: they stand in the graph as tasks that never run."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import local
from typing import Any

from graphfutures.core.graph import Task
from graphfutures.core.states import SETTLED, WAITING
from graphfutures.errors import NoThreadError
from graphfutures.futures import GraphFuture

Report = Callable[["External"], None]


class _Mine(local):
    """What this thread has still to call."""

    calls: deque[Callable[[], object]] | None = None


_mine = _Mine()


def one_after_the_other(call: Callable[[], object]) -> None:
    """Call it now, or, inside another such call, after that: a chain may go from executor to executor for long."""
    if _mine.calls is not None:
        _mine.calls.append(call)
        return
    _mine.calls = deque([call])
    try:
        while _mine.calls:
            try:
                _mine.calls.popleft()()
            except NoThreadError:
                pass  # for which whoever settled a future is not to suffer
    finally:
        _mine.calls = None


class External(Task):
    """A foreign future, or one of another executor of ours, as a dependency.

    The foreign future holds it weakly: once nobody in the graph waits for it, it is gone.
    """

    __slots__ = ("__weakref__", "source", "watched")

    outside = True

    def __init__(self, source: Future[Any]) -> None:
        super().__init__(0)
        self.state = WAITING
        self.special = True
        self.source = source
        self.watched = False

    @property
    def key(self) -> str:
        """What to call it in messages."""
        return self.source.key if isinstance(self.source, GraphFuture) else f"a {type(self.source).__name__}"

    _name = key  # which is remembered of it as a dependency

    @property
    def _outcome(self) -> Any:
        """The exception that its dependents inherit."""
        if isinstance(self.source, GraphFuture):
            return self.source._outcome
        return self.source.exception()

    def will_settle(self) -> bool:
        """Whether its outcome is decided, and about to be told or told already, as far as we can know."""
        if isinstance(self.source, GraphFuture):
            return self.source.state in SETTLED or self.source.done()
        return self.source.done()

    def watch(self, report: Report) -> None:
        """Have ``report(self)`` called when the foreign future settles, perhaps at once; done once."""
        if self.watched:
            return
        self._report = report  # not known to the foreign future either, which would keep a whole graph alive by it
        reference = weakref.ref(self)

        def settled(_: Future[Any]) -> None:
            external = reference()
            if external is not None:
                external._report(external)

        if isinstance(self.source, GraphFuture):
            self.source._listen(settled)  # never by way of the thread that runs callbacks
        else:
            self.source.add_done_callback(settled)
        self.watched = True


class StandIns(dict[int, "weakref.ref[External]"]):
    """One stand-in for all who wait for the same foreign future, so that they start in the order of submission."""

    __slots__ = ()

    def of(self, source: Future[Any]) -> External:
        """The one for this future."""
        known = self.get(id(source))
        external = known() if known is not None else None
        if external is None:
            external = External(source)
            self[id(source)] = weakref.ref(external, partial(self._forget, id(source)))
        return external

    def alive(self) -> list[External]:
        """Those whose foreign future somebody waits for."""
        return [external for known in tuple(self.values()) if (external := known()) is not None]

    def _forget(self, key: int, reference: weakref.ref[External]) -> None:
        if self.get(key) is reference:
            self.pop(key, None)

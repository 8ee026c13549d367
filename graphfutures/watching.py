"""Those who wait for a future: how they are noted, and what the standard library's own functions see of it."""

from __future__ import annotations

import sys
from _thread import RLock, get_ident
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures._base import _AllCompletedWaiter
from typing import Any

from graphfutures.bells import Bell
from graphfutures.core.circles import AnyOf
from graphfutures.core.graph import Task, Wait
from graphfutures.current import here


class Watch:
    """Those who wait for one future, as long as it is not settled.

    It stands for the ``_condition`` that the standard library's ``wait`` and ``as_completed`` hold while they
    read the states of all futures and add their waiters.  Holding it freezes what *this thread* sees of the
    state; a waiter added on a view that is out of date is told at once.  Nobody is ever kept out.

    ``entries`` holds, in the order in which they came, the locks of those who are parked in ``result``, waiters
    of the standard library, listeners and callbacks; each is taken out once, by whoever acts on it.
    """

    __slots__ = ("callbacks", "entries", "settled", "views")

    def __init__(self, *, settled: bool = False) -> None:
        self.settled = settled
        self.views: dict[int, tuple[bool, int]] = {}  # by thread: whether it was settled then, holds since
        self.entries: list[tuple[str, Any]] = []
        self.callbacks: deque[Callable[[], object]] | None = None  # of ``entries``, once they are to be run

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Freeze this thread's view, as long as it holds this; never waits."""
        settled, holds = self.views.get(get_ident(), (self.settled, 0))
        self.views[get_ident()] = settled, holds + 1
        return True

    def release(self) -> None:
        """Let this thread see the present state again."""
        settled, holds = self.views.pop(get_ident(), (False, 0))
        if holds > 1:  # a finalizer came between
            self.views[get_ident()] = settled, holds - 1

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def notify_all(self) -> None:
        """Nothing: those who wait are told by the future."""

    def seen_settled(self) -> bool:
        """Whether the future was settled in this thread's view."""
        return self.views.get(get_ident(), (self.settled, 0))[0]

    def leave(self, entry: tuple[str, Any]) -> bool:
        """Take an entry out; False if somebody has done so."""
        try:
            self.entries.remove(entry)
        except ValueError:
            return False
        return True


class _Settled(Watch):
    """The watch of every future that was settled before anybody asked: it keeps nothing."""

    __slots__ = ()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return True

    def release(self) -> None:
        pass


#: kinds of entries
PARKED = "parked"
WAITER = "waiter"
LISTENER = "listener"
CALLBACK = "callback"
SETTLED = _Settled(settled=True)
#: of more futures than that it is only asked whether they close a circle when none has come for so many seconds
FEW = 100
PATIENCE = 0.5
#: held, by waiters alone and for an instant, where one of several is to be the first
FIRST = RLock()


class Waiters:
    """The ``_waiters`` of a future, as the standard library's ``wait`` and ``as_completed`` use them."""

    __slots__ = ("_future",)

    def __init__(self, future: Any) -> None:
        self._future = future

    def append(self, waiter: Any) -> None:
        watch = self._future._watched()
        if watch.seen_settled():
            return  # it has been seen as settled and is not waited for
        if not isinstance(waiter.event, Bell):
            # The standard event's lock may stay taken for good when its waiter is interrupted.  While waiters are
            # being installed nobody else has come to know of this one.
            waiter.event = LentBell(waiter)
        if type(waiter.event) is LentBell:
            waiter.event.needs.append(self._future)
        if not self._future._enter((WAITER, waiter)):
            self._future._tell(waiter)
        elif self._future._owner is not None:
            self._future._owner.nudge()

    def remove(self, waiter: Any) -> None:
        watch = self._future._watch
        if watch is not None and not watch.settled:
            watch.leave((WAITER, waiter))


class LentBell(Bell):
    """What a task waits for in ``wait`` and ``as_completed``: its slot is lent as long as it does.

    :param waiter: of the standard library, whose event this is.
    """

    __slots__ = ("_every", "_number", "_until_failure", "_wait", "needs")

    def __init__(self, waiter: Any) -> None:
        super().__init__(is_set=waiter.event.is_set())
        #: whether all have to settle, or the first has to fail
        self._every = type(waiter) is _AllCompletedWaiter
        # Of the waiter nothing more is kept, which keeps this: what goes is to go without the collector.
        self._until_failure = self._every and waiter.stop_on_exception
        #: how many these are, those of others among them; not known to the other kinds of waiters
        self._number = waiter.num_pending_calls if self._every else None
        self._wait: Wait | None = None
        self.needs: list[Task] = []

    def wait(self, timeout: float | None = None) -> bool:
        if self._set:
            return True
        if here.task is None:
            return super().wait(timeout)
        needs, self.needs = self.needs, []  # once is enough to have them run first
        if needs:
            ours = not self._every or len(needs) == self._number
            self._wait = Wait(needs, every=self._every) if ours else None
        if timeout is not None:
            return self._wait_in_loan(timeout, needs, ())
        if not self._every:
            pending = _pending(sys._getframe(1))
        elif self._number == 1 or not self._until_failure:
            return self._wait_in_loan(None, needs, needs)
        else:
            pending = needs if len(needs) == self._number else ()
        if len(pending) > FEW:
            if self._wait_in_loan(PATIENCE, needs, ()):
                return True
            needs = []
        if not pending or not all(issubclass(type(future), Task) for future in pending):
            return self._wait_in_loan(None, needs, ())
        if not self._every:
            return self._wait_in_loan(None, needs, AnyOf(pending))
        return self._wait_for_failure(needs, pending)

    def _wait_for_failure(self, needs: list[Task], pending: Collection[Any]) -> bool:
        """Wait for the first failure of several; that others have ended well may leave those that close a circle."""
        patience = PATIENCE
        while True:
            left = [future for future in pending if not future._settled]
            alone = len(left) <= 1
            if self._wait_in_loan(None if alone else patience, needs, AnyOf(left)):
                return True
            needs, patience = [], min(2 * patience, 16 * PATIENCE)

    def _wait_in_loan(self, timeout: float | None, needs: list[Task], exact: Sequence[Task]) -> bool:
        with here.task._owner.lent(here.task, self._wait, needs, exact=exact) as loan:
            found = super().wait(timeout)
            loan.at_once = not found
        return found


def _pending(frame: Any) -> Collection[Any]:
    """What the standard library's ``as_completed`` or ``wait`` waits for, one of it being enough."""
    found = frame.f_locals
    return found.get("pending") or found.get("fs") or ()

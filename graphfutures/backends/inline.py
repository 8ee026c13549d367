"""Tasks in the thread that submits them, for debugging."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures._base import LOGGER
from threading import current_thread, local
from time import perf_counter
from typing import Any

from graphfutures import errors
from graphfutures.backends.base import Capabilities, Exchange, Finished
from graphfutures.bells import Thread
from graphfutures.core.graph import Place
from graphfutures.current import here
from graphfutures.futures import GraphFuture
from graphfutures.running import record_of, run


class _Stack(Place):
    """The tasks that one thread has begun, each inside the one before, and what ended the last one."""

    __slots__ = ("fact", "in_hand", "started")

    def __init__(self) -> None:
        # Tasks may submit: their number is not limited here.
        super().__init__("inline", sys.maxsize, lends=False)
        self.started: list[GraphFuture[Any]] = []
        self.fact: Finished | None = None
        #: whether this thread is about to exchange, or has not seen to an interruption of that
        self.in_hand = False


class _Mine(local):
    """The stack of this thread."""

    def __init__(self) -> None:
        self.stack = _Stack()


class Inline:
    """Runs a task inside ``submit``; one that waits for a foreign future, where the last one settles.

    All of this happens in the user's threads, the main one among them, which a signal handler may interrupt
    at any point: then the graph is mended before the exception goes on.

    :param initializer: called before the first task, with ``initargs``.
    """

    capabilities = Capabilities(submits_run=True, lends=False, limits_time=False)
    max_workers = 1

    def __init__(self, initializer: Callable[..., object] | None = None, initargs: Any = ()) -> None:
        self._initializer = initializer
        self._initargs = initargs
        self._mine = _Mine()
        #: threads that run what was made ready by one who has others to see to
        self._aside: list[Thread] = []

    def start(self, hub: Exchange) -> None:
        """See ``Backend``."""
        self._hub = hub

    def wake(self) -> None:
        """See ``Backend``."""
        stack, my = self._mine.stack, here.__dict__  # of this thread; quicker than the attribute
        if stack.in_hand and not self._is_under_way():
            self._recover()
        if self._hub.inside():
            return  # a finalizer, inside an exchange that will see to it
        started, outer = stack.started, my.get("task")
        depth = len(started)
        stack.in_hand = True
        try:
            if self._initializer is not None:
                self._initialize()
            turn = self._hub.turn
            fact: Finished | None
            batch = turn(stack, None)
            while batch:
                my["task"] = batch[0]
                started.append(batch[0])
                if outer is None:
                    stack.fact = fact = run(batch[0], 0)
                else:
                    # The outer task cannot go on before this one returns, whatever it waits for itself.
                    waits = outer._owner.waits
                    before = waits.get(outer, ())
                    waits[outer] = (batch[0], *before)
                    lender, here.lender = here.lender, outer if outer.place.lends else here.lender
                    stack.fact = fact = run(batch[0], 0)
                    here.lender = lender
                    if before:
                        waits[outer] = before
                    else:
                        waits.pop(outer, None)
                my["task"] = outer
                if not fact[2] and isinstance(fact[3], (KeyboardInterrupt, SystemExit)) and not here.ours:
                    raise fact[3]
                batch = turn(stack, fact)
                stack.fact = fact = None
                started.pop()
            stack.in_hand = depth > 0
        except BaseException as interruption:
            batch = fact = None
            while True:
                try:
                    my["task"] = outer
                    self._mend(stack, depth, interruption)
                    stack.in_hand = depth > 0
                    break
                except BaseException:
                    continue  # another one
            raise

    attend = nudge = wake

    def _is_under_way(self) -> bool:
        """Whether this thread is inside of a task that it runs here."""
        frame: Any = sys._getframe(2)
        while frame is not None and frame.f_code is not Inline.wake.__code__:
            frame = frame.f_back
        return frame is not None

    def _recover(self) -> None:
        """Three interruptions in a row may have left what this thread had in hand as it was."""
        stack, last = self._mine.stack, None
        if here.task in stack.started:
            here.task = None
        while stack.in_hand:
            try:
                self._mend(stack, 0, last or RuntimeError("its thread was interrupted"))
                stack.in_hand = False
            except Exception:
                raise
            except BaseException as error:
                last = error  # one more
        if last is not None:
            raise last

    def wake_aside(self) -> None:
        """As ``wake``, for a thread that has others to see to: what is ready is run in a thread of its own."""
        thread = Thread(self._work_aside, name="inline")
        self._aside = [*(other for other in self._aside if other.is_alive()), thread]
        try:
            thread.start()
        except RuntimeError:
            self._aside.remove(thread)
            self.wake()  # the interpreter exits, and no thread can be started any more

    def _work_aside(self) -> None:
        here.ours = True
        self.wake()

    def _initialize(self) -> None:
        initializer, self._initializer = self._initializer, None
        try:
            if initializer is not None:
                initializer(*self._initargs)
        except Exception as error:
            LOGGER.critical("Exception in initializer:", exc_info=True)
            self._hub.broke(errors.initializer_failed(error))
        except BaseException:
            self._initializer = initializer  # it has not run to its end
            raise

    def _mend(self, stack: _Stack, depth: int, interruption: BaseException) -> None:
        """Have the graph made whole, and end what was interrupted; begun anew, if it is interrupted itself."""
        started = stack.started
        self._hub.mend(stack, started)
        while len(started) > depth:
            future = started[-1]
            if not future.done():
                fact = stack.fact
                if fact is None or fact[0] is not future or fact[1] != future.attempt:
                    fact = _interrupted(future, interruption)
                self._hub.exchange(stack, (fact,), 0)
            future.retell()
            stack.fact = None
            started.pop()
        self._hub.exchange(stack, (), 0)  # others may wait for what follows, or for the end

    def close(self) -> None:
        """See ``Backend``."""
        self._hub.apply()

    def join(self) -> None:
        """See ``Backend``."""
        if self._mine.stack.in_hand and not self._is_under_way():
            self._recover()
        self._hub.end()
        for thread in self._aside:
            if thread.is_alive() and thread is not current_thread():
                thread.join()

    def help(self) -> bool:
        """See ``Backend``."""
        return False

    def forked(self) -> None:
        """See ``Backend``: a task that forks goes on in the child."""


def _interrupted(future: GraphFuture[Any], interruption: BaseException) -> Finished:
    """The fact that a task was begun, and that nobody knows how far it came."""
    start = getattr(future, "_started", perf_counter())
    return future, future.attempt, False, interruption, record_of(future, 0, start, good=False)

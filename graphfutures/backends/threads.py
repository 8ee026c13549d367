"""Tasks in threads of this process."""

from __future__ import annotations

import threading
from _thread import RLock
from collections import deque
from collections.abc import Callable
from concurrent.futures._base import LOGGER
from itertools import count
from time import sleep
from typing import Any

from graphfutures import errors
from graphfutures.backends.base import Capabilities, Finished, Record
from graphfutures.backends.ringing import Ringing
from graphfutures.bells import Thread
from graphfutures.core.graph import Place
from graphfutures.current import here
from graphfutures.futures import GraphFuture
from graphfutures.running import run

#: seconds after which a thread leaves that stood in for one that waited
SPARE = 0.5
#: seconds from which on a task is long
LONG = 0.001
_NOTHING_RAN: Record = (0, "", 0, 0.0, 0.0, 0, True)


class Threads(Ringing):
    """Worker threads, started as they are needed, which wait at one bell.

    For each task that waits and has lent its slot there may be one thread more than ``max_workers``.

    :param max_workers: how many threads at most.
    :param name: of the threads, before a number.
    :param initializer: called first in each thread, with ``initargs``.
    """

    capabilities = Capabilities()

    def __init__(
        self, max_workers: int, name: str, initializer: Callable[..., object] | None = None, initargs: Any = ()
    ) -> None:
        self.max_workers = max_workers
        self._name = name
        self._initializer = initializer
        self._initargs = initargs
        self._begin()

    def _begin(self) -> None:
        self.threads: dict[threading.Thread, int] = {}  # with the number of each
        self._left: set[threading.Thread] = set()  # spare ones that may still have a step to go
        self._staffing = RLock()  # held while ``threads`` is added to; a finalizer may come back to it
        self._idle: deque[bool] = deque()  # one entry for each worker that waits or is about to
        self._hang_bell()
        self._place = Place("threads", self.max_workers)
        self._stranded = False  # whether there is work, and no thread could be started for it

    def wake(self) -> None:
        """See ``Backend``."""
        if self._place.held >= self.max_workers:
            return  # whoever gives a slot back will look himself
        if self._idle:
            self._ring()
        elif len(self.threads) < self.max_workers + len(self._hub.loans):
            self._spawn()

    def nudge(self) -> None:
        """See ``Backend``: those who are busy look by themselves."""
        if self._idle or not self.threads:
            self.wake()

    def close(self) -> None:
        """See ``Backend``."""
        if self.threads:
            self._ring()
        else:
            self.attend()

    def join(self) -> None:
        """See ``Backend``."""
        if not self.threads:
            self._hub.end()  # all that there is waits for futures of others, and will start a thread
        joined = {threading.current_thread()}
        while True:
            for thread in (*self.threads, *self._left):  # one may come meanwhile
                if thread not in joined:
                    break
            else:
                return
            try:
                thread.join()
                joined.add(thread)
            except RuntimeError:  # somebody is about to start it
                sleep(0)

    def help(self) -> bool:
        """See ``Backend``: CPython 3.12 starts no thread any more once the interpreter exits."""
        if not self._stranded or self._place.held >= self.max_workers:
            return False
        self._stranded = False
        if not self._initialized():
            return True
        self._initializer = None  # once in this thread
        fact: Finished | None = None
        outer = here.task
        try:
            while batch := self._hub.turn(self._place, fact):
                here.task = batch[0]
                fact = run(batch[0], 0)
        finally:
            here.task = outer
        return True

    def forked(self) -> None:
        """See ``Backend``."""
        self._begin()

    def _spawn(self) -> None:
        thread = None
        try:
            with self._staffing:
                number = len(self.threads)
                if number >= self.max_workers + len(self._hub.loans):
                    return
                if self._left:  # one of them had a number that is free again
                    self._left = {left for left in self._left if left.is_alive()}
                    taken = set(self.threads.values())
                    number = next(number for number in count() if number not in taken)
                thread = Thread(self._work, (number,), name=f"{self._name}_{number}")
                self.threads[thread] = number
            thread.start()  # not under the lock: a finalizer in the new thread may want it
        except BaseException as error:
            if thread is not None and not thread.is_alive():  # one that comes after all adds itself
                self.threads.pop(thread, None)
            if not isinstance(error, RuntimeError):
                raise
            self._stranded = True
            self._hub.stranded()
            if self.threads:
                return  # those who are here will do it all, or whoever waits for the end helps
            if self._hub.accepts():
                raise errors.NoThreadError(str(error)) from None
            # else the interpreter exits: whoever waits for the end helps

    def _work(self, number: int) -> None:
        hub = self._reference()
        if hub is None:
            return  # its start was interrupted, and all is over
        me = threading.current_thread()
        here.ours = True
        # Whoever started this thread may have been interrupted before noting it, and another one come in its place.
        self.threads.setdefault(me, number)
        if len(self.threads) > self.max_workers and self._leaves(me):
            return
        if self._initializer is not None and not self._initialized():
            return
        place, idle, threads, limit = self._place, self._idle, self.threads, self.max_workers
        turn, loans = hub.turn, hub.loans
        my = here.__dict__  # of this thread; quicker than the attribute
        fact: Finished | None = None
        future: GraphFuture[Any] | None
        record = _NOTHING_RAN
        few = True
        while True:
            batch = turn(place, fact)
            fact = None  # nothing here may keep a value alive
            if batch:
                future = batch[0]
                if record[4] - record[3] > LONG:
                    # Others may wait for what the task has held, a lock of BLAS's for one.  This thread would have it
                    # again before they wake up, time after time, while values pile up that wait for theirs.
                    sleep(0)
                if (idle or few or loans) and place.held < limit and hub.has_ready():
                    self.wake()
                    few = len(threads) < limit
                my["task"] = future
                fact = run(future, number)
                record = fact[4]
                my["task"] = None
            elif batch is None:
                self._ring()  # the next one leaves, too
                return
            else:
                future, record = None, _NOTHING_RAN
                idle.append(True)
                if hub.has_posts() or (place.held < limit and hub.has_ready()):
                    idle.pop()
                elif len(threads) <= limit:
                    self._bell.acquire()
                    idle.pop()
                else:
                    rung = self._bell.acquire(timeout=SPARE)
                    idle.pop()
                    if not rung and self._leaves(me):
                        return

    def _is_spare(self) -> bool:
        return len(self.threads) > self.max_workers + len(self._hub.loans)

    def _leaves(self, me: threading.Thread) -> bool:
        """Whether a spare thread may leave; who wakes somebody meanwhile either no longer counts it or is heard."""
        if not self._is_spare():
            return False
        self._left.add(me)
        number = self.threads.pop(me)
        if self._hub.has_posts() or self._hub.has_ready():
            self.threads[me] = number
            self._left.discard(me)
            return False
        return True

    def _initialized(self) -> bool:
        try:
            if self._initializer is not None:
                self._initializer(*self._initargs)
        except BaseException as error:
            LOGGER.critical("Exception in initializer:", exc_info=True)
            self._hub.broke(errors.initializer_failed(error))
            return False
        return True

"""Threads that run callbacks: started when first needed, they leave when they have been idle for a while."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty
from time import monotonic, sleep
from typing import Any, TypeAlias

from graphfutures.bells import Letters, Thread
from graphfutures.futures import GraphFuture, run_callbacks
from graphfutures.watching import FIRST

LOGGER = logging.getLogger("graphfutures")
_Unit: TypeAlias = "tuple[GraphFuture[Any], deque[Callable[[], object]]]"

#: seconds after which an idle thread leaves
IDLE = 1.0
#: seconds after which a callback that still runs no longer keeps others waiting
PATIENCE = 0.05
#: seconds after which it is logged; in a busy program many a callback waits longer than ``PATIENCE`` for the GIL
SLOW = 0.5


class Callbacks:
    """Runs the callbacks of futures, each future's in their order, on threads that carry nothing else.

    One thread does so as long as every callback is quick.  As long as something waits, at least one thread is free,
    that is runs no callback; it takes over what waits once a callback has taken longer than ``PATIENCE``.  So a
    callback may wait for anything.  Whoever adds something, takes something or leaves sees to that afterwards.

    :param name: of the threads, before what they are.
    """

    _is_open = False

    def __init__(self, name: str) -> None:
        self._name = name
        self._threads: set[threading.Thread] = set()
        self._closing = False

    def _open(self) -> None:
        """Make what an executor without callbacks has no use for."""
        with FIRST:
            if self._is_open:
                return
            self._bell: Letters[None] = Letters()
            self._asleep: set[threading.Thread] = set()  # those who wait at the bell, or are about to
            # Since when; whose callbacks, until that is logged.
            self._busy: dict[threading.Thread, list[Any]] = {}
            self._units: deque[_Unit] = deque()
            self._is_open = True

    def add(self, future: GraphFuture[Any], callbacks: deque[Callable[[], object]]) -> None:
        """Have the callbacks of a settled future run."""
        if not self._is_open:
            self._open()
        self._units.append((future, callbacks))
        if self._asleep:
            self._bell.put(None)
        elif not self._is_watched():
            self._run_here()

    def inside(self) -> bool:
        """Whether this thread runs a callback."""
        return bool(self._threads) and threading.current_thread() in self._threads

    def finish(self) -> None:
        """Wait until all callbacks have run and the threads have left; not for the one that calls this."""
        self._closing = True
        while self._threads and (others := self._threads - {threading.current_thread()}):
            for _ in others:
                self._bell.put(None)
            for thread in others:
                try:
                    thread.join(PATIENCE)
                except RuntimeError:  # somebody is about to start it
                    sleep(0)

    def _is_watched(self) -> bool:
        """Whether a thread is free, if need be a new one; False if none can be started."""
        return len(self._threads) > len(self._busy) or self._start()

    def _start(self) -> bool:
        thread = Thread(self._run, name=f"{self._name}_callbacks")
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException as error:
            if not thread.is_alive():  # one that comes after all adds itself
                self._threads.discard(thread)
            if not isinstance(error, RuntimeError):  # which it is when the interpreter exits
                raise
            return False
        return True

    def _run(self) -> None:
        me = threading.current_thread()
        self._threads.add(me)
        try:
            while True:
                if self._busy and (seconds := self._patience(me)):
                    self._rung(seconds)
                elif self._units:
                    self._take()
                elif not self._sleep(me):
                    return
        finally:
            self._threads.discard(me)
            if self._closing:
                self._bell.put(None)  # another one may leave, too
            if self._units and not self._is_watched():
                self._run_here()

    def _take(self) -> None:
        """Run the callbacks of one future, if anything still waits."""
        try:
            unit = self._units.popleft()
        except IndexError:
            return
        me = threading.current_thread()
        self._busy[me] = [monotonic(), unit[0]]
        try:
            if self._units:
                self._is_watched()
            run_callbacks(unit[1])
        finally:
            if unit[1]:  # after one that has ended this thread
                self._units.appendleft(unit)
            self._busy.pop(me, None)

    def _sleep(self, me: threading.Thread) -> bool:
        """Wait for more to do; False if nothing came for a while."""
        self._asleep.add(me)
        try:
            if self._units or self._rung(0 if self._closing else IDLE):
                return True
        finally:
            self._asleep.discard(me)
        self._patience(me)
        return False

    def _rung(self, seconds: float) -> bool:
        try:
            self._bell.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _patience(self, me: threading.Thread) -> float:
        """For how long another thread that runs a callback is not late with it; tells of those who are."""
        now = monotonic()
        patience = 0.0
        for thread, entry in tuple(self._busy.items()):
            since, future = entry
            if thread is me:
                continue
            patience = max(patience, since + PATIENCE - now)
            if future is not None and now - since > SLOW:
                entry[1] = None
                LOGGER.warning("a callback of %s still runs after %.1f s", future.key, now - since)
        return patience

    def _run_here(self) -> None:
        while self._units:
            run_callbacks(self._units.popleft()[1])

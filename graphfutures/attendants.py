"""Threads that run callbacks: started when first needed, they leave when they have been idle for a while."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any, TypeAlias

from graphfutures.bells import Thread
from graphfutures.futures import GraphFuture, run_callbacks

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

    One thread does so as long as every callback is quick.  When one takes longer than ``PATIENCE`` and
    others wait, another thread stands in, so a callback may wait for anything.

    :param name: of the threads, before what they are.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._units: deque[_Unit] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._asleep: set[threading.Thread] = set()  # those who wait at the bell, or are about to
        # Since when; whose callbacks, until that is logged.
        self._busy: dict[threading.Thread, list[Any]] = {}
        self._closing = False

    def add(self, future: GraphFuture[Any], callbacks: deque[Callable[[], object]]) -> None:
        """Have the callbacks of a settled future run."""
        self._units.append((future, callbacks))
        if self._asleep:
            self._bell.put(None)
        elif len(self._threads) == len(self._busy) and not self._start():
            self._run_here()

    def inside(self) -> bool:
        """Whether this thread runs a callback."""
        return bool(self._threads) and threading.current_thread() in self._threads

    def finish(self) -> None:
        """Wait until all callbacks have run and the threads have left; not for the one that calls this."""
        self._closing = True
        while self._threads and (others := self._threads - {threading.current_thread()}):
            self._bell.put(None)
            for thread in others:
                try:
                    thread.join(PATIENCE)
                except RuntimeError:  # somebody is about to start it
                    sleep(0)

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
        last = monotonic()
        try:
            while True:
                if len(self._threads) > 1:
                    if self._others_are_quick(me):
                        if monotonic() - last > IDLE:
                            return
                        sleep(PATIENCE / 2)
                        continue
                    last = monotonic()
                try:
                    future, callbacks = self._units.popleft()
                except IndexError:
                    if self._rung(me):
                        continue
                    self._tell_late(me)
                    return
                self._busy[me] = [monotonic(), future]
                del future
                try:
                    run_callbacks(callbacks)
                finally:
                    self._busy.pop(me, None)
                    del callbacks
        finally:
            self._threads.discard(me)
            if self._units and not self._threads and not self._start():  # added while it was leaving
                self._run_here()

    def _rung(self, me: threading.Thread) -> bool:
        """Wait for more to do; False if nothing came for a while."""
        self._asleep.add(me)
        try:
            if not self._units:
                self._bell.get(timeout=0 if self._closing else IDLE)
        except Empty:
            return False
        finally:
            self._asleep.discard(me)
        return True

    def _others_are_quick(self, me: threading.Thread) -> bool:
        """Whether another thread runs a callback and is not late with it."""
        self._tell_late(me)
        now = monotonic()
        return any(now - since < PATIENCE for thread, (since, _) in tuple(self._busy.items()) if thread is not me)

    def _tell_late(self, me: threading.Thread) -> None:
        for thread, entry in tuple(self._busy.items()):
            since, future = entry
            if thread is not me and future is not None and monotonic() - since > SLOW:
                entry[1] = None
                LOGGER.warning("a callback of %s still runs after %.1f s", future.key, monotonic() - since)

    def _run_here(self) -> None:
        while self._units:
            run_callbacks(self._units.popleft()[1])

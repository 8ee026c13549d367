"""A thread beside the workers: it applies what must not wait for a busy one, and sees to what is due at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from queue import Empty
from time import monotonic
from typing import Any, TypeAlias

from graphfutures.bells import Letters, Thread
from graphfutures.current import here

#: seconds after which an idle clerk leaves
IDLE = 1.0
#: when; a number, so that nothing else is compared; what to call, None once it was called off
Entry: TypeAlias = "list[Any]"


class Clerk:
    """A thread that is started when first needed, and leaves when it has been idle for a while.

    :param name: of the thread, before what it is.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._rings: Letters[Callable[[], object] | None] = Letters()
        self._here: set[threading.Thread] = set()  # those who will see a ring that comes now
        self._started: list[Thread] = []  # those who are to be waited for
        self._entries: deque[Entry] = deque()  # new ones, which the thread has not seen
        self._numbers = count()
        self._next = -1.0  # when the thread will look by itself
        self._dismissed = False

    def ring(self, work: Callable[[], object]) -> bool:
        """Have a function called soon; False if no thread can be started (the interpreter exits)."""
        self._rings.put(work)
        if not self._here:
            # A signal handler may raise at any point here, so it is the thread that notes that it is there.
            thread = Thread(self._attend, name=f"{self._name}_clerk")
            # One that was interrupted in its start may yet come.
            self._started = [*[t for t in self._started if t.ident is None or t.is_alive()], thread]
            try:
                thread.start()
            except RuntimeError:
                return False
        return True

    def after(self, seconds: float, work: Callable[[], object]) -> Entry | None:
        """Have a function called later; to call that off, set the last item of the entry to None.

        :return: None if no thread can be started.
        """
        entry: Entry = [monotonic() + seconds, next(self._numbers), work]
        self._entries.append(entry)
        # In this order: either the thread sees the entry, or we see when it will look.
        if (entry[0] < self._next or self._next < 0 or not self._here) and not self.ring(_nothing):
            return None
        return entry

    def dismiss(self) -> None:
        """Have the thread leave, and wait until it has."""
        if not self._started:
            return
        self._dismissed = True
        here = threading.enumerate()  # with those that are just being started
        threads = [thread for thread in self._started if thread in here and thread.runs()]
        for _ in threads:
            self._rings.put(None)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _attend(self) -> None:
        me = threading.current_thread()
        here.ours = True
        due: list[Entry] = []
        try:
            while True:
                self._here.add(me)
                try:
                    work = self._rings.get(timeout=self._until_next(due))
                except Empty:
                    if due and not self._dismissed:
                        continue
                    work = None
                if work is not None:
                    work()
                    del work  # it may be all that still keeps a hub
                    continue
                self._here.discard(me)
                if self._dismissed or (self._rings.empty() and not self._entries):
                    return
        finally:
            self._here.discard(me)
            self._entries.extend(due)  # for one that comes in its place

    def _until_next(self, due: list[Entry]) -> float:
        """Call what is due; seconds until something else is."""
        while True:
            while self._entries:
                heappush(due, self._entries.popleft())
            if len(due) > 64 and sum(entry[2] is not None for entry in due) < len(due) / 2:
                due[:] = [entry for entry in due if entry[2] is not None]
                heapify(due)
            while due and (due[0][2] is None or due[0][0] <= monotonic()):
                work = heappop(due)[2]
                if work is not None:
                    work()
                del work
            self._next = due[0][0] if due else monotonic() + IDLE
            if not self._entries:
                return min(IDLE, self._next - monotonic())  # whoever rang may have been interrupted in that


class Limit:
    """The time that one attempt may take; it stands still while the task waits inside.

    :param expire: called when it is over.
    """

    def __init__(self, clerk: Clerk, seconds: float, expire: Callable[[], object]) -> None:
        self._clerk = clerk
        self._left = seconds
        self._expire = expire
        self._entry: Entry | None = None
        self.go_on()

    def go_on(self) -> None:
        """The time begins, or goes on."""
        self._entry = self._clerk.after(self._left, self._expire)
        self._since = monotonic()

    def pause(self) -> None:
        """The time stands still."""
        self.end()
        self._left -= monotonic() - self._since

    def end(self) -> None:
        """The attempt has ended."""
        if self._entry is not None:
            self._entry[2] = None
            self._entry = None


def _nothing() -> None:
    pass

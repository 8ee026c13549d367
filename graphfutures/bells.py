"""Waiting in a thread that a signal handler may interrupt at any point, without a trace of it.

The standard ``threading.Event`` is Python code around a lock.  Whoever is interrupted in its ``wait`` or ``clear``
by a handler that raises (Ctrl-C) may leave that lock taken for good, and a worker that sets the event then is lost.
"""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from queue import Empty
from time import monotonic
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Bell:
    """What stands for a ``threading.Event``: to set it never waits, whatever became of those who wait for it."""

    __slots__ = ("_parked", "_set")

    def __init__(self, *, is_set: bool = False) -> None:
        self._set = is_set
        self._parked: deque[Any] = deque()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Wake all who wait."""
        self._set = True
        for lock in tuple(self._parked):
            try:
                lock.release()
            except RuntimeError:
                pass  # somebody has woken this one before

    def clear(self) -> None:
        """Begin anew."""
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, so many seconds at most; whether it is."""
        lock = allocate_lock()
        lock.acquire()
        self._parked.append(lock)
        try:
            if not self._set:
                lock.acquire(True, -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX))
        finally:
            try:
                self._parked.remove(lock)
            except ValueError:
                pass
        return self._set

    def _at_fork_reinit(self) -> None:
        self._parked.clear()


class Doorbell:
    """For threads of ours that wait at one bell, which no signal handler interrupts.

    The bell is a lock that is held as long as nothing is to be heard: ringing it is one release, which nothing can
    interrupt halfway, and a ring that comes before anybody waits is not lost.
    """

    __slots__ = ("_bell",)

    def _hang_bell(self) -> None:
        self._bell = allocate_lock()
        self._bell.acquire()

    def _ring(self) -> None:
        if self._bell.locked():
            try:
                self._bell.release()
            except RuntimeError:
                pass  # somebody else has just rung it


class Letters(Doorbell, Generic[T]):
    """What was put and nobody has got yet, for threads of ours to wait for.

    A timed ``get`` of ``queue.SimpleQueue`` may wait for ever (CPython 3.11 to 3.13): one that is woken, but finds
    that another thread was quicker, waits again for the rest of its time, and takes a negative rest for no limit.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: deque[T] = deque()
        self._hang_bell()

    def put(self, letter: T) -> None:
        """Add one, and wake one who waits."""
        self._kept.append(letter)
        self._ring()

    def get(self, timeout: float) -> T:
        """The oldest one.

        :param timeout: seconds to wait at most.
        :raises Empty: if there was none in that time.
        """
        end = monotonic() + timeout
        while True:
            try:
                letter = self._kept.popleft()
            except IndexError:
                if not self._bell.acquire(True, max(0.0, end - monotonic())) and not self._kept:
                    raise Empty from None
            else:
                if self._kept:
                    self._ring()  # two that were put in a row may have rung once
                return letter

    def empty(self) -> bool:
        """Whether there is none."""
        return not self._kept


class Thread(threading.Thread):
    """A daemon thread that runs even if ``start`` was interrupted while it waited for the thread's first step.

    :param target: what it runs.
    :param args: its arguments.
    :param name: of the thread.
    """

    def __init__(self, target: Callable[..., object], args: tuple[Any, ...] = (), *, name: str) -> None:
        super().__init__(target=target, args=args, name=name, daemon=True)
        self._started = Bell()

    def runs(self) -> bool:
        """Whether it runs, after a moment's patience with the system if it is just being started."""
        self._started.wait(1)
        return self.is_alive()

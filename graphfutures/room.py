"""Those who wait until the backlog has shrunk, and how they are woken, whoever is interrupted in that."""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

#: for each who waits: how small the backlog has to be, and the lock to release
Room: TypeAlias = "deque[tuple[int, Any]]"


def wait_in(room: Room, limit: int, too_many: Callable[[], bool], attend: Callable[[], object]) -> None:
    """Wait until the backlog may be below a limit.

    :param too_many: whether that is to be waited for at all, asked when nobody can miss this waiter any more.
    :param attend: called before it waits.
    """
    lock = allocate_lock()
    lock.acquire()
    entry = (limit, lock)
    room.append(entry)
    try:
        if too_many():
            attend()
            lock.acquire()
    finally:
        _leave(room, entry)


def wake_in(room: Room, backlog: int) -> None:
    """Wake those whose limit is above the backlog."""
    for entry in tuple(room):
        if backlog < entry[0]:
            release_all(entry[1:])  # first, since a signal handler may come between
            _leave(room, entry)


def release_all(locks: Iterable[Any]) -> None:
    """Release locks, some of which may have been released before an interruption."""
    for lock in locks:
        try:
            lock.release()
        except RuntimeError:
            pass


def _leave(room: Room, entry: tuple[int, Any]) -> None:
    try:
        room.remove(entry)
    except ValueError:
        pass

"""The memory of the last attempts: what ran when and where, cheap enough to be always on."""

from __future__ import annotations

from collections import deque
from itertools import repeat
from typing import Any, NamedTuple

from graphfutures import config
from graphfutures.backends.base import Record

#: how many attempts are remembered unless all of them are
REMEMBERED = 10_000
#: held while one memory takes the place of another
CHANGING = config.lock_over_forks()


class Attempt(NamedTuple):
    """What is remembered of an attempt that has returned.

    :param serial: number of the task in its executor.
    :param name: of the task.
    :param worker: which worker ran it.
    :param start: in seconds on the clock of ``time.perf_counter``.
    :param stop: its end, on the same clock.
    :param size: of the value in bytes, 0 where it is not known.
    :param good: whether it returned a value.
    :param needs: keys of the tasks whose values it was given.
    """

    serial: int
    name: str
    worker: int
    start: float
    stop: float
    size: int
    good: bool
    needs: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name and number of the task: ``load-3``."""
        return f"{self.name}-{self.serial}"


class History(deque[Record]):
    """The last attempts of an executor, ``maxlen`` of them; neither a task nor a value is kept alive."""

    #: those that came since the dashboard looked, if there is one
    fresh: deque[Record] | None = None
    #: how many blocks that are reported on are the reason why all are remembered
    blocks = 0

    def rows(self) -> tuple[Record, ...]:
        """What is remembered, in the order in which it was reported."""
        with CHANGING:
            return tuple(self) + tuple(self.fresh or ())

    def attempts(self) -> list[Attempt]:
        """The same, with names."""
        return [Attempt._make((*row[:7], keys_of(row[7:]))) for row in self.rows()]


def look(hub: Any, most: int) -> tuple[Record, ...]:
    """The first of what has come since somebody looked, so many at most; only one thread may do so."""
    with CHANGING:
        history: History = hub.history
        if not history.fresh:
            return ()
        rows = tuple(map(deque.popleft, repeat(history.fresh, min(most, len(history.fresh)))))
        history.extend(rows)
    return rows


def remember(hub: Any, most: int | None, *, fresh: bool | None = None) -> None:
    """Have a hub remember so many attempts from now on, with those that it does already.

    :param hub: the ``Hub`` of an executor.
    :param most: how many, None for all.
    :param fresh: whether somebody looks at those that are new; None for as it is.
    """
    with CHANGING:
        old: History = hub.history
        rows = tuple(old)
        new = History(rows, most)
        new.fresh = old.fresh if fresh is None else deque() if fresh else None
        new.blocks = old.blocks
        hub.remember_in(new)
        late: list[Record] = []
        for row in reversed(tuple(old)):
            if rows and row is rows[-1]:
                break
            late.append(row)
        if old.fresh is not None and new.fresh is not old.fresh:
            late[:0] = reversed(tuple(old.fresh))
        new.extend(reversed(late))


def keys_of(needs: tuple[Any, ...]) -> tuple[str, ...]:
    """The keys of dependencies, from the number and the name of each."""
    pairs = zip(needs[::2], needs[1::2], strict=True)
    return tuple(f"{name}-{serial}" if serial else name for serial, name in pairs)

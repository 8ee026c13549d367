"""The memory of the last attempts: what ran when and where, cheap enough to be always on."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from graphfutures.backends.base import Record

#: how many attempts are remembered unless all of them are
REMEMBERED = 10_000


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

    def attempts(self) -> list[Attempt]:
        """What is remembered, in the order in which it was reported."""
        return [Attempt._make((*row[:7], _keys(row[7:]))) for row in tuple(self)]


def _keys(needs: tuple[Any, ...]) -> tuple[str, ...]:
    pairs = zip(needs[::2], needs[1::2], strict=True)
    return tuple(f"{name}-{serial}" if serial else name for serial, name in pairs)

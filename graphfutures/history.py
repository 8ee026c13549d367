"""The memory of the last attempts: what ran when and where, cheap enough to be always on."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from graphfutures.backends.base import Label, Record

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
        return [
            Attempt(serial, name, worker, start, stop, size, good, tuple(map(_key, needs)))
            for (name, serial), worker, start, stop, size, good, needs in tuple(self)
        ]


def _key(label: Label) -> str:
    name, serial = label
    return f"{name}-{serial}" if serial else name

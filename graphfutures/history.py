"""The memory of the last attempts: what ran when and where, cheap enough to be always on."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

#: how many attempts are remembered unless all of them are
REMEMBERED = 10_000


class Attempt(NamedTuple):
    """One attempt that has returned.

    :param serial: number of the task in its executor.
    :param name: of the task.
    :param worker: which worker ran it.
    :param start: in seconds on the clock of ``time.perf_counter``.
    :param stop: the same.
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


class History:
    """The last attempts of an executor.

    :param everything: keep all of them, not only the last ``REMEMBERED``.
    """

    def __init__(self, *, everything: bool = False) -> None:
        self._attempts: deque[Any] = deque(maxlen=None if everything else REMEMBERED)
        #: takes what an Attempt has, ``needs`` as labels; neither a task nor a value is kept alive
        self.add = self._attempts.append

    def attempts(self) -> list[Attempt]:
        """What is remembered, in the order in which it was reported."""
        return [
            Attempt._make((*row[:7], tuple(f"{name}-{serial}" if serial else name for name, serial in row[7])))
            for row in tuple(self._attempts)
        ]


def label(dependency: Any) -> tuple[str, int]:
    """What stands for a dependency in the memory: its key is spelt out only for those who ask."""
    name = getattr(dependency, "_name", None)
    return (name, dependency.serial) if name is not None else (dependency.key, 0)

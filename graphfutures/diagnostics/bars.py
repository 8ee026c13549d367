"""The bars of a task stream: one for each attempt, or for many where these are thinner than can be seen."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any, Final

from graphfutures.diagnostics.naming import function_of

#: functions that are told apart
FUNCTIONS: Final = 2_000
OTHERS: Final = "others"


class Groups:
    """Functions that tasks are shown by.

    :param most: how many there may be; the rest is one.
    """

    def __init__(self, most: int = FUNCTIONS) -> None:
        self._most = most
        #: each of them, and the how many-th it is
        self.found: dict[str, int] = {}

    def of(self, name: str) -> str:
        """That of a task's name."""
        function = function_of(name)
        if function not in self.found and len(self.found) >= self._most:
            function = OTHERS
        self.found.setdefault(function, len(self.found))
        return function


class Rows:
    """Rows of a task stream: one for each worker, and those that were replaced share it with their successors.

    :param number: how many workers there are at once, as far as none waits inside.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        #: which worker each row shows last, None for none yet
        self.workers: list[int | None] = []
        self._ends: list[float] = []
        self._of: dict[int, int] = {}

    def of(self, worker: int, start: float, stop: float) -> int:
        """The row of an attempt."""
        row = self._of.get(worker)
        if row is None or self.workers[row] != worker:
            row = self._of[worker] = self._place(worker, start)
            self.workers[row] = worker
        if stop > self._ends[row]:
            self._ends[row] = stop
        return row

    def _place(self, worker: int, start: float) -> int:
        if 0 <= worker < self._number:
            while len(self.workers) <= worker:
                self._append()
            if self.workers[worker] is None:
                return worker
        if len(self.workers) >= self._number:
            row = self._ends.index(min(self._ends))
            if self._ends[row] <= start:
                return row
        return self._append()

    def _append(self) -> int:
        self.workers.append(None)
        self._ends.append(-inf)
        return len(self.workers) - 1

    def labels(self) -> list[str]:
        """What is written beside each row."""
        return [f"worker {row if worker is None else worker}" for row, worker in enumerate(self.workers)]


class Bars:
    """Attempts in, bars out; their number depends on the time that they span, not on how many attempts there are.

    A bar is a list: row, start, stop, name, how many attempts it stands for, how many of these failed, worker.

    :param width: of what can be seen, in seconds.
    """

    def __init__(self, width: float) -> None:
        self.width = width
        self._bars: list[list[Any]] = []
        self._last: dict[int, list[Any]] = {}  # the last bar of each row
        self._cells: dict[int, tuple[list[Any], dict[str, float]]] = {}  # its short attempts, and what took how long

    def add(self, attempts: Iterable[tuple[int, float, float, str, bool, int]]) -> None:
        """Add attempts, those of a row in their order: row, start, stop, name, whether it was good, worker."""
        width = self.width
        for row, start, stop, name, good, worker in attempts:
            cell = self._cells.get(row)
            seconds = stop - start
            if cell is not None:
                bar, shares = cell
                if seconds < width and 0 <= start - bar[1] < width:
                    bar[2] = max(bar[2], stop)
                    bar[4] += 1
                    if not good and not bar[5]:  # seen by itself, the first one at least
                        self._bars.append([row, start, stop, name, 1, 1, worker])
                    bar[5] += not good
                    shares[name] = shares.get(name, 0.0) + seconds
                    continue
                self._close(row)
            bar = [row, start, stop, name, 1, int(not good), worker]
            if seconds < width:
                self._cells[row] = bar, {name: seconds}
            else:
                self._bars.append(bar)
                self._last.pop(row, None)

    def _close(self, row: int) -> None:
        """The short attempts of about a width become a bar, named after what took most of it, or extend the last."""
        bar, shares = self._cells.pop(row)
        bar[3] = max(shares, key=shares.__getitem__)
        last = self._last.get(row)
        alike = last is not None and last[3] == bar[3] and (last[5] == last[4]) == (bar[5] == bar[4])
        if last is not None and alike and 0 <= bar[1] - last[2] < self.width:
            last[2] = max(last[2], bar[2])
            last[4] += bar[4]
            last[5] += bar[5]
        else:
            self._last[row] = bar
            self._bars.append(bar)

    def take(self) -> list[list[Any]]:
        """All bars since the last time."""
        for row in tuple(self._cells):
            self._close(row)
        self._last.clear()
        taken, self._bars = self._bars, []
        return taken


class Levels:
    """How many there were at once, over time: the mean in each of some stretches of equal length.

    :param begin: of the first stretch.
    :param wall: from there to the end of the last one, in seconds.
    :param number: of them.
    """

    def __init__(self, begin: float, wall: float, number: int) -> None:
        self._begin = begin
        self._length = wall / number or 1.0
        self._number = number
        self._steps = [0.0] * (number + 2)  # what is added to all that follow
        self._parts = [0.0] * (number + 2)  # what is added here alone

    def add(self, start: float, stop: float) -> None:
        """One was there from start to stop."""
        first, last = [min(max((at - self._begin) / self._length, 0.0), float(self._number)) for at in (start, stop)]
        for at, sign in ((first, 1.0), (last, -1.0)):
            place = int(at)
            self._parts[place] += sign * (place + 1 - at)
            self._steps[place + 1] += sign

    def means(self) -> list[float]:
        """The mean in each stretch."""
        level, found = 0.0, []
        for place in range(self._number):
            level += self._steps[place]
            found.append(max(0.0, level + self._parts[place]))
        return found

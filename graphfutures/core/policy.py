"""Which ready task next.

Roots (submitted from outside) start in submission order, and before them what running tasks have
submitted; what a completion made ready goes before both, the newest first, so that intermediates are
used and freed early.  A priority other than zero overrides all that.  After ``STREAK`` of these in a
row the oldest root goes first, so that nothing starves.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from graphfutures.core.graph import Task
from graphfutures.core.states import READY

STREAK = 64


class Policy:
    """The ready tasks of one machine, in the order in which they are to run.

    A task that stops being ready is not searched for; it is passed over when its turn comes.
    """

    __slots__ = ("_first", "_last", "_pushes", "_streak", "continuations", "nested", "roots")

    def __init__(self) -> None:
        self.roots: deque[Task] = deque()
        self.nested: deque[Task] = deque()
        self.continuations: list[Task] = []
        self._first: list[tuple[float, int, Task]] = []
        self._last: list[tuple[float, int, Task]] = []
        self._pushes = 0
        self._streak = 0

    def __len__(self) -> int:
        """How many entries there are, those included that stopped being ready."""
        return len(self.roots) + len(self.nested) + len(self.continuations) + len(self._first) + len(self._last)

    def has_any(self) -> bool:
        """Whether there is any entry; quicker than their number."""
        return bool(self.continuations or self.roots or self.nested or self._first or self._last)

    def push_early(self, task: Task) -> None:
        """Queue a new task that does not go to the end of ``roots``: it has a priority or was submitted inside."""
        if task.priority:
            self._push_priority(task, 1)
        else:
            self.nested.append(task)

    def push_continuation(self, task: Task) -> None:
        """Queue a task that a completion has made ready; of several, push the first one last."""
        if task.priority:
            self._push_priority(task, -1)
        else:
            self.continuations.append(task)

    def _push_priority(self, task: Task, direction: int) -> None:
        self._pushes += 1
        heappush(
            self._first if task.priority > 0 else self._last,
            (-task.priority, direction * self._pushes, task),
        )

    def pop(self) -> Task | None:
        """Remove and return the task to run next, None if no task is ready."""
        while True:
            if self._first:
                task = heappop(self._first)[2]
            elif self.continuations and (self._streak < STREAK or not self.roots):
                self._streak += 1
                task = self.continuations.pop()
            elif self.nested and (self._streak < STREAK or not self.roots):
                self._streak += 1
                task = self.nested.popleft()
            elif self.roots:
                self._streak = 0
                task = self.roots.popleft()
            elif self._last:
                task = heappop(self._last)[2]
            else:
                return None
            if task.state is READY:
                return task

"""Counted tokens that a task holds while it computes, as it holds a slot."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Final

from graphfutures.core.graph import Task
from graphfutures.core.states import READY


class Tokens:
    """What there is of each resource, who holds how much, and which ready tasks wait for some.

    :param declared: how many tokens of each name there are in all.
    """

    __slots__ = ("_count", "_free", "_waiting", "declared", "freed", "held")

    def __init__(self, declared: Mapping[str, float] | None = None) -> None:
        self.declared = dict(declared or {})
        self._free = dict(self.declared)
        self._count = 0
        # By lane and by what they ask for, so that a look at the first of each is enough.
        self._waiting: dict[tuple[str, tuple[tuple[str, float], ...]], list[tuple[float, int, Task]]] = {}
        self.held: dict[Task, Mapping[str, float]] = {}
        #: the lanes for whose waiting tasks there may be enough now
        self.freed: set[str] = set()

    def take(self, task: Task, *, forced: bool = False) -> bool:
        """Give a task what it asks for; False if there is not enough, unless it is forced."""
        wanted = task.resources
        if wanted and task not in self.held:
            if not forced and any(self._free[name] < number for name, number in wanted.items()):
                return False
            for name, number in wanted.items():
                self._free[name] -= number
            self.held[task] = wanted
        return True

    def give_back(self, task: Task) -> None:
        """A task computes no more."""
        given = self.held.pop(task, None)
        if given is not None:
            for name, number in given.items():
                self._free[name] += number
            self.freed.update(lane for lane, _ in self._waiting)

    def wait(self, task: Task) -> None:
        """Put a ready task aside until there is enough for it."""
        self._count += 1
        queue = self._waiting.setdefault((task.lane, tuple(sorted(task.resources.items()))), [])
        heappush(queue, (-task.priority, self._count, task))

    def pop(self, lane: str) -> Task | None:
        """A task of a lane that waited, and has now got what it asks for."""
        for key, queue in tuple(self._waiting.items()):
            while key[0] == lane and queue:
                task = queue[0][2]
                if task.state is READY and not self.take(task):
                    break
                heappop(queue)
                if not queue:
                    del self._waiting[key]
                if task.state is READY:
                    return task
        self.freed.discard(lane)
        return None

    def waiting(self) -> list[Task]:
        """The tasks that were put aside."""
        return [task for queue in self._waiting.values() for _, _, task in queue]

    def free(self) -> dict[str, float]:
        """How many tokens nobody holds, by name."""
        return dict(self._free)


#: of everybody who has declared none: no task can hold any of these, so nothing in it ever changes
NO_TOKENS: Final = Tokens()

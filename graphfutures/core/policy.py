"""Which ready task next.

First what somebody waits for who has lent his slot; then priorities above zero; then what a completion made ready,
the newest first, so that intermediates are used and freed early; then what running tasks have submitted; then roots,
which were submitted from outside.  After ``STREAK`` of the others in a row the oldest root goes first, and after so
many continuations the oldest that was submitted inside, so that nothing starves; unless a root might only add to those
who wait.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from graphfutures.core.graph import Task
from graphfutures.core.states import READY
from graphfutures.core.tokens import NO_TOKENS, Tokens

STREAK = 64


class Policy:
    """The ready tasks of one lane, in the order in which they are to run.

    A task that stops being ready is not searched for; it is passed over when its turn comes.

    :param lane: whose tasks these are.
    :param tokens: what tasks may ask for.
    """

    __slots__ = (
        "_first",
        "_freed",
        "_last",
        "_pushes",
        "_streak",
        "_tokens",
        "continuations",
        "crowded",
        "full",
        "lane",
        "nested",
        "roots",
        "urgent",
    )

    def __init__(self, lane: str = "", tokens: Tokens | None = None) -> None:
        self.lane = lane
        self.roots: deque[Task] = deque()
        self.continuations: list[Task] = []
        #: what somebody waits for who has lent his slot, the most urgent last
        self.urgent: list[Task] = []
        self.nested: deque[Task] = deque()
        #: whether so many tasks wait that no root should be begun out of turn, which might wait as well
        self.crowded = False
        #: whether they are so many that nothing should be begun but what they wait for
        self.full = False
        self._first: list[tuple[float, int, Task]] = []
        self._last: list[tuple[float, int, Task]] = []
        self._tokens = NO_TOKENS if tokens is None else tokens
        self._freed = self._tokens.freed
        self._pushes = 0
        self._streak = 0  # of others than roots

    def __len__(self) -> int:
        """How many entries there are, those included that stopped being ready."""
        return len(self.roots) + len(self.continuations) + len(self.nested) + len(self._first) + len(self._last)

    def has_any(self) -> bool:
        """Whether there is any entry; quicker than their number."""
        return bool(
            self.urgent
            or self.continuations
            or (not self.full and (self.roots or self.nested))
            or self._first
            or self._last
            or (self._freed and self.lane in self._freed)
        )

    def push_early(self, task: Task) -> None:
        """Queue a new task that does not go to the end of ``roots``: it has a priority or was submitted inside."""
        if task.priority:
            self._push_priority(task, 1)
        elif task.nested:
            self.nested.append(task)
        else:
            self.roots.append(task)

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

    def goes_on(self) -> bool:
        """Whether the next task may be one that a completion is about to make ready; it is counted as one, then."""
        if self.urgent or self._first or (self._streak >= STREAK and self.roots):
            return False
        self._streak += 1
        return True

    def pop(self) -> Task | None:
        """Remove and return the task to run next, None if no task is ready."""
        if self._freed and (waited := self._tokens.pop(self.lane)) is not None:
            return waited
        while True:
            if self.urgent:
                task = self.urgent.pop()
            elif self._first:
                task = heappop(self._first)[2]
            elif self._streak >= STREAK and self.roots and not (self.crowded or self.full):
                self._streak = 0
                task = self.roots.popleft()
            elif self.continuations and (not self.nested or self.full or self._streak % STREAK != STREAK - 1):
                self._streak += 1
                task = self.continuations.pop()
            elif self.full:
                return None
            elif self.nested:
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
                if task.special and task.resources and not self._tokens.take(task):
                    self._tokens.wait(task)
                    continue
                return task

"""Whether a wait closes a circle."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from graphfutures.core.graph import Task


def circle(task: Task, needs: Iterable[Task], edges: Callable[[Task], Iterable[Task]]) -> list[Task]:
    """The way from one of the needs back to the task, that one last; empty if there is none.

    :param needs: what the task cannot go on without.
    :param edges: what another task cannot go on without; nothing for one that has settled.
    """
    came_from: dict[Task, Task | None] = dict.fromkeys(needs)
    stack = list(came_from)
    while stack:
        found = stack.pop()
        if found is task:
            way: list[Task] = []
            step: Task | None = task
            while step is not None:
                way.append(step)
                step = came_from[step]
            return way[::-1]
        for need in edges(found):
            if need not in came_from:
                came_from[need] = found
                stack.append(need)
    return []

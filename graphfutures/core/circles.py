"""Whether a wait closes a circle, in which nobody can go on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from graphfutures.core.graph import Task

Edges = Callable[[Task], Collection[Task]]


class AnyOf(tuple[Task, ...]):
    """Needs of which one is enough."""

    __slots__ = ()


def reached(task: Task, edges: Edges) -> Iterator[Task]:
    """A task and all that it leads to, each once."""
    seen: set[Task] = set()
    stack = [task]
    while stack:
        found = stack.pop()
        if found not in seen:
            seen.add(found)
            yield found
            stack.extend(edges(found))


def circle(task: Task, needs: Collection[Task], edges: Edges) -> list[Task]:
    """The way from one of the needs back to the task, that one last; empty if the task can go on some day.

    :param needs: what the task cannot go on without.
    :param edges: what another task cannot go on without; nothing for one that has settled.
    """
    if type(needs) is AnyOf and not all(need is task or edges(need) for need in needs):
        return []  # the usual case: one of them waits for nothing
    way = _way(task, needs, edges)
    choices = [needs, *map(edges, way[:-1])]
    return [] if AnyOf in map(type, choices) and _can_go_on(task, needs, edges) else way


def _way(task: Task, needs: Collection[Task], edges: Edges) -> list[Task]:
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


def _can_go_on(task: Task, needs: Collection[Task], edges: Edges) -> bool:
    """Whether a task can, once those have gone on who wait for nothing, and those who wait for these alone."""
    graph: dict[Task, Collection[Task]] = {task: needs}
    waiters: dict[Task, list[Task]] = {}
    missing: dict[Task, int] = {}
    stack = [task]
    while stack:
        found = stack.pop()
        around = graph[found]
        missing[found] = min(1, len(around)) if type(around) is AnyOf else len(set(around))
        for need in set(around):
            waiters.setdefault(need, []).append(found)
            if need not in graph:
                graph[need] = edges(need)
                stack.append(need)
    free = [found for found, number in missing.items() if not number]
    while free:
        for waiter in waiters.get(free.pop(), ()):
            missing[waiter] -= 1
            if not missing[waiter]:
                free.append(waiter)
    return missing[task] <= 0

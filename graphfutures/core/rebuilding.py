"""The graph, begun anew from what is not settled."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from graphfutures.core.graph import Place, Task, Tasks, by_serial
from graphfutures.core.scheduler import Scheduler
from graphfutures.core.states import CANCELLED, NEW, READY, RUNNING, SETTLED, WAITING


def rebuilt(old: Scheduler, tasks: Iterable[Task], place: Place, started: Collection[Task]) -> Scheduler:
    """A scheduler in the place of one whose facts were interrupted halfway; begun anew itself, it comes to the same.

    :param tasks: all whose end has not been told, with numbers in the order of their submission.
    :param place: where the interruption was; what it was handed and has not started is handed over again.
    :param started: what runs there.
    """
    fresh = Scheduler(batching=old.batching, resources=old.tokens.declared)
    fresh.overdue = {(task, number) for task, number in old.overdue if task.place is not place}
    fresh._blocked = {attempt: where for attempt, where in old._blocked.items() if where is not place}
    fresh._unseen = old._unseen & set(fresh._blocked)
    fresh._lenders = old._lenders
    fresh._awaited, fresh._waits = old._awaited, old._waits
    fresh.resumed = old.resumed
    fresh.lent_tokens = {task for task in old.lent_tokens if task.place is not place}
    for lane in old.policies:
        fresh.lane(lane)
    for task in old.tokens.held:
        if task.place is not place:
            fresh.tokens.take(task, forced=True)
    again: Tasks = []
    for task in sorted(tasks, key=by_serial):
        task.dependents = None
        runs = task in started and task.state is not CANCELLED
        if runs or (task.state is RUNNING and task.place is not place):
            if task.state is not RUNNING:
                task.state = RUNNING
            fresh.unsettled.add(task)
            fresh.aside += task.aside
            if runs:
                fresh.tokens.take(task, forced=True)
        elif task.state in SETTLED:
            fresh.news.append(task)
        else:
            again.append(task)
            if task.state is not NEW:
                task.state = NEW
            task.unmet = 0
            if task.foreign:
                task.foreign = False
            for dependency in task.dependencies:
                if dependency.outside:
                    dependency.dependents = None
    fresh.submitted(again)
    for task in sorted(old.postponed, key=by_serial):
        if task.state is READY or task.state is WAITING:
            task.unmet += 1
            if task.state is READY:
                task.state = WAITING
            fresh.postponed.add(task)
    place.held = len(started)
    return fresh

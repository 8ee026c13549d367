"""What is handed over together with the inputs that it waits for."""

from __future__ import annotations

from graphfutures.core.graph import Place, Task
from graphfutures.core.scheduler import Scheduler


def chain(*lanes: str) -> list[Task]:
    tasks: list[Task] = []
    for serial, lane in enumerate(lanes):
        task = Task(serial, tuple(tasks[-1:]))
        if lane:
            task.mark(lane=lane)
        tasks.append(task)
    return tasks


def handed_over(tasks: list[Task], lane: str) -> list[Task]:
    scheduler = Scheduler(batching=True)
    scheduler.lane("side")
    scheduler.submitted(tasks)
    return scheduler.taken(Place("worker", 4, sequential=True, lane=lane), 4)


def test_a_chain_goes_along() -> None:
    tasks = chain("", "", "")
    assert handed_over(tasks, "") == tasks


def test_a_task_of_another_lane_stays() -> None:
    tasks = chain("side", "side", "")
    assert handed_over(tasks, "side") == tasks[:2]
    tasks = chain("", "", "side")
    assert handed_over(tasks, "") == tasks[:2]


def test_a_task_that_may_be_given_an_exception_stays() -> None:
    first, second = tasks = chain("", "")
    second.tolerated = (first,)
    assert handed_over(tasks, "") == [first]

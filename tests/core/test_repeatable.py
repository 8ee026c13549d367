"""What the machine decides does not depend on where its tasks lie in memory."""

from __future__ import annotations

from graphfutures.core.graph import Place, Task
from graphfutures.core.scheduler import Scheduler


def order_after_a_loss(number: int) -> list[int]:
    scheduler = Scheduler(batching=True)
    gone, here = Place("gone", number), Place("here", number)
    tasks = [Task(serial) for serial in range(number)]
    scheduler.submitted(tasks)
    assert scheduler.taken(gone, number) == tasks
    for task in tasks[::2]:
        scheduler.finished(task, task.attempt, gone)
    scheduler.lost(gone)
    return [task.serial for task in scheduler.taken(here, number)]


def test_what_a_lost_place_ran_is_begun_again_in_the_order_of_submission() -> None:
    number = 200
    assert order_after_a_loss(number) == [*range(1, number, 2)]

"""A scheduler that notes what it decides, as long as somebody watches.

Nobody who does not watch pays for this: a scheduler becomes one of these when the first one does, and is plain again
when the last one has gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphfutures.core.graph import Place, Task, Tasks
from graphfutures.core.scheduler import Scheduler
from graphfutures.core.states import NEW, READY, RUNNING, WAITING


class Observed(Scheduler):
    """Notes each change of a task's state, in order.

    No step is taken quickly: those of the plain scheduler that do several things at once say that it is not usual, so
    that the slow ones do the same one by one.
    """

    #: tasks, their states from then on, and which of their attempts was handed over last
    changes: list[tuple[Task, str, int]]

    def _changed(self, task: Task, state: str) -> None:
        self.changes.append((task, state, task.attempt))

    def submitted(self, tasks: Iterable[Task]) -> None:
        """See ``Scheduler``."""
        for task in tasks:
            self._changed(task, NEW)
            super().submitted((task,))
            if task.state is READY:
                self._changed(task, READY)

    def entered(self, task: Task, place: Place, batch: Tasks) -> bool:
        """See ``Scheduler``."""
        return False

    def turned(self, task: Task, number: int, place: Place, batch: Tasks, again: bool = False) -> bool:
        """See ``Scheduler``."""
        return False

    def handed_on(self, task: Task, number: int, place: Place, to: Task) -> bool:
        """See ``Slots``."""
        done = super().handed_on(task, number, place, to)
        if done:
            self._changed(to, to.state)
        return done

    def _begins(self, task: Task, place: Place) -> None:
        super()._begins(task, place)
        self._changed(task, task.state)

    def _settle(self, task: Task) -> None:
        self._changed(task, task.state)
        super()._settle(task)

    def _inputs_done(self, task: Task) -> None:
        super()._inputs_done(task)
        if task.state is READY:
            self._changed(task, READY)

    def _waits_again(self, task: Task) -> None:
        super()._waits_again(task)
        self._changed(task, task.state)

    def joined(
        self, task: Task, number: int, place: Place, dependencies: tuple[Task, ...], tolerated: tuple[Task, ...] = ()
    ) -> bool:
        """See ``Scheduler``."""
        if task.attempt == number and task.state is RUNNING:
            self._changed(task, WAITING)
        return super().joined(task, number, place, dependencies, tolerated)


def observe(scheduler: Scheduler) -> list[tuple[Task, str, int]]:
    """Have a scheduler note what it decides from now on.

    :return: what it has noted so far, until ``forget``.
    """
    changes: list[tuple[Task, str, int]] | None = getattr(scheduler, "changes", None)
    if changes is None:
        forget(scheduler)
        return observe(scheduler)
    if type(scheduler) is not Observed:
        scheduler.__class__ = Observed
    return changes


def forget(scheduler: Scheduler) -> None:
    """Note anew what is decided from now on."""
    scheduler.changes = []  # type: ignore[attr-defined]


def ignore(scheduler: Scheduler) -> None:
    """Have it be plain again."""
    scheduler.__class__ = Scheduler
    forget(scheduler)

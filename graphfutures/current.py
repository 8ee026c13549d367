"""The task that the present thread runs, and what its code may ask of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local
from typing import Any

from graphfutures import errors


class _Here(local):
    """What this thread is doing."""

    #: the task that it runs, if any: a GraphFuture
    task: Any = None
    #: a task beneath that one, in whose thread it runs without a slot of its own
    lender: Any = None
    #: whether it is a thread of ours that does nothing for users but to run tasks
    ours = False
    #: how many tasks that it runs were begun inside the wait of another one
    depth = 0


here = _Here()


class CurrentTask:
    """The task that is running, as its own code sees it.

    :param task: its future, which is not handed out: whoever waits for himself never goes on.
    """

    __slots__ = ("_task", "attempt", "key", "name")

    def __init__(self, task: Any) -> None:
        self._task = task
        self.name: str = task.name
        self.key: str = task.key
        #: which of its attempts this is, counted from 1
        self.attempt: int = task.attempt

    def cancelled(self) -> bool:
        """Whether nobody wants the outcome any more: ``cancel(force=True)`` was called, or its time is over."""
        return bool(self._task.done() or self._task in (self._task._owner.cancel_wanted or ()))

    def __repr__(self) -> str:
        return f"<CurrentTask {self.key}, attempt {self.attempt}>"


def current_task() -> CurrentTask:
    """The task that this code runs in.

    :raises RuntimeError: outside of tasks, and in threads that a task has started.
    """
    if here.task is None:
        raise errors.not_inside("current_task")
    return CurrentTask(here.task)


def current_executor() -> Any:
    """The executor that runs this task, to submit from inside.

    :raises RuntimeError: outside of tasks, on an executor of others, and when that executor is gone.
    """
    if here.task is None:
        raise errors.not_inside("current_executor")
    if not here.task.place.hosts:
        raise errors.no_host(here.task.key)
    executor = here.task._owner.door()
    if executor is None:
        raise errors.executor_gone(here.task.key)
    return executor


@contextmanager
def blocked() -> Iterator[None]:
    """Lend the slot of this task to others during a wait that graphfutures does not see: a lock, a queue, a socket.

    At the end the task waits for a free slot.  Without effect outside of tasks.
    """
    task = here.task
    if task is None:
        yield
        return
    with task._owner.lent(task):
        yield

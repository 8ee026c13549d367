"""Which tasks go to a cluster together: each *batch* becomes one task there.

A cluster takes a millisecond or more for a task, whatever that does, so small ones go together; and it runs whole tasks
at a time, so what could run at once must not.  A task whose missing inputs are all in one batch that is being formed
goes there, and finds them; one that needs several batches begins another one, which needs these.  What is not known to
be quick goes alone.

A large value stays in the worker for as long as its batch is needed, so a batch has one at most: what comes behind the
task that makes it must be the only one that needs it, and is handed it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, Final

from graphfutures.core.states import RUNNING
from graphfutures.futures import GraphFuture

#: seconds that the tasks of a batch should take together, and how many they are at most
TARGET: Final = 0.05
MOST: Final = 1000


class Batch:
    """Some tasks that run one after the other, as one task of the cluster.

    :param level: how many batches of those formed with it come before it, at least.
    """

    __slots__ = (
        *("given", "hand", "handle", "has_large", "level", "lost", "needs", "number", "open", "readers", "seconds"),
        *("start", "tail", "tasks", "told"),
    )

    def __init__(self, level: int) -> None:
        self.level = level
        #: its tasks; empty once they are in ``hand``
        self.tasks: list[GraphFuture[Any]] = []
        #: what they are expected to take together
        self.seconds = 0.0
        #: whether others may join
        self.open = True
        #: whether values of its tasks are large, and the last one, if its is
        self.has_large = False
        self.tail: GraphFuture[Any] | None = None
        #: of those that were sent, by tickets: the task and which of its attempts, as long as it was not heard of
        self.hand: dict[int, tuple[GraphFuture[Any], int]] = {}
        #: by the ticket of a task in hand: those whose values went on to it, one by one, and their values and records
        self.given: dict[int, list[tuple[int, Any, Any]]] = {}
        #: by the ticket of one of its tasks: that of the only task that its value was ever sent to, 0 if there are more
        self.readers: dict[int, int] = {}
        #: the batches whose values it needs
        self.needs: dict[int, Batch] = {}
        #: by which it is known here, and there
        self.number = 0
        self.handle: Any = None
        #: when it was sent
        self.start = 0.0
        #: whether the cluster may have lost what it has kept
        self.lost = False
        #: by which run of it something was told, empty if nothing was
        self.told = ""

    @classmethod
    def of(cls, tasks: Iterable[GraphFuture[Any]]) -> Batch:
        """One of these, whatever they are."""
        batch = cls(0)
        batch.tasks += tasks
        return batch

    @property
    def label(self) -> str:
        """For people: those of its tasks that were not heard of."""
        keys = [future.key for future, _ in self.hand.values()]
        return keys[0] if len(keys) == 1 else f"{len(keys)} tasks ({keys[0] if keys else ''}, …)"

    def not_begun(self, ticket: int) -> None:
        """A task was not run, nor will be if the batch is run again, which ends before it: it has read nothing here."""
        self.readers = {other: reader for other, reader in self.readers.items() if reader != ticket}

    def hand_on(self, ticket: int, value: Any, record: Any, taker: int) -> None:
        """A task has ended, and what it has made is nowhere but in what the next one has made of it."""
        before = self.given.pop(ticket, [])
        before.append((ticket, value, record))
        self.given[taker] = before

    def handed_on(self) -> set[int]:
        """The tickets of such tasks."""
        return {ticket for given in self.given.values() for ticket, *_ in given}

    def takes(self, task: GraphFuture[Any], heirs: Container[int]) -> bool:
        """Whether a task may join.

        :param heirs: see ``formed``.
        """
        return self.open and (self.tail is None or (task.serial in heirs and self.tail in task.dependencies))

    def add(self, task: GraphFuture[Any], seconds: float | None, *, large: bool = False) -> None:
        """One more task."""
        self.tasks.append(task)
        self.tail = task if large else None
        self.has_large = self.has_large or large
        if seconds is None:
            self.open = False
        else:
            self.seconds += seconds
            if self.seconds >= TARGET or len(self.tasks) >= MOST:
                self.open = False


def formed(
    tasks: Sequence[GraphFuture[Any]],
    expected: Callable[[GraphFuture[Any]], float | None],
    threads: int,
    is_large: Callable[[GraphFuture[Any]], bool],
    heirs: Container[int],
) -> list[Batch]:
    """Batches of tasks, each after those whose values it needs.

    :param tasks: each after its inputs.
    :param expected: how many seconds a task takes, None if it is to go alone.
    :param threads: how many batches can run at once.
    :param is_large: whether the value of a task is.
    :param heirs: the numbers of tasks that need large values, which nobody else does.
    """
    where: dict[int, Batch] = {}
    levels: dict[int, list[Batch]] = {}
    batches: list[Batch] = []
    ready = sum(not task.unmet for task in tasks)
    seen, share = 0, -1  # of those that are ready, each share being for one of those that run at once

    def begun(level: int) -> Batch:
        batch = Batch(level)
        batches.append(batch)
        levels.setdefault(level, []).append(batch)
        return batch

    for task in tasks:
        seconds, large = expected(task), is_large(task)
        inputs: dict[int, Batch] = {}
        level = 0
        if task.unmet:
            level = 1  # what it misses may have been sent before
            for need in task.dependencies:
                if need.state is RUNNING and (batch := where.get(need.serial)) is not None:
                    inputs[id(batch)] = batch
                    level = max(level, batch.level + 1)
        batch = None
        if seconds is not None:
            only = next(iter(inputs.values()), None)
            if only is not None and len(inputs) == 1 and only.takes(task, heirs) and _all_here(task, where):
                batch = only
            elif large:
                pass
            elif task.unmet:
                among = [one for one in levels.get(level, ()) if one.takes(task, heirs)]
                if len(among) >= threads:
                    batch = min(among, key=_seconds_of)
            elif seen * threads // ready == share and levels[0][-1].takes(task, heirs):
                batch = levels[0][-1]
        if batch is None:
            batch = begun(level)
        if not task.unmet:
            share = seen * threads // ready
            seen += 1
        batch.add(task, seconds, large=large)
        where[task.serial] = batch
    batches.sort(key=_level_of)
    return batches


def _all_here(task: GraphFuture[Any], where: dict[int, Batch]) -> bool:
    return all(need.serial in where for need in task.dependencies if need.state is RUNNING)


def _seconds_of(batch: Batch) -> float:
    return batch.seconds


def _level_of(batch: Batch) -> int:
    return batch.level

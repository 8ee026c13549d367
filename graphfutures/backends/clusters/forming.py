"""Which tasks go to a cluster together: each *batch* becomes one task there.

A cluster takes a millisecond or more for a task, whatever that does, so small ones go together; and it runs whole tasks
at a time, so what could run at once must not.  A task whose missing inputs are all in one batch that is being formed
goes there, and finds them; one that needs several batches begins another one, which needs these.  What is not known to
be quick goes alone.

Large values stay in the worker for as long as anything of their batch is needed, and are moved together to whoever
needs one of them elsewhere.  So a batch keeps few bytes, or one value; one that a task of the batch alone needs is
handed to that, and not kept.  What alone needs the large values of several batches makes one of these, so that nothing
is moved, as long as no thread waits for that. Tasks whose inputs are in different processes do not go together: all but
one of these would be moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from weakref import ref

from graphfutures.backends.clusters.work import HELD
from graphfutures.core.states import RUNNING
from graphfutures.futures import GraphFuture

#: seconds that the tasks of a batch should take together, and how many they are at most
TARGET: Final = 0.05
MOST: Final = 1000
#: bytes that take longer to move than to send what needs them as a batch of its own
MOVED: Final = 1_000_000
#: seconds that those of a batch may take by which large values would be moved otherwise
LONG: Final = 0.25


class Batch:
    """Some tasks that run one after the other, as one task of the cluster.

    :param level: how many batches of those formed with it come before it, at least.
    """

    __slots__ = (
        *("absent", "given", "hand", "handle", "has_large", "held", "home", "level", "lost", "needs"),
        *("number", "open", "readers", "seconds", "start", "tasks", "told", "values"),
    )

    def __init__(self, level: int) -> None:
        self.level = level
        #: its tasks; empty once they are in ``hand``
        self.tasks: list[GraphFuture[Any]] = []
        #: what they are expected to take together
        self.seconds = 0.0
        #: whether others may join
        self.open = True
        #: where large inputs of its tasks are, see ``Outlook``; None if there are none
        self.home: Any = None
        #: bytes of large values that it will have kept, and whether any value is more than a batch keeps of several
        self.held = 0
        self.has_large = False
        #: of those that were sent, by tickets: the task and which of its attempts, as long as it was not heard of
        self.hand: dict[int, tuple[GraphFuture[Any], int]] = {}
        #: by the ticket of a task in hand: those whose values went on to it, one by one, and their values and records
        self.given: dict[int, list[tuple[int, Any, Any]]] = {}
        #: by the ticket of one of its tasks: that of the only task that its value was ever sent to, 0 if there are more
        self.readers: dict[int, int] = {}
        #: the tickets of those that were taken back, or have failed: what was sent to read their values finds none
        self.absent: set[int] = set()
        #: the batches whose values it needs
        self.needs: dict[int, Batch] = {}
        #: by which it is known here, and there
        self.number = 0
        self.handle: Any = None
        #: when it was sent
        self.start = 0.0
        #: what stands for its large values, as long as anybody has that, by tickets
        self.values: dict[int, ref[Any]] = {}
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

    def is_over(self, ticket: int) -> bool:
        """Whether a task is in hand whose attempt is over: what it needs was taken back, and so was it."""
        if ticket not in self.hand:
            return False
        future, number = self.hand[ticket]
        return future.attempt != number

    def not_begun(self, ticket: int) -> None:
        """A task was not run, nor will be if the batch is run again, which ends before it: it has read nothing here."""
        self.readers = {other: reader for other, reader in self.readers.items() if reader != ticket}

    def hand_on(self, ticket: int, value: Any, record: Any, taker: int) -> None:
        """A task has ended, and what it has made is nowhere but in what the next one has made of it."""
        before = self.given.pop(ticket, [])
        before.append((ticket, value, record))
        self.given[taker] = self.given.get(taker, []) + before

    def handed_on(self) -> set[int]:
        """The tickets of such tasks."""
        return {ticket for given in self.given.values() for ticket, *_ in given}

    def takes(self, handed: int = 0) -> bool:
        """Whether a task may join.

        :param handed: bytes of values of this batch that are handed to it.
        """
        return self.open and self.held - handed < HELD

    def add(self, task: GraphFuture[Any], seconds: float | None, size: int = 0, handed: int = 0) -> None:
        """One more task.

        :param size: bytes of its value, if that is large.
        :param handed: see ``takes``.
        """
        self.tasks.append(task)
        if seconds is None:
            self.seconds, self.open = TARGET, False
            return
        self.held += size - handed
        self.has_large = self.has_large or size > HELD
        self.seconds += seconds
        if self.seconds >= TARGET or len(self.tasks) >= MOST:
            self.open = False

    def absorb(self, other: Batch) -> None:
        """The tasks of another one come behind those of this one."""
        self.tasks += other.tasks
        self.seconds += other.seconds
        self.held += other.held
        self.has_large = self.has_large or other.has_large
        self.home = other.home if self.home is None else self.home
        other.tasks, other.open = [], False


class Outlook(NamedTuple):
    """What is expected of tasks that are to be sent, by their numbers.

    :param seconds: how long they take; what is not in it is to go alone.
    :param sizes: bytes of those values that are large.
    :param heirs: those that need large values, which nobody else does.
    :param homes: of those that need what takes long to move: what stands for the place where that is, or is made.
    """

    seconds: dict[int, float]
    sizes: dict[int, int]
    heirs: set[int]
    homes: dict[int, Any]


def formed(
    tasks: Sequence[GraphFuture[Any]], outlook: Outlook, threads: int, free: int, running: Sequence[float] = ()
) -> list[Batch]:
    """Batches of tasks, each after those whose values it needs.

    :param tasks: each after its inputs.
    :param outlook: on them.
    :param threads: how many batches can run at once.
    :param free: how many can be sent that wait for nothing.
    :param running: the seconds that batches take that run, or can.
    """
    forming = _Forming(tasks, outlook, threads, free, running)
    for task in tasks:
        forming.add(task)
    batches = [batch for level in forming.levels.values() for batch in level if batch.tasks]
    batches.sort(key=_level_of)
    return batches


class _Forming:
    """Puts tasks into batches, one by one; see ``formed``."""

    def __init__(
        self, tasks: Sequence[GraphFuture[Any]], outlook: Outlook, threads: int, free: int, running: Sequence[float]
    ) -> None:
        self.levels: dict[int, list[Batch]] = {}
        self._where: dict[int, Batch] = {}
        self._outlook = outlook
        self._threads = threads
        self._ready = sum(not task.unmet for task in tasks)
        self._parts = max(1, min(threads, free))
        #: of those that are ready, by their homes: how many there were, in which of as many parts as there are free
        #: threads the last one was, and its batch
        self._last: dict[Any, tuple[int, int, Batch | None]] = {}
        self._even = (sum(running) + sum(outlook.seconds.values())) / threads  # seconds for each thread
        #: by levels: how many batches run at once, as far as is known
        self._wide: dict[int, int] = {0: len(running)}

    def add(self, task: GraphFuture[Any]) -> None:
        """The next one."""
        serial = task.serial
        seconds, size = self._outlook.seconds.get(serial), self._outlook.sizes.get(serial, 0)
        inputs, level = self._inputs(task)
        home = self._home(task)
        seen, before, last = self._last.get(home, (0, -1, None))
        part = seen * self._parts // max(1, self._ready)
        batch = None
        if seconds is not None:
            batch = self._behind(task, inputs, seconds)
            if batch is None and size <= HELD:
                if task.unmet:
                    batch = self._beside(level, home)
                elif part == before and last is not None and last.takes():
                    batch = last
        if batch is None:
            batch = Batch(level)
            batch.home = home
            self.levels.setdefault(level, []).append(batch)
            self._wide[level] = self._wide.get(level, 0) + 1
        if not task.unmet:
            self._last[home] = seen + 1, part, batch
        batch.add(task, seconds, size, self._handed(task, batch))
        self._where[serial] = batch

    def _handed(self, task: GraphFuture[Any], batch: Batch) -> int:
        """Bytes of values of a batch that a task alone needs."""
        if task.serial not in self._outlook.heirs:
            return 0
        sizes = self._outlook.sizes
        return sum(sizes.get(need.serial, 0) for need in task.dependencies if self._where.get(need.serial) is batch)

    def _home(self, task: GraphFuture[Any]) -> Any:
        """See ``Outlook``; or the batch that makes what takes long to move."""
        if task.unmet:
            for need in task.dependencies:
                if self._outlook.sizes.get(need.serial, 0) > MOVED and need.serial in self._where:
                    return self._where[need.serial]
        return self._outlook.homes.get(task.serial)

    def _inputs(self, task: GraphFuture[Any]) -> tuple[list[Batch], int]:
        """The batches that make what a task misses, and how many come before the one that it can begin."""
        if not task.unmet:
            return [], 0
        inputs: dict[int, Batch] = {}
        level = 1  # what it misses may have been sent before
        for need in task.dependencies:
            if need.state is RUNNING and (batch := self._where.get(need.serial)) is not None:
                inputs[id(batch)] = batch
                level = max(level, batch.level + 1)
        return [*inputs.values()], level

    def _behind(self, task: GraphFuture[Any], inputs: list[Batch], seconds: float) -> Batch | None:
        """The batch that makes all that a task misses, or that will once others are one with it."""
        needs = task.dependencies
        if not inputs or not all(need.serial in self._where for need in needs if need.state is RUNNING):
            return None
        first, *others = inputs
        if not others and first.takes(self._handed(task, first)):
            return first
        left = sum(one.held - self._handed(task, one) for one in inputs)
        if left >= HELD or any(one.held <= HELD for one in inputs):
            return None
        together = seconds + sum(one.seconds for one in inputs)
        if together > LONG or sum(len(one.tasks) for one in inputs) >= MOST:
            return None
        if others:
            # None of them needs another one if they are at one level.
            is_wide = self._wide[first.level] - len(others) >= self._threads and together <= self._even
            homes = {one.home for one in inputs if one.home is not None}
            if not is_wide or len(homes) > 1 or any(one.level != first.level for one in others):
                return None
            self._wide[first.level] -= len(others)
        for other in others:
            self._where.update((one.serial, first) for one in other.tasks)
            first.absorb(other)
        return first

    def _beside(self, level: int, home: Any) -> Batch | None:
        """The batch of a level that has room for a task, if there are as many of this home as can run at once."""
        among = [one for one in self.levels.get(level, ()) if one.home == home and one.takes()]
        return min(among, key=_seconds_of) if len(among) >= self._threads else None


def _seconds_of(batch: Batch) -> float:
    return batch.seconds


def _level_of(batch: Batch) -> int:
    return batch.level

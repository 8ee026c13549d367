"""Batches as a cluster is sent them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Container, Iterable
from itertools import count
from time import perf_counter
from typing import Any, Final
from uuid import uuid4
from weakref import WeakKeyDictionary

from graphfutures.backends.base import Finished
from graphfutures.backends.clusters.engine import Engine
from graphfutures.backends.clusters.forming import MOVED, Batch
from graphfutures.backends.clusters.values import There, Values
from graphfutures.backends.clusters.work import Need, Work
from graphfutures.backends.processes.alone import only_needed_by
from graphfutures.backends.processes.functions import Functions
from graphfutures.backends.processes.packing import Packing, TooEarlyError
from graphfutures.core.states import DONE
from graphfutures.futures import GraphFuture
from graphfutures.version import __version__

#: seconds after which a batch begins nothing more, and gives back the rest
BUDGET: Final = 0.5
#: the number of a worker that was not heard of
UNKNOWN: Final = -1


class Parcel:
    """A batch that is about to be sent."""

    def __init__(self) -> None:
        #: what of it is sent
        self.work: Work | None = None
        #: for people
        self.name = ""
        #: options that are the cluster's
        self.wishes: dict[str, Any] = {}
        #: what cannot be sent, and what not before its inputs are here
        self.failed: list[Finished] = []
        self.early: list[tuple[GraphFuture[Any], int]] = []

    def pickled(self) -> bytes:
        """As workers read it."""
        assert self.work is not None, "there is something to be sent"
        return pickle.dumps((__version__, *self.work), protocol=pickle.HIGHEST_PROTOCOL)


class Sending:
    """What the cluster has been sent of the tasks of one executor, by tickets.

    :param engine: of the cluster.
    :param initializer: called first in each worker, with ``initargs``.
    :raises Exception: what pickling that raises.
    """

    def __init__(self, engine: Engine, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        functions = Functions()
        self.values = Values(engine.fetch, engine.fetch_later, engine.put, functions.dumps, count(-1, -1).__next__)
        #: where a task is that was sent
        self.where: dict[int, Batch] = {}
        #: how many workers have died that may be a task's doing
        self.suspects: WeakKeyDictionary[GraphFuture[Any], int] = WeakKeyDictionary()
        self._packing = Packing(functions, self.values, Need, "the cluster")
        #: the ticket of a task that was sent, by its number
        self.tickets = self._packing.tickets
        #: of tasks that were sent, by tickets: those whose values they alone need, as far as that was said
        self.unsure: dict[int, set[int]] = {}
        self._initializer = None if initializer is None else functions.dumps((initializer, initargs))
        self._token = uuid4().hex

    def packed(self, batch: Batch) -> Parcel:
        """A batch as it is sent; what can be sent of it is in its hand then."""
        packing, values, parcel = self._packing, self.values, Parcel()
        functions: dict[int, Any] = {}
        known: dict[int, int | None] = {}
        tasks: list[Any] = []
        labels: list[tuple[int, int, str]] = []
        batch.start = perf_counter()
        for future in batch.tasks:
            number = future.attempt
            try:
                task = packing.packed(future, functions, known)
            except TooEarlyError:
                parcel.early.append((future, number))
                continue
            except BaseException as error:
                parcel.failed.append(self._packing.unsendable(future, number, error, 0))
                continue
            ticket = task[0]
            others = [other for _, other in task[3]] if len(task) == 4 else ()
            if 0 in others or any(map(self._may_lack, others)):  # what it waits for was not sent itself
                parcel.early.append((future, number))
                continue
            future._worker, future._started = UNKNOWN, batch.start
            batch.hand[ticket] = future, number
            self._note_reader(future, ticket)
            self.tickets[future.serial] = ticket
            self.where[ticket] = batch
            for other in others:
                need = self.where.get(other)
                if need is not None and need is not batch:
                    batch.needs[need.number] = need
            tasks.append(task)
            labels.append((future.serial, number, future.name))
            if future.special:
                self._note_wishes(parcel.wishes, future)
            if future in self.suspects:
                parcel.wishes.setdefault("crash_retries", 0)
        batch.needs.update(values.needed)
        values.needed.clear()
        packing.not_sent(functions)
        packing.forgotten.clear()
        future = None  # type: ignore[assignment]  # from here on references are counted
        batch.tasks.clear()
        sole = frozenset(other for ticket, (future, _) in batch.hand.items() for other in self._sole(future, ticket))
        if batch.has_large or (len(tasks) == 1 and batch.needs):
            for ticket, (one, _) in batch.hand.items():
                if not self._is_sure(one, sole):
                    self.unsure[ticket] = {*sole}
        if tasks:
            parcel.name = labels[0][2] if len(labels) == 1 else f"{labels[0][2]}-and-{len(labels) - 1}-more"
            parcel.work = Work(self._token, batch.number, self._initializer, functions, tasks, labels, sole, BUDGET)
        return parcel

    def home(self, future: GraphFuture[Any], size_of: Callable[[str], int]) -> Any:
        """What stands for the place where a task runs best, as what it needs is, or will be, there.

        :param size_of: how many bytes are expected of a value of tasks of this name.
        :return: None if nothing is large enough that it should matter.
        """
        home: Any = None
        need: Any
        most = MOVED
        for need in future.dependencies:
            if need.state is not DONE:
                batch, size = self.where.get(self.tickets.get(need.serial, 0)), size_of(need.name)
                if batch is not None and size > most:
                    home, most = batch, size
            elif type(need._outcome) is There and need._outcome.size > most:
                home, most = need._outcome.home, need._outcome.size
        return home

    def forget(self) -> None:
        """This is a forked child: what was sent is another process's."""
        for known in (self.where, self.unsure, self.tickets, self.suspects):
            known.clear()

    def taken(self, batch: Batch, ticket: int) -> tuple[GraphFuture[Any], int]:
        """A task is not in a batch any more: it, and which of its attempts was."""
        future, number = batch.hand.pop(ticket)
        self.where.pop(ticket, None)
        self.unsure.pop(ticket, None)
        if self.tickets.get(future.serial) == ticket:
            del self.tickets[future.serial]
        return future, number

    def newly_sole(self) -> list[tuple[int, int]]:
        """The tickets of tasks whose values one that was sent before alone needs by now, each with that of this one."""
        found: list[tuple[int, int]] = []
        for ticket, said in self.unsure.items():
            for other in self._sole(self.where[ticket].hand[ticket][0], ticket):
                if other not in said:
                    said.add(other)
                    found.append((other, ticket))
        return found

    def _is_sure(self, future: GraphFuture[Any], said: Container[int]) -> bool:
        """Whether all values that a task needs are its own alone, as was said."""
        return all(batch is None or other in said for batch, other in map(self._place_of, future.dependencies))

    def _may_lack(self, ticket: int) -> bool:
        """Whether the value of a task that was sent may never be there, by what has not been heard of its batch."""
        batch = self.where.get(ticket)
        return batch is not None and (batch.is_over(ticket) or batch.is_over(batch.readers.get(ticket, 0)))

    def _note_wishes(self, wishes: dict[str, Any], future: GraphFuture[Any]) -> None:
        wishes.update(future.wishes or {})
        if future.priority:
            wishes["priority"] = future.priority
        if future.crash_retries is not None:
            wishes["crash_retries"] = future.crash_retries

    def _note_reader(self, future: GraphFuture[Any], ticket: int) -> None:
        """A task is sent that reads the values of others, perhaps more than once: its worker may die."""
        for need in future.dependencies:
            batch, other = self._place_of(need)
            if batch is not None and batch.readers.setdefault(other, ticket) != ticket:
                batch.readers[other] = 0

    def _place_of(self, need: Any) -> tuple[Batch | None, int]:
        """The batch in which a value is made, and the ticket of its task there."""
        if need.state is not DONE:
            other = self.tickets.get(need.serial, 0)
            return self.where.get(other), other
        outcome = need._outcome
        return (outcome.batch, outcome.ticket) if type(outcome) is There else (None, 0)

    def _sole(self, future: GraphFuture[Any], ticket: int) -> Iterable[int]:
        """The tickets of tasks whose values, or what they will be, are for one task alone.

        Nobody else will need them, and nobody else ever has: else that one may run again, and find what this one has
        left of them.
        """
        for position in only_needed_by(future):
            batch, other = self._place_of(future.dependencies[position])
            if batch is not None and batch.readers.get(other) == ticket:
                yield other

"""What the tasks of one worker process submit and wait for, as their attendant sees to it.

A wait lends the worker's slot.  The worker runs meanwhile what its task waits for, if that is ready; else another
worker may be started in its place, and the task goes on when its wait is over and a slot is free.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from collections.abc import Sequence
from functools import partial
from threading import local
from typing import TYPE_CHECKING, Any
from weakref import ref

import cloudpickle

from graphfutures import errors
from graphfutures.arguments import allow_failure
from graphfutures.backends.base import Exchange
from graphfutures.backends.processes import messages
from graphfutures.backends.processes.messages import CALLED_OFF, PICKLED, PLAIN, RAISED, VALUE, opened
from graphfutures.backends.processes.store import Told
from graphfutures.core.circles import AnyOf
from graphfutures.core.graph import Task
from graphfutures.core.states import CANCELLED, DONE
from graphfutures.current import here
from graphfutures.futures import GraphFuture, cancel_all

if TYPE_CHECKING:
    from graphfutures.backends.processes.attendant import Attendant

Outcome = tuple[int, int, Any]


class _Reading(local):
    """Whose messages this thread reads."""

    nested: Nested


reading = _Reading()


class Stop:
    """A wait of a task.

    :param ticket: of the task.
    :param number: of the wait.
    :param needs: what it waits for.
    :param every: whether for all of that.
    :param serves: whether its thread is told when that is over.
    :param runs: whether its thread runs meanwhile what it is told to.
    """

    __slots__ = ("at_once", "every", "inside", "needs", "number", "over", "runs", "serves", "ticket")

    def __init__(
        self, ticket: int, number: int, needs: Sequence[GraphFuture[Any]], *, every: bool, serves: bool, runs: bool
    ) -> None:
        self.ticket = ticket
        self.number = number
        self.needs = needs
        self.every = every
        self.serves = serves
        self.runs = runs
        #: the ticket of what is run inside it
        self.inside = 0
        #: whether its thread says that it is over, and goes on without waiting for a slot
        self.over = False
        self.at_once = False

    def is_over(self) -> bool:
        """Whether the task may go on, once there is a slot."""
        if not self.serves:
            return self.over
        settled = [need._settled for need in self.needs]
        return all(settled) if self.every else any(settled)


class Nested:
    """The tasks that one worker's tasks have submitted, and the waits of these, the last one on top.

    :param attendant: of the worker.
    """

    def __init__(self, attendant: Attendant) -> None:
        self.waits: list[Stop] = []
        self.futures: dict[int, GraphFuture[Any]] = {}
        #: messages of tasks that wait and ask
        self.asides: list[tuple[str, Any]] = []
        self._reference = ref(attendant)  # in a circle, what is opened for a worker would live on after it
        self._settled: deque[int] = deque()
        self._answers: list[Any] = []
        self._thread = 0

    @property
    def _attendant(self) -> Attendant:
        attendant = self._reference()
        assert attendant is not None, "it is the one that asks"
        return attendant

    def begin(self) -> None:
        """This is the thread that reads what the worker says."""
        self._thread = get_ident()
        reading.nested = self

    @property
    def is_blocked(self) -> bool:
        """Whether a task of the worker waits, and none runs."""
        return bool(self.waits) and self.waits[-1].inside not in self._attendant.hand

    @property
    def may_take(self) -> bool:
        """Whether the worker may be handed what is not run inside a wait: none of its tasks waits, or is about to."""
        return not self.waits and not any(word == messages.WAIT for word, _ in self.asides)

    @property
    def has_news(self) -> bool:
        """Whether there is something to be told."""
        return bool(self._settled or self._answers)

    def tickets(self) -> list[int]:
        """Those of the tasks that wait."""
        return [stop.ticket for stop in self.waits]

    def heard(self, hub: Exchange, word: str, what: Sequence[Any]) -> None:
        """See to what the worker has said."""
        if word == messages.SUBMIT:
            self._submit(hub, *what)
        elif word == messages.WAIT:
            self._wait(hub, *what)
        elif word == messages.BACK:
            for stop in self.waits:
                if stop.number == what[0]:
                    stop.over, stop.at_once = True, what[1]
        elif word == messages.FORGET:
            for number in what[0]:
                self.futures.pop(number, None)
        elif word == messages.ASK:
            try:
                answer = True, self._answer(hub, what[1], *what[2])
            except Exception as error:
                answer = False, messages.raised(error)
            self._answers.append((messages.ANSWER, what[0], cloudpickle.dumps(answer)))

    def go_on(self, hub: Exchange) -> None:
        """See to what tasks have asked, tell what has settled, and see to the wait on top."""
        attendant = self._attendant
        for word, what in self.asides:
            self.heard(hub, word, what)
        self.asides.clear()
        if self._settled:
            outcomes = []
            while self._settled:
                number = self._settled.popleft()
                if number in self.futures:
                    outcomes.append(_outcome(number, self.futures[number]))
            attendant.send((messages.OUTCOMES, outcomes))
        while self._answers:
            attendant.send(self._answers.pop(0))
        if self.is_blocked:
            self._see_to(hub, self.waits[-1])

    def end(self, hub: Exchange) -> None:
        """The worker is gone."""
        for stop in self.waits:
            hub.goes_on(self._attendant.hand[stop.ticket][0])
        self.waits.clear()
        self.futures.clear()

    # -- submissions --------------------------------------------------------------------------

    def _submit(
        self, hub: Exchange, ticket: int, number: int, name: str, options: Any, pickled: bytes, needs: Any
    ) -> None:
        attendant = self._attendant
        task = attendant.hand[ticket][0] if ticket in attendant.hand else None
        outer, here.task = here.task, task
        try:
            sources = [allow_failure(self.futures[need]) if allowed else self.futures[need] for need, allowed in needs]
            future = hub.submitter(options).post(opened, (pickled, *sources), name)
        except Exception as error:
            future = GraphFuture(None, number, name=name)  # it stands for what was refused
            future.set_exception(error)
        finally:
            here.task = outer
        self.futures[number] = future
        future._listen(partial(self._has_settled, number))

    def _has_settled(self, number: int, _: object) -> None:
        self._settled.append(number)
        attendant = self._reference()
        if get_ident() != self._thread and attendant is not None:
            attendant.ring()

    def _answer(self, hub: Exchange, what: str, *arguments: Any) -> Any:
        if what == "task":
            future, number = self._attendant.hand[arguments[0]]
            return future.name, future.key, number
        if what == "key":
            return self.futures[arguments[0]].key
        if what == "cancel":
            numbers, force = arguments
            futures = [self.futures[number] for number in numbers if number in self.futures]
            if not force:
                cancel_all(futures)
            else:
                for future in futures:
                    future.cancel(force=True)
            hub.exchange(self._attendant.place, (), 0)
            return all(future.cancelled() for future in futures)
        if what == "check":
            hub.submitter(*arguments)
            return None
        executor = hub.submitter(None, whole=True)
        if what == "explain":
            return executor.explain(self.futures[arguments[0]])
        if what == "stats":
            return executor.stats()
        return executor.shutdown(wait=False, cancel_futures=arguments[0])

    # -- waits --------------------------------------------------------------------------------

    def _wait(
        self,
        hub: Exchange,
        ticket: int,
        number: int,
        numbers: Sequence[int],
        every: bool,
        exact: bool,
        serves: bool,
        runs: bool,
        back: Sequence[int],
    ) -> None:
        attendant = self._attendant
        attendant.take_back(hub, back)
        task = attendant.hand[ticket][0]
        needs: Sequence[Any] = [self.futures[need] for need in numbers if need in self.futures]
        left: Sequence[Task] = [need for need in needs if not need._settled]
        known = exact and len(needs) == len(numbers)
        way = hub.waits_there(task, left if every else AnyOf(left), exact=known and (every or len(left) == len(needs)))
        if way:
            error = errors.deadlock(task.key, [getattr(other, "key", "a future") for other in way])
            attendant.send((messages.GO, number, messages.raised(error)))
            return
        runs = runs and not any(one.crashes or one.crash_retries == 0 for one, _ in attendant.hand.values())
        self.waits.append(Stop(ticket, number, needs, every=every, serves=serves, runs=runs))
        if not serves:
            attendant.send((messages.GO, number, None))

    def _see_to(self, hub: Exchange, stop: Stop) -> None:
        attendant = self._attendant
        pool = attendant.pool
        if stop.is_over():
            if pool.take_slot(attendant, forced=stop.at_once, first=True):
                self.waits.pop()
                hub.goes_on(attendant.hand[stop.ticket][0])
                attendant.send((messages.GO, stop.number, None))
        elif stop.runs and pool.take_slot(attendant) and (found := hub.called_for(attendant.place, stop.needs)):
            stop.inside = attendant.hand_over(hub, found, messages.INSIDE)
        else:
            pool.leave_slot(attendant)


def of_worker(number: int) -> Any:
    """In place of a future of a worker's, in a value that this thread reads: the future of that task here."""
    return reading.nested.futures[number]


def _outcome(number: int, future: GraphFuture[Any]) -> Outcome:
    """How a task has ended, for the worker that has submitted it."""
    if future.state is CANCELLED:
        return number, CALLED_OFF, None
    if future.state is not DONE:
        return number, RAISED, messages.raised(future._error())
    value = future._outcome
    if type(value) in PLAIN:
        return number, VALUE, value
    if isinstance(value, Told):
        return number, *value.told()
    try:
        return number, PICKLED, cloudpickle.dumps(value)
    except Exception as error:
        return number, RAISED, messages.raised(error)

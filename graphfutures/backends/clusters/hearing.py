"""What becomes of the tasks that a cluster was sent, by what it tells of them.

A task is in the hand of one batch until one of these has been heard:

============================  ==================================================================================
its worker tells an outcome   it has ended so; if its value stays there and is waited for, once that has come
… which it has handed on      it has ended once whoever took the value has; goes back with that one
its worker has not begun it   goes back to the graph, which hands it over again
its worker lacks an input     the same; if that was there, and has a value, as if the cluster had lost it
its worker may not begin it   fails: it was begun as often as it may be, and its workers have died
its batch ends, untold        goes back, if what it needs has no value yet; else as if the cluster had lost it
… as workers died of it       fails, if it was alone there and had begun, or CRASHES have; else goes back, to be alone
… since the cluster lost it   goes back, LOSSES times at most; what it needs is made again
… since dask or we failed     fails with that
nobody wants it               goes back, where it is cancelled
the cluster is lost           fails
============================  ==================================================================================

What is told of a task that is in no hand changes nothing: a batch that has ended may be run again for its values.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Final
from weakref import WeakKeyDictionary

from graphfutures import errors
from graphfutures.backends.base import Finished
from graphfutures.backends.clusters.engine import Crash, Engine, Lost
from graphfutures.backends.clusters.forming import Batch
from graphfutures.backends.clusters.pace import Pace
from graphfutures.backends.clusters.sending import Sending
from graphfutures.backends.clusters.values import There, come
from graphfutures.backends.clusters.work import HELD, MISSING, STAYS, Kept, Outcome, Report
from graphfutures.backends.processes import messages
from graphfutures.backends.processes.messages import PICKLED, RAISED, SKIPPED
from graphfutures.backends.processes.reports import Reports
from graphfutures.core.states import RUNNING
from graphfutures.crashes import worker_crashed
from graphfutures.futures import GraphFuture
from graphfutures.running import on_terms, record_of

LOGGER = logging.getLogger("graphfutures")
STDLIB_LOGGER = logging.getLogger("concurrent.futures")
#: how often a task is sent again that the cluster loses
LOSSES: Final = 3
#: how many workers die at most that have a task, alone, and are not known to have begun it
CRASHES: Final = 16


class Hearing:
    """Takes what is heard, in the pump's thread, and collects what the hub is to be told.

    :param engine: of the cluster.
    :param sending: knows what was sent.
    :param pace: learns how long tasks take.
    :param note: has a function called with arguments in the pump's thread, soon; may itself be called in any.
    """

    def __init__(self, engine: Engine, sending: Sending, pace: Pace, note: Callable[..., object]) -> None:
        #: the batches that have not ended, by their numbers
        self.batches: dict[int, Batch] = {}
        #: why nothing can be handed over any more
        self.over: Exception | None = None
        #: of which the hub is to be told: attempts that have ended, and that have not run
        self.facts: list[Finished] = []
        self.returned: list[tuple[GraphFuture[Any], int]] = []
        self._engine = engine
        self._sending = sending
        self._pace = pace
        self._note = note
        self._reports = Reports()
        self._workers: dict[Any, int] = {}  # the numbers of those that were heard of
        #: how often the cluster has lost a task
        self._losses: WeakKeyDictionary[GraphFuture[Any], int] = WeakKeyDictionary()
        #: by the numbers of batches from which values are on their way: by tickets, what stands for them, and records
        self._fetching: dict[int, dict[int, tuple[There, Any]]] = {}

    # -- what is told -------------------------------------------------------------------------

    def report(self, pickled: bytes) -> None:
        """A worker has told how tasks have ended."""
        report: Report = pickle.loads(pickled)
        if report.broken is not None:
            error = messages.error_of(report.broken)
            if self.over is None:
                STDLIB_LOGGER.critical("Exception in initializer:", exc_info=error)
                self.over = errors.initializer_failed(error)
            return
        batch = self.batches.get(report.number)
        if batch is None:
            return
        if report.refused:
            self.ended(batch.number, Crash(report.refused, begun=True))
            return
        if batch.told and batch.told != report.run:
            LOGGER.warning("%s runs again: its worker has died", batch.label)
        batch.told = report.run
        worker = self._workers.setdefault(report.worker, len(self._workers))
        if report.running in batch.hand:
            batch.hand[report.running][0]._worker = worker
        seconds: list[float] = []
        is_whole = all(how not in (SKIPPED, MISSING) for _, how, *_ in report.outcomes)
        for outcome in report.outcomes:
            ticket, how, *_ = outcome
            if ticket not in batch.hand:
                continue
            taker = report.handed.get(ticket, 0)
            taker = taker if taker in batch.hand else 0
            if taker or (how == STAYS and batch.has_large and outcome[2] > HELD and not is_whole):
                self._pace.learn_handed(batch.hand[ticket][0].name, handed=bool(taker))
            if self._outcome(batch, worker, report.home, outcome, taker):
                seconds.append(outcome[4] - outcome[3])
        if seconds:
            self._pace.learn_mean(sum(seconds) / len(seconds))
        self._unless_over(batch)

    def _outcome(self, batch: Batch, worker: int, home: Any, outcome: Outcome, taker: int) -> bool:
        """One of them; whether the task has run.

        :param home: see ``Report``.
        :param taker: the ticket of the task to which its value was handed on, 0 if it was not.
        """
        ticket, how, told, start, stop = outcome
        future = batch.hand[ticket][0]
        if how == SKIPPED:
            batch.not_begun(ticket)
            self._back(batch, ticket)
            return False
        if how == MISSING:
            if any(told in one.absent for one in (batch, *batch.needs.values())):
                self._back(batch, ticket)  # it was sent ahead of what has been made elsewhere
            else:
                self._revive_needs(batch)
                self._is_lost(batch, ticket)
            return False
        now, seconds = perf_counter(), stop - start
        if not batch.start <= start <= stop <= now:  # another clock
            start, stop = max(batch.start, now - seconds), now
        self._pace.learn(future.name, seconds, told if how == STAYS else 0)
        future._worker, future._started = worker, start
        size = told if how == STAYS else len(told) if how == PICKLED else 0
        record = record_of(future, worker, start, stop, size, good=how != RAISED)
        if how != STAYS:
            self._has_run(batch, ticket, *self._reports.outcome(future, how, told), record)
            return True
        value = self._sending.values.there(batch, ticket, size, home)
        if taker:
            batch.hand_on(ticket, value, record, taker)
        elif future._watch is None and future.terms is None and future.crash_retries != 0:
            self._has_run(batch, ticket, True, value, record)
        else:
            waiting = self._fetching.setdefault(batch.number, {})
            if not waiting:
                self._engine.fetch_later(
                    batch.handle, lambda kept, failure: self._note(self._fetched, batch, kept, failure)
                )
            waiting.setdefault(ticket, (value, record))
        return True

    def _fetched(self, batch: Batch, kept: Kept | None, failure: BaseException | None) -> None:
        """Values have come for which somebody waits, or have not."""
        waiting = self._fetching.pop(batch.number, {})
        if not waiting:
            return
        if isinstance(failure, (Lost, Crash)) or (kept is not None and not waiting.keys() <= kept.values.keys()):
            self.ended(batch.number, Lost())
            return
        if kept is not None:
            come(batch, kept)
        for ticket, (value, record) in waiting.items():
            if ticket not in batch.hand:
                continue
            future = batch.hand[ticket][0]
            good = True
            outcome: Any = value
            try:
                if kept is None:
                    raise failure or errors.lost_by_cluster(future.key, 1)
                value.came = kept.values[ticket]
                value.get()
                if future.terms is not None and future.terms.join:
                    outcome = value._value
            except BaseException as error:
                good, outcome = False, error.with_traceback(None)
                errors.name_in_notes(outcome, future.key)
            self._has_run(batch, ticket, good, outcome, record)
        self._unless_over(batch)

    def ended(self, number: int, failure: BaseException | None) -> None:
        """A batch has ended; see ``Cluster.over``."""
        batch = self.batches.get(number)
        if batch is None:
            return
        if failure is None and batch.handed_on().union(self._fetching.get(number, ())).issuperset(batch.hand):
            return  # the rest of it is on its way
        if isinstance(failure, Lost):
            self.over = self.over or self._engine.lost()  # else it is made again
            self._revive_needs(batch)
        known = isinstance(failure, Crash) and len(batch.hand) == 1 and bool(failure.begun or batch.told)
        for ticket in [*batch.hand]:
            if ticket not in batch.hand:
                continue
            future = batch.hand[ticket][0]
            if failure is None or isinstance(failure, Lost):
                self._is_lost(batch, ticket)
            elif isinstance(failure, Crash):
                suspects = self._sending.suspects
                crashes = failure.attempts + suspects.get(future, 0)
                if known or (len(batch.hand) == 1 and crashes >= CRASHES):
                    self._fails(batch, ticket, worker_crashed(future.key, None, crashes))
                else:  # whoever was to come after the one that is guilty has lost its worker as well
                    LOGGER.warning("%s runs again, alone: %s workers have died that had it", future.key, crashes)
                    suspects[future] = crashes
                    self._back(batch, ticket)
            else:
                self._fails(batch, ticket, failure)
        self._unless_over(batch)

    def _revive_needs(self, batch: Batch) -> None:
        for need in batch.needs.values():
            need.lost = True
            self._engine.revive(need.handle)

    def _is_lost(self, batch: Batch, ticket: int) -> None:
        future = batch.hand[ticket][0]
        if self.over is not None:
            self._fails(batch, ticket, self.over)
            return
        if not future.unmet and future.state is RUNNING:  # else what it needs has failed, which is told by itself
            if future.crash_retries == 0 and batch.told:
                self._fails(batch, ticket, errors.lost_by_cluster(future.key, 1))
                return
            losses = self._losses[future] = self._losses.get(future, 0) + 1
            if losses > LOSSES:
                self._fails(batch, ticket, errors.lost_by_cluster(future.key, losses))
                return
            LOGGER.warning("%s runs again: the cluster has lost it", future.key)
        self._back(batch, ticket)

    def unwanted(self, ticket: int) -> None:
        """Nobody wants a task any more."""
        batch = self._sending.where.get(ticket)
        if batch is None or ticket not in batch.hand:
            return
        self._has_handed(batch, ticket)
        self._back(batch, ticket)
        if not batch.hand:
            self._engine.withdraw(batch.handle)
        self._unless_over(batch)

    def fail_all(self, error: Exception, unsent: Iterable[GraphFuture[Any]]) -> None:
        """Nothing more will be heard of what was sent.

        :param unsent: tasks that were about to be, and fail as well.
        """
        for batch in [*self.batches.values()]:
            for ticket in [*batch.hand]:
                self._fails(batch, ticket, error)
            self._unless_over(batch)
        self.facts += [_failed(task, task.attempt, perf_counter(), error) for task in unsent]

    def forget(self) -> None:
        """This is a forked child: what was sent is another process's."""
        for known in (self.batches, self.facts, self.returned, self._fetching):
            known.clear()
        self._sending.forget()

    # -- what becomes of a task ---------------------------------------------------------------

    def _back(self, batch: Batch, ticket: int) -> None:
        self._lose_handed(batch, ticket)
        self._returns(batch, ticket)

    def _lose_handed(self, batch: Batch, ticket: int) -> None:
        """A task will need again what was handed on to it, which is nowhere, since nobody else was to need it."""
        for other, *_ in batch.given.pop(ticket, ()):
            if other in batch.hand:
                self._returns(batch, other)

    def _returns(self, batch: Batch, ticket: int) -> None:
        batch.absent.add(ticket)
        self.returned.append(self._taken(batch, ticket))

    def _fails(self, batch: Batch, ticket: int, error: BaseException) -> None:
        """It has not raised this itself, and is not tried again for that."""
        self.facts.append(_failed(*self._has_ended(batch, ticket), batch.start, error))

    def _has_run(self, batch: Batch, ticket: int, good: bool, outcome: Any, record: Any) -> None:
        if not good:
            batch.absent.add(ticket)
        self.facts.append(on_terms((*self._has_ended(batch, ticket), good, outcome, record)))

    def _has_handed(self, batch: Batch, ticket: int) -> None:
        """A task needs nothing any more; those are done whose values were handed on to it."""
        for other, value, record in batch.given.pop(ticket, ()):
            if other in batch.hand:
                self._has_run(batch, other, True, value, record)

    def _has_ended(self, batch: Batch, ticket: int) -> tuple[GraphFuture[Any], int]:
        if batch.is_over(ticket):
            self._lose_handed(batch, ticket)
        self._has_handed(batch, ticket)
        future, number = self._taken(batch, ticket)
        self._losses.pop(future, None)
        self._sending.suspects.pop(future, None)
        return future, number

    def _taken(self, batch: Batch, ticket: int) -> tuple[GraphFuture[Any], int]:
        """A task is not in a batch any more."""
        self._fetching.get(batch.number, {}).pop(ticket, None)
        return self._sending.taken(batch, ticket)

    def _unless_over(self, batch: Batch) -> None:
        if not batch.hand:
            self.batches.pop(batch.number, None)
            self._fetching.pop(batch.number, None)
            batch.needs.clear()


def _failed(future: GraphFuture[Any], number: int, start: float, error: BaseException) -> Finished:
    return future, number, False, error, record_of(future, 0, start, perf_counter(), good=False)

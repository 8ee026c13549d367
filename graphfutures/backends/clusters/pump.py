"""Tasks on a cluster: the pump hands over batches, and hears how their tasks have ended.

        hub ──▸ formed ──▸ send ──▸ engine ──▸ the cluster
         ▴                                        │
         └──── facts ◂──── heard, over ◂──────────┘

The cluster chooses workers, moves values between them and makes them again when a worker dies; to it a batch is one
task, which needs other ones.  What it tells comes in threads of its own, which only leave a note and ring the pump's
bell.
"""

from __future__ import annotations

import logging
import pickle
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from math import inf
from time import perf_counter
from typing import Any, Final

from graphfutures import errors
from graphfutures.backends.base import Capabilities, Exchange, Finished
from graphfutures.backends.clusters.engine import Crash, Engine, Lost
from graphfutures.backends.clusters.forming import Batch, formed
from graphfutures.backends.clusters.pace import Pace
from graphfutures.backends.clusters.sending import UNKNOWN, Sending
from graphfutures.backends.clusters.values import Put, There
from graphfutures.backends.clusters.work import STAYS, Kept, Report
from graphfutures.backends.processes import messages
from graphfutures.backends.processes.messages import RAISED, SKIPPED
from graphfutures.backends.processes.reports import Reports, let_go
from graphfutures.backends.pumping import Pumping
from graphfutures.core.graph import Place
from graphfutures.core.states import RUNNING
from graphfutures.crashes import worker_crashed
from graphfutures.futures import GraphFuture
from graphfutures.running import on_terms, record_of

LOGGER = logging.getLogger("graphfutures")
STDLIB_LOGGER = logging.getLogger("concurrent.futures")
#: how many batches that wait for others each thread may have
DEEP: Final = 8
#: seconds between looks at a cluster that says nothing
LOOK: Final = 1.0
#: how often a batch is sent that the cluster loses
LOSSES: Final = 3
#: seconds between looks whether the user still has futures of what tasks need that were sent, and for how long
SOON: Final = 0.01
UNSURE: Final = 0.3


class Cluster(Pumping):
    """Hands tasks to an engine.

    :param make: makes that, from this: it calls ``heard`` and ``over``.
    :param limit: how many tasks at most run at once, None for as many as the cluster has threads.
    :param name: of the pump, before what it is.
    :param initializer: called first in each worker, with ``initargs``.
    """

    capabilities = Capabilities(
        shares_memory=False,
        lends=False,
        hosts=False,
        limits_time=False,
        batches=True,
        passes_on=True,
        withdraws=True,
        connects=True,
    )

    def __init__(
        self,
        make: Callable[[Cluster], Engine],
        limit: int | None,
        name: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        self._name = name
        self._limit = inf if limit is None else limit
        self._begin_pumping()
        self._place = Place("cluster", 1 << 40, sequential=True, lends=False, hosts=False)
        self._notes: deque[tuple[Any, ...]] = deque()  # what the engine has told
        self._over: Exception | None = None  # why nothing can be handed over any more
        self._broke = False  # whether the hub knows of that
        self._numbers = count(1)
        self._batches: dict[int, Batch] = {}  # that have not ended
        self._known: dict[Any, int] = {}  # the numbers of workers that were heard of
        self._pace = Pace()
        self._reports = Reports()
        self._losses: dict[int, int] = {}  # how often the cluster has lost a task, by its number
        self._sent = 0.0  # when something was
        self._forming: list[Batch] = []  # what was taken and is not sent yet
        self._facts: list[Finished] = []  # of which the hub is to be told
        self._returned: list[tuple[GraphFuture[Any], int]] = []  # likewise, that they have not run
        self._fetching: set[int] = set()  # tickets of tasks whose values are on their way
        self._engine = make(self)
        self._sending = Sending(self._engine, initializer, initargs)
        self._suspects, self._where = self._sending.suspects, self._sending.where
        self.max_workers = int(max(1, min(self._engine.threads(), self._limit)))
        #: whether the cluster would run more at once than it is to: what is handed over is all that runs then
        self._is_limited = False

    @property
    def dashboard_link(self) -> str | None:
        """Of the cluster."""
        return getattr(self._engine, "dashboard_link", None)

    # -- for the hub --------------------------------------------------------------------------

    def hold(self, value: Any) -> Put:
        """What stands for a value that was put."""
        return Put(value)

    def close(self) -> None:
        """See ``Backend``: the pump closes the cluster, even if there was nothing to do."""
        self.wake()

    def withdraw(self, future: GraphFuture[Any]) -> bool:
        """See ``Capabilities``: of one task, a batch that waits for another one, or for a worker that fits."""
        batch = self._where.get(self._sending.tickets.get(future.serial, 0))
        if batch is None or len(batch.hand) > 1:
            return False
        return bool(future.unmet or (future.wishes and future._worker == UNKNOWN))

    def stop(self, future: Any, number: int) -> None:
        """See ``Capabilities``."""
        self._note("unwanted", self._sending.tickets.get(future.serial, 0))

    def forked(self) -> None:
        """See ``Backend``: the threads that talk to the cluster are not here."""
        self._begin_pumping()
        self._notes.clear()
        self._batches.clear()
        self._place = Place("cluster", 1 << 40, sequential=True, lends=False, hosts=False)
        self._broke = False
        self._over = errors.cluster_gone("it was connected before fork: make the executor anew here")

    # -- for the engine, in its threads -------------------------------------------------------

    def heard(self, report: bytes) -> None:
        """A worker has told how tasks have ended."""
        self._note("report", report)

    def over(self, number: int, failure: BaseException | None) -> None:
        """A batch has ended.

        :param failure: why it has not been run to its end: ``Crash``, ``Lost``, or what has been raised outside tasks.
        """
        self._note("over", number, failure)

    def _note(self, *note: Any) -> None:
        self._notes.append(note)
        self._ring()

    # -- the pump -----------------------------------------------------------------------------

    def _without_pump(self, reason: str) -> Exception:
        return errors.cluster_gone(reason)

    def _patience(self) -> float:
        if self._sending.unsure and perf_counter() - self._sent < UNSURE:
            return SOON
        return LOOK if self._batches else -1.0

    def _end(self) -> None:
        self._sending.values.hold()
        with suppress(Exception):
            self._engine.close()

    def _turn(self, hub: Exchange) -> bool | None:
        try:
            return self._step(hub)
        except Exception as error:  # of ours, or of the engine's: nobody is to wait for ever for that
            self._give_up(errors.internal_failure(error))
            return self._break_down(hub)

    def _break_down(self, hub: Exchange) -> bool | None:
        assert self._over is not None, "there is a reason"
        self._fail_all(self._facts, self._over)
        ended = hub.exchange(self._place, self._facts, 0) is None
        let_go(self._facts)
        if not self._broke:
            self._broke = True
            hub.broke(self._over)
        return None if ended else False

    def _step(self, hub: Exchange) -> bool | None:
        self._hear()
        facts, returned, place, engine = self._facts, self._returned, self._place, self._engine
        for ticket in self._sending.newly_sole() if self._sending.unsure else ():
            engine.sole(ticket)
        if self._over is None and self._batches and (why := engine.lost()) is not None:
            self._give_up(why)
        if self._over is not None:
            self._fail_all(facts, self._over)
        self.max_workers = int(max(1, min(engine.threads(), self._limit)))
        self._is_limited = self.max_workers < engine.threads()
        free = self._free() if self._over is None else 0
        each = self._pace.each
        place.alone = True
        tasks = hub.exchange(place, facts, free * each)
        place.alone = False
        let_go(facts)
        for future, number in reversed(returned):
            hub.revoked(future, number, place)
        returned.clear()
        if self._over is not None and not self._broke:
            self._broke = True
            hub.broke(self._over)
        if tasks is None:
            return None
        deep = 0 if self._is_limited else DEEP * self.max_workers - sum(map(self._waits, self._batches.values()))
        if place.near and self._over is None and deep > 0:
            place.ahead = True
            tasks = [*tasks, *(hub.exchange(place, (), deep * each) or ())]
            place.ahead = False
        if not tasks:
            return False
        self._forming = [Batch.of(tasks)]
        self._forming = batches = formed(tasks, self._expected, self.max_workers)
        del tasks
        back: list[tuple[GraphFuture[Any], int]] = []
        for batch in batches:
            free -= not batch.level
            deep -= batch.level > 0
            if (deep if batch.level else free) < 0:  # they are not as quick as was thought
                back += [(task, task.attempt) for task in batch.tasks]
            else:
                self._send(hub, batch)
        self._forming = []
        for future, number in reversed(back):
            hub.revoked(future, number, place)
        return True

    def _free(self) -> int:
        """How many batches may be handed over that wait for nothing."""
        deep = 2 if self._pace.is_short and not self._is_limited else 1
        running = sum(not self._waits(batch) for batch in self._batches.values())
        return max(0, self.max_workers * deep - running)

    def _waits(self, batch: Batch) -> bool:
        return any(number in self._batches for number in batch.needs)

    def _expected(self, task: GraphFuture[Any]) -> float | None:
        if task.special and (task.priority or task.resources or task.crash_retries is not None or task.wishes):
            return None
        if task.serial in self._suspects:
            return None
        return self._pace.of(task.name)

    # -- handing over -------------------------------------------------------------------------

    def _send(self, hub: Exchange, batch: Batch) -> None:
        batch.number, self._sent = next(self._numbers), perf_counter()
        parcel = self._sending.packed(batch)
        if batch.hand:
            self._batches[batch.number] = batch
            try:
                pickled, needs = parcel.pickled(), [need.handle for need in batch.needs.values()]
                batch.handle = self._engine.send(batch.number, parcel.name, pickled, needs, parcel.wishes)
            except Exception as error:
                self.over(batch.number, error)
        for future, number in parcel.early:
            hub.revoked(future, number, self._place)
        if parcel.failed:
            hub.exchange(self._place, parcel.failed, 0)

    # -- hearing ------------------------------------------------------------------------------

    def _hear(self) -> None:
        facts, returned = self._facts, self._returned
        while self._notes:
            kind, *what = self._notes.popleft()
            if kind == "report":
                self._take_report(pickle.loads(what[0]), facts, returned)
            elif kind == "over":
                self._take_end(what[0], what[1], facts, returned)
            elif kind == "fetched":
                batch, ticket, value, record, kept, failure = what
                if kept is None and isinstance(failure, (Lost, Crash)):
                    self._take_end(batch.number, Lost(), facts, returned)
                else:
                    facts += self._fetched(batch, ticket, value, record, kept, failure)
            else:
                self._take_unwanted(what[0], returned)

    def _take_report(self, report: Report, facts: list[Finished], returned: list[Any]) -> None:
        batch = self._batches.get(report.number)
        if batch is None:
            return  # it has ended, and was run again for the sake of its values
        if report.broken is not None:
            error = messages.error_of(report.broken)
            if self._over is None:
                STDLIB_LOGGER.critical("Exception in initializer:", exc_info=error)
                self._give_up(errors.initializer_failed(error))
            return
        if report.refused:
            self._take_end(batch.number, Crash(report.refused, begun=True), facts, returned)
            return
        if batch.told and batch.told != report.run:
            LOGGER.warning("%s runs again: its worker has died", self._label(batch))
        batch.told = report.run
        worker = self._known.setdefault(report.worker, len(self._known))
        if report.running in batch.hand:
            batch.hand[report.running][0]._worker = worker
        now, spent, number = perf_counter(), 0.0, 0
        for ticket, how, told, start, stop in report.outcomes:
            if ticket not in batch.hand:
                continue
            future, attempt = batch.hand[ticket]
            if how == SKIPPED:
                self._taken(batch, ticket)
                returned.append((future, attempt))
                continue
            seconds = stop - start
            times = (start, stop) if batch.start <= start <= stop <= now else (max(batch.start, now - seconds), now)
            number += 1
            spent += seconds
            self._pace.learn(future.name, None if how == STAYS else seconds)
            future._worker, future._started = worker, times[0]
            record = record_of(future, worker, *times, good=how != RAISED)
            self._suspects.pop(future.serial, None)
            if how == STAYS:
                value = self._sending.values.there(batch, ticket)
                if future._watch is not None or future.terms is not None or future.crash_retries == 0:
                    self._fetching.add(ticket)
                    done = partial(self._note, "fetched", batch, ticket, value, record)
                    self._engine.fetch_later(batch.handle, done)
                    continue
                self._taken(batch, ticket)
                facts.append(on_terms((future, attempt, True, value, record)))
                continue
            self._taken(batch, ticket)
            good, outcome = self._reports.outcome(future, how, told)
            facts.append(on_terms((future, attempt, good, outcome, record)))
        if number:
            self._pace.learn_mean(spent / number)
        self._unless_over(batch)

    def _fetched(
        self, batch: Batch, ticket: int, value: There, record: Any, kept: Kept | None, failure: BaseException | None
    ) -> list[Finished]:
        """A value has come for which somebody waits."""
        if ticket not in batch.hand:
            return []
        future, number = batch.hand[ticket]
        good = True
        outcome: Any = value
        try:
            if kept is None:
                raise failure or errors.lost_by_cluster(future.key, 1)
            value._value = kept.value(ticket)
            if future.terms is not None and future.terms.join:
                outcome = value._value
        except BaseException as error:
            good, outcome = False, error.with_traceback(None)
            errors.name_in_notes(outcome, future.key)
        self._taken(batch, ticket)
        self._unless_over(batch)
        return [on_terms((future, number, good, outcome, record))]

    def _take_end(
        self,
        number: int,
        failure: BaseException | None,
        facts: list[Finished],
        returned: list[Any],
    ) -> None:
        batch = self._batches.get(number)
        if batch is None:
            return
        if failure is None and self._fetching.issuperset(batch.hand):
            return  # the rest of it is on its way
        if isinstance(failure, Lost):
            for need in batch.needs.values():
                need.lost = True
                self._engine.revive(need.handle)
        rest = [(ticket, *attempt) for ticket, attempt in batch.hand.items()]
        for ticket, _, _ in rest:
            self._taken(batch, ticket)
        self._unless_over(batch)
        if isinstance(failure, Crash) and not failure.begun and (len(rest) > 1 or not batch.told):
            # Whoever was to come after the one that is guilty has lost its worker as well.
            for _, future, _ in rest:
                self._suspects[future.serial] = self._suspects.get(future.serial, 0) + failure.attempts
            failure = None
        if failure is None:
            returned += [(future, attempt) for _, future, attempt in rest]
            return
        for _, future, attempt in rest:
            error: Any = failure
            if isinstance(failure, Crash):
                attempts = failure.attempts + self._suspects.pop(future.serial, 0)
                error = worker_crashed(future.key, None, attempts)
            elif isinstance(failure, Lost) and (future.unmet or future.state is not RUNNING):
                returned.append((future, attempt))  # what it needs has failed, of which is told by itself
                continue
            elif isinstance(failure, Lost):
                self._losses[future.serial] = losses = self._losses.get(future.serial, 0) + 1
                if losses <= LOSSES and self._over is None:
                    LOGGER.warning("%s runs again: the cluster has lost it", future.key)
                    returned.append((future, attempt))
                    continue
                error = errors.lost_by_cluster(future.key, losses)
            now = perf_counter()
            facts.append((future, attempt, False, error, record_of(future, 0, batch.start, now, good=False)))

    def _take_unwanted(self, ticket: int, returned: list[Any]) -> None:
        batch = self._where.get(ticket)
        if batch is None or ticket not in batch.hand:
            return
        returned.append(batch.hand[ticket])
        self._taken(batch, ticket)
        if not batch.hand:
            self._engine.withdraw(batch.handle)
        self._unless_over(batch)

    def _taken(self, batch: Batch, ticket: int) -> None:
        """A task is not in a batch any more."""
        self._sending.taken(batch, ticket)
        self._fetching.discard(ticket)

    def _unless_over(self, batch: Batch) -> None:
        if not batch.hand:
            self._batches.pop(batch.number, None)
            batch.needs.clear()

    def _label(self, batch: Batch) -> str:
        keys = [future.key for future, _ in batch.hand.values()]
        return keys[0] if len(keys) == 1 else f"{len(keys)} tasks ({keys[0] if keys else ''}, …)"

    def _give_up(self, error: Exception) -> None:
        self._over = self._over or error

    def _fail_all(self, facts: list[Finished], error: Exception) -> None:
        """Nothing more will be heard of what was sent."""
        now = perf_counter()
        for batch in [*self._batches.values(), *self._forming]:
            attempts = [*batch.hand.values(), *[(task, task.attempt) for task in batch.tasks]]
            for ticket in [*batch.hand]:
                self._taken(batch, ticket)
            for future, number in attempts:
                facts.append((future, number, False, error, record_of(future, 0, now, now, good=False)))
            self._unless_over(batch)
        self._forming = []

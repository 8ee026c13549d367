"""Tasks on a cluster: the pump hands over batches, and hears how their tasks have ended.

        hub ──▸ formed ──▸ send ──▸ engine ──▸ the cluster
         ▴                                        │
         └──── facts ◂──── heard, over ◂──────────┘

The cluster chooses workers, moves values between them and makes them again when a worker dies; to it a batch is one
task, which needs other ones.  What it tells comes in threads of its own, which only leave a note and ring the pump's
bell.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from contextlib import suppress
from itertools import count
from math import ceil, inf
from time import perf_counter
from typing import Any, Final

from graphfutures import errors
from graphfutures.backends.base import Capabilities, Exchange
from graphfutures.backends.clusters.engine import Engine, Lost
from graphfutures.backends.clusters.forming import TARGET, Batch, Outlook, formed
from graphfutures.backends.clusters.hearing import Hearing
from graphfutures.backends.clusters.pace import Pace
from graphfutures.backends.clusters.sending import UNKNOWN, Sending
from graphfutures.backends.clusters.values import Put
from graphfutures.backends.processes.alone import only_needed_by
from graphfutures.backends.processes.reports import let_go
from graphfutures.backends.pumping import Pumping
from graphfutures.core.graph import Place
from graphfutures.futures import GraphFuture

#: how many batches that wait for others each thread may have
DEEP: Final = 8
#: how many tasks are taken at most for each that could be sent the last time, as some had to be given back
VAIN: Final = 8.0
#: seconds that a batch counts at least as work that a thread has
LEAST: Final = TARGET / 16
#: seconds between looks at a cluster that says nothing
LOOK: Final = 1.0
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
        self._place = _place()
        self._notes: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()  # what the engine has told
        self._broke = False  # whether the hub knows that nothing can be handed over any more
        self._numbers = count(1)
        self._pace = Pace()
        self._sent = 0.0  # when something was
        self._most: float = inf  # how many tasks that can begin are taken at once at most, see ``VAIN``
        self._forming: list[Batch] = []  # what was taken and is not sent yet
        self._engine = make(self)
        self._sending = Sending(self._engine, initializer, initargs)
        self._hearing = Hearing(self._engine, self._sending, self._pace, self._note)
        self.max_workers = int(max(1, min(self._engine.threads(), self._limit)))
        #: whether the cluster would run more at once than it is to: what is handed over is all that runs then
        self._is_limited = False

    @property
    def dashboard_link(self) -> str | None:
        """Of the cluster."""
        return self._engine.dashboard_link

    # -- for the hub --------------------------------------------------------------------------

    def hold(self, value: Any) -> Put:
        """What stands for a value that was put."""
        return Put(value)

    def close(self) -> None:
        """See ``Backend``: the pump closes the cluster, even if there was nothing to do."""
        self.wake()

    def withdraw(self, future: GraphFuture[Any]) -> bool:
        """See ``Capabilities``: of one task, a batch that waits for another one, or for a worker."""
        batch = self._sending.where.get(self._sending.tickets.get(future.serial, 0))
        if batch is None or len(batch.hand) > 1:
            return False
        return bool(future.unmet or (future._worker == UNKNOWN and (future.wishes or not self._engine.threads())))

    def stop(self, future: Any, number: int) -> None:
        """See ``Capabilities``."""
        self._note(self._hearing.unwanted, self._sending.tickets.get(future.serial, 0))

    def forked(self) -> None:
        """See ``Backend``: the threads that talk to the cluster are not here."""
        self._begin_pumping()
        self._notes.clear()
        self._hearing.forget()
        self._forming = []
        self._engine.forked()
        self._place = _place()
        self._broke = False
        self._hearing.over = errors.cluster_gone("it was connected before fork: make the executor anew here")

    # -- for the engine, in its threads -------------------------------------------------------

    def heard(self, report: bytes) -> None:
        """A worker has told how tasks have ended."""
        self._note(self._hearing.report, report)

    def over(self, number: int, failure: BaseException | None) -> None:
        """A batch has ended.

        :param failure: why it has not been run to its end: ``Crash``, ``Lost``, or what has been raised outside tasks.
        """
        self._notes.append((self._hearing.ended, (number, failure)))
        if failure is not None:  # else all was told, most likely, and the pump will look soon enough
            self._ring()

    def _note(self, take: Callable[..., object], *what: Any) -> None:
        self._notes.append((take, what))
        self._ring()

    # -- the pump -----------------------------------------------------------------------------

    def _without_pump(self, reason: str) -> Exception:
        return errors.cluster_gone(reason)

    def _patience(self) -> float:
        if self._sending.unsure and perf_counter() - self._sent < UNSURE:
            return SOON
        return LOOK if self._hearing.batches else -1.0

    def _end(self) -> None:
        with suppress(Exception):
            if self._engine.lost() is None:
                self._sending.values.hold()
        with suppress(Exception):
            self._engine.close()

    def _turn(self, hub: Exchange) -> bool | None:
        hearing = self._hearing
        try:
            if hearing.over is None:
                self._hear()
            if hearing.over is None:
                return self._hand_over(hub)
        except Exception as error:  # of ours, or of the engine's: nobody is to wait for ever for that
            hearing.over = hearing.over or errors.internal_failure(error)
        return self._fail_all(hub, hearing.over)

    def _hear(self) -> None:
        engine = self._engine
        while self._notes:
            take, what = self._notes.popleft()
            take(*what)
        for ticket, taker in self._sending.newly_sole() if self._sending.unsure else ():
            engine.sole(ticket, taker)
        if self._hearing.over is None and self._hearing.batches:
            self._hearing.over = engine.lost()
        self.max_workers = int(max(1, min(engine.threads(), self._limit)))
        self._is_limited = self.max_workers < engine.threads()

    def _fail_all(self, hub: Exchange, error: Exception) -> bool | None:
        """Nothing can be handed over any more."""
        self._hearing.fail_all(error, [task for batch in self._forming for task in batch.tasks])
        self._forming = []
        ended = self._told(hub, 0) is None
        if not self._broke:
            self._broke = True
            hub.broke(error)
        return None if ended else False

    def _told(self, hub: Exchange, want: int) -> list[GraphFuture[Any]] | None:
        """Tell the hub what was heard, and take tasks, None if there will be no more."""
        facts, returned, place = self._hearing.facts, self._hearing.returned, self._place
        place.alone = True
        tasks = hub.exchange(place, facts, want)
        place.alone = False
        let_go(facts)
        self._give_back(hub, returned)
        return tasks

    def _give_back(self, hub: Exchange, attempts: list[tuple[GraphFuture[Any], int]]) -> None:
        """Attempts have not run, the first of them are to be taken first again."""
        while attempts:
            hub.revoked(*attempts.pop(), self._place)

    def _hand_over(self, hub: Exchange) -> bool | None:
        place, each, batches = self._place, self._pace.each, self._hearing.batches
        running = [batch.seconds for batch in batches.values() if not self._waits(batch)]
        free, spare = self._room(running)
        room = max(free, ceil(spare / TARGET))  # batches, if they are as long as they should be
        tasks = self._told(hub, int(min(room * each, self._most)))
        if tasks is None:
            return None
        deep = 0 if self._is_limited else DEEP * self.max_workers - len(batches) + len(running)
        if place.near and deep > 0:
            place.ahead = True
            tasks = [*tasks, *(hub.exchange(place, (), deep * each) or ())]
            place.ahead = False
        if not tasks:
            return False
        outlook = self._outlook(tasks)
        self._forming = [Batch.of(tasks)]
        self._forming = formed(tasks, outlook, self.max_workers, room, running)
        del tasks  # when they are sent references to them are counted
        self._send_formed(hub, free, spare, deep)
        return True

    def _send_formed(self, hub: Exchange, free: int, spare: float, deep: int) -> None:
        """Send batches as far as there is room; tasks of others go back, as do those that need them.

        :param deep: how many may be handed over that wait for others.
        """
        back: dict[int, tuple[GraphFuture[Any], int]] = {}
        begun = in_vain = 0
        for batch in self._forming:
            if batch.level:
                deep -= 1
                fits = deep >= 0
            else:
                fits = free > 0 or spare > 0
                free, spare = free - 1, spare - _weight(batch.seconds)
                begun += fits * len(batch.tasks)
                in_vain += not fits
            if not fits or (back and _needs(batch, back)):
                back.update((task.serial, (task, task.attempt)) for task in batch.tasks)
            else:
                self._send(hub, batch)
        # Tasks that must go alone are fewer in a batch than their pace would allow.
        self._most = VAIN * max(1, begun) if in_vain else 2 * self._most
        self._forming = []
        self._give_back(hub, [*back.values()])

    def _room(self, running: list[float]) -> tuple[int, float]:
        """How many batches may be handed over that wait for nothing, or of how many seconds if that is more."""
        if self._is_limited or not self._pace.is_short:
            return max(0, self.max_workers - len(running)), 0.0
        return max(0, 2 * self.max_workers - len(running)), self.max_workers * TARGET - sum(map(_weight, running))

    def _waits(self, batch: Batch) -> bool:
        return any(number in self._hearing.batches for number in batch.needs)

    def _outlook(self, tasks: list[GraphFuture[Any]]) -> Outlook:
        outlook, size_of = Outlook({}, {}, {task.serial for task in tasks if self._inherits(task)}, {}), self._pace.size
        for task in tasks:
            if size := size_of(task.name):
                outlook.sizes[task.serial] = size
            if self._is_for_any(task, size) and (seconds := self._pace.of(task.name)) is not None:
                outlook.seconds[task.serial] = seconds
                if (home := self._sending.home(task, size_of)) is not None:
                    outlook.homes[task.serial] = home
        return outlook

    def _is_for_any(self, task: GraphFuture[Any], size: int) -> bool:
        """Whether a task may go with others, the value of which has so many bytes if it is large."""
        if task in self._sending.suspects:
            return False
        has_wishes = task.priority or task.resources or task.crash_retries is not None or task.wishes
        return not (task.special and (has_wishes or size))

    def _inherits(self, task: GraphFuture[Any]) -> bool:
        """Whether no one else needs the large values that it needs: what was taken stands for what was sent."""
        if not task.unmet:
            return False
        needs, size_of = task.dependencies, self._pace.size
        large = {at for at, need in enumerate(needs) if type(need) is GraphFuture and size_of(need.name)}
        return bool(large) and large.issubset(only_needed_by(task))

    # -- handing over -------------------------------------------------------------------------

    def _send(self, hub: Exchange, batch: Batch) -> None:
        batch.number, self._sent = next(self._numbers), perf_counter()
        self._hearing.batches[batch.number] = batch
        parcel = self._sending.packed(batch)
        if not batch.hand:
            del self._hearing.batches[batch.number]
        else:
            try:
                pickled, needs = parcel.pickled(), [need.handle for need in batch.needs.values()]
                if any(handle is None for handle in needs):
                    raise Lost  # one of them could not be sent itself
                batch.handle = self._engine.send(batch.number, parcel.name, pickled, needs, parcel.wishes)
            except Exception as error:
                self._hearing.over = self._hearing.over or self._engine.lost()
                self.over(batch.number, error)
        for future, number in parcel.early:
            hub.revoked(future, number, self._place)
        if parcel.failed:
            hub.exchange(self._place, parcel.failed, 0)


def _needs(batch: Batch, others: Container[int]) -> bool:
    """Whether a batch needs one of these tasks, by their numbers."""
    return any(need.serial in others for task in batch.tasks for need in task.dependencies)


def _weight(seconds: float) -> float:
    """The seconds that a batch counts."""
    return max(seconds, LEAST)


def _place() -> Place:
    return Place("cluster", 1 << 40, sequential=True, lends=False, hosts=False)

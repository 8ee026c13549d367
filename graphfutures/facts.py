"""Facts that are posted to a graph, or reported to it: what each of them changes, under the lock."""

from __future__ import annotations

from _thread import RLock
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Any

from graphfutures import errors
from graphfutures.backends.base import Backend
from graphfutures.clerk import Clerk, Limit
from graphfutures.core.circles import circle
from graphfutures.core.graph import Place
from graphfutures.core.states import CANCELLED, FAILED, READY, RUNNING, WAITING
from graphfutures.externals import External, StandIns, one_after_the_other
from graphfutures.futures import GraphFuture
from graphfutures.guarded import SLICE
from graphfutures.inheriting import inherit
from graphfutures.lending import Lending, needs_of
from graphfutures.running import labels
from graphfutures.terms import Again, Joined
from graphfutures.unpacking import expand

_HIRING = RLock()


class Facts(Lending):
    """The part of a hub that knows what follows from each fact."""

    backend: Backend
    name: str
    door: Any
    side_door: Any
    stand_ins: StandIns
    _clerk: Clerk | None = None
    open_inside: bool
    trouble: bool
    failed: int
    cancelled: int
    #: how many attempts ran out of time
    late = 0
    apply: Callable[[], None]
    take_back: Callable[[GraphFuture[Any]], None]
    #: why the backend cannot go on, and the same of some lanes
    _breaker: BaseException | None = None
    broken: Mapping[str, Exception] = MappingProxyType({})
    #: whether what has not started is cancelled, now and later
    dropping = False

    def _begin_facts(self) -> None:
        self._begin_lending()
        #: what is to be tried again later, and after how many seconds
        self._later: tuple[tuple[float, GraphFuture[Any]], ...] = ()

    @property
    def clerk(self) -> Clerk:
        """Made when it is needed, by whoever comes first."""
        if self._clerk is None:
            with _HIRING:
                if self._clerk is None:
                    self._clerk = Clerk(self.name)
        return self._clerk

    def begin_limit(self, future: GraphFuture[Any], seconds: float) -> None:
        """An attempt begins whose time is limited."""
        expire = partial(self._post, self._expired, future, future.attempt, seconds)
        future.limit = Limit(self.clerk, seconds, expire)

    def _post(self, fact: Callable[..., object], *arguments: Any) -> None:
        self.inbox.append((fact, arguments))
        self.apply()

    def submitter(self, options: Mapping[str, Any] | None, *, whole: bool = False) -> Any:
        """What tasks in other processes submit through.

        :param options: that their tasks carry.
        :param whole: whether it has to be the executor itself.
        :raises RuntimeError: if that is asked for, and gone.
        """
        if options is None and not whole:
            return self.side_door(self)
        executor = self.door()
        if executor is None:
            raise errors.executor_gone("this task")
        return executor if options is None else executor.options(**options)

    def lane_broke(self, lane: str, error: Exception) -> None:
        """One of several backends cannot go on: what has not started of its tasks is settled with this error."""
        self.broken = {**self.broken, lane: error}
        self.inbox.append((self._fail_pending, (error, lane)))
        self.apply()

    def continued(self, future: GraphFuture[Any]) -> None:
        """Add more of what was submitted before; whatever is refused since, it shares the lot of what is pending.

        :raises RuntimeError: if the graph has ended.
        """
        self.inbox.append(future)
        if self.ended:
            self.take_back(future)
        error = self._breaker or self.broken.get(future.lane)
        if error is not None:
            self.inbox.append((self._fail_pending, (error, future.lane)))
        elif self.dropping:
            self.inbox.append((self._cancel, ([future], False)))
        self.lanes.get(future.lane, self.backend).wake()

    def drop_pending(self, *, running: bool = False) -> None:
        """Cancel what has not started.

        :param running: whether also what runs, where that can be stopped.
        """
        self.dropping = True
        self.ask(self.cancel_pending, running)

    # -- futures of others -------------------------------------------------------------------

    def external_settled(self, external: External) -> None:
        """A foreign future has settled; called in whatever thread settled it."""
        source = external.source
        cancelled = source.cancelled()
        failed = not cancelled and source.exception() is not None
        self.inbox.append((self._external_settled, (external, failed, cancelled)))
        one_after_the_other(self.backend.attend if failed or cancelled else self.backend.wake)

    def look_outside(self) -> None:
        """Take note of foreign futures that are done, whether or not they have told."""
        for external in self.stand_ins.alive():
            if external.state is WAITING and external.source.done():
                self.external_settled(external)

    # -- under the lock -----------------------------------------------------------------------

    def _ended_otherwise(self, future: GraphFuture[Any], number: int, place: Place, outcome: Any) -> tuple[bool, Any]:
        """An attempt returned without a value: whether that settles its task, and with which exception."""
        if type(outcome) is Again:
            if self.scheduler.revoked(future, number, place, later=outcome.delay > 0) and outcome.delay > 0:
                self._later = (*self._later, (outcome.delay, future))
            return False, None
        if type(outcome) is Joined:
            way = circle(future, outcome.needs, needs_of)
            if not way:
                self.scheduler.joined(future, number, place, *outcome)
                return False, None
            outcome = errors.deadlock(future.key, [getattr(task, "key", "a future") for task in way])
        self.trouble = True
        self.late += type(outcome) is errors.TaskTimeoutError
        return self.scheduler.failed(future, number, place), outcome

    def _expired(self, future: GraphFuture[Any], number: int, seconds: float) -> None:
        if self.scheduler.expired(future, number):
            self.trouble = True
            self.late += 1
            future._outcome = errors.timed_out(future.key, seconds)

    def _due(self, future: GraphFuture[Any]) -> None:
        self.scheduler.due(future)

    def _cancel(self, futures: list[GraphFuture[Any]], force: bool) -> None:
        for future in futures:
            hands = self._hands(future)
            can = hands.capabilities
            stops = future.state is RUNNING and ((force and can.kills) or (can.withdraws and hands.withdraw(future)))
            if self.scheduler.cancelled(future, force=stops):
                if stops:
                    hands.stop(future, future.attempt)
            elif force:
                self.wants_cancelled(future)

    @property
    def backends(self) -> tuple[Any, ...]:
        """All that run its tasks."""
        return (*self.lanes.values(),) or (self.backend,)

    def _hands(self, future: GraphFuture[Any]) -> Any:
        return self.lanes.get(future.lane, self.backend)

    def cancel_pending(self, running: bool) -> None:
        """A fact: what has not started is to be cancelled, and what runs if that is wanted and possible."""
        self.open_inside = False
        pending = list(islice((task for task in self.scheduler.unsettled if task.state in (WAITING, READY)), SLICE))
        for task in pending:
            self.scheduler.cancelled(task)
        if pending:
            self.inbox.append((self.cancel_pending, (running,)))
        else:
            started: Any = [task for task in self.scheduler.unsettled if task.state is RUNNING]
            if running:
                self._cancel([task for task in started if self._hands(task).capabilities.kills], True)
            self._cancel([task for task in started if self._hands(task).capabilities.withdraws], False)

    def cancel_foreign(self) -> list[str]:
        """A fact: what waits for futures of others is to be cancelled, its keys are returned."""
        foreign = [task for task in self.scheduler.unsettled if task.foreign]
        for task in foreign:
            self.scheduler.cancelled(task)
        return sorted(task.key for task in foreign)  # type: ignore[attr-defined]

    def _external_settled(self, external: External, failed: bool, cancelled: bool) -> None:
        if failed or cancelled:
            self.trouble = True
            self.scheduler.failed_elsewhere(external, cancelled=cancelled)
        else:
            self.scheduler.resolved(external)

    def _item_settled(self, item: GraphFuture[Any], good: bool, outcome: Any) -> None:
        scheduler = self.scheduler
        if item.state is WAITING:
            item._outcome = outcome
            scheduler.news.append(item)
            if good:
                scheduler.resolved(item)
            else:
                scheduler.failed_elsewhere(item)

    def _fail_pending(self, error: BaseException, lane: str | None = None) -> None:
        for task in tuple(self.scheduler.unsettled):
            if (lane is None or task.lane == lane) and self.scheduler.broke(task):
                task._outcome = error  # type: ignore[attr-defined]

    def _called_off(self, future: GraphFuture[Any], number: int, place: Place) -> None:
        if self.scheduler.revoked(future, number, place):
            self.scheduler.cancelled(future)

    # -- after the lock -----------------------------------------------------------------------

    def _put_off(self, later: Iterable[tuple[float, GraphFuture[Any]]]) -> None:
        """See to it that what is to be tried again later will be."""
        for delay, future in later:
            if self.clerk.after(delay, partial(self._post, self._due, future)) is None:
                self.inbox.append((self._due, (future,)))  # no thread can be started: at once

    def _announce(self, settled: Iterable[Any]) -> None:
        derived: list[Any] = []
        for future in settled:
            if future.state is WAITING:
                derived.append(future)
            elif isinstance(future, GraphFuture):
                if future.blame is not None and future.state is FAILED:
                    inherit(future)
                if not future._settled:
                    self.without.append((future.serial, future.name, future.state, *labels(future.dependencies)))
                future._forget_call()
                future.blame = None
                future.dependencies = ()
                if future.special:
                    future.tolerated = ()
                if not future._settled:
                    self.cancelled += future.state is CANCELLED
                    self.failed += future.state is FAILED
                future._announce()
        if derived:
            expand(derived, lambda *settled: self.inbox.append((self._item_settled, settled)))

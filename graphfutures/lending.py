"""Waiting inside a task: its slot is lent meanwhile.

A worker that waits for a future does one of three things: it runs that very task itself, if this is ready and not too
many lie one inside the other already; or it parks, and another thread stands in for it; or, when its wait would close a
circle, it raises.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import sleep
from typing import Any, Self
from weakref import WeakSet

from graphfutures import errors
from graphfutures.core.circles import AnyOf, circle, reached
from graphfutures.core.graph import Place, Task, Wait
from graphfutures.core.states import NEW, READY, RUNNING, SETTLED
from graphfutures.current import here
from graphfutures.externals import External
from graphfutures.futures import GraphFuture
from graphfutures.observing import Observing
from graphfutures.room import release_all
from graphfutures.running import run

#: how many tasks a thread runs one inside the other; each takes six frames of the 1,000 that Python allows by default
DEEP = 20
_NOT_BEGUN = (NEW, READY)


class Loan:
    """The slot of one attempt, lent as long as this is entered.

    :param hub: of the task.
    :param task: the one that waits.
    :param wait: what it waits for, if we know when that is over.
    :param needs: what it waits for, whether or not we know when that is over.
    :param exact: what it cannot go on without, for as long as it takes.
    :raises DeadlockError: from entering, if one of them needs the task.
    """

    __slots__ = (
        *("at_once", "below", "circle", "exact", "hub", "is_lent", "lends_tokens", "lock", "needs", "number", "place"),
        *("stuck", "task", "wait"),
    )

    def __init__(
        self,
        hub: Lending,
        task: GraphFuture[Any],
        wait: Wait | None = None,
        needs: Sequence[Task] = (),
        *,
        exact: Sequence[Task] = (),
    ) -> None:
        self.hub = hub
        self.task = task
        self.wait = wait
        self.needs = needs
        self.exact = exact
        self.number = task.attempt
        self.place: Place = task.place
        self.is_lent = False
        #: whether its tokens are lent where there are no slots to be lent
        self.lends_tokens = False
        #: whether the task goes on without waiting for a free slot
        self.at_once = False
        self.circle: list[Task] = []
        #: whether all workers wait for what none of them is left to run
        self.stuck = False
        #: that of a task in whose thread this one runs without a slot of its own
        self.below: Loan | None = None

    def __enter__(self) -> Self:
        hub = self.hub
        if self.place.lends:
            self.lock = allocate_lock()  # taken until the slot is back
            self.lock.acquire()
            hub.inbox.append((hub.lend, (self,)))
            hub.exchange(self.place, (), 0)
        else:
            hub.note_wait(self)
        if self.stuck:
            raise errors.no_worker_left(self.task.key, getattr(self.exact[0], "key", "a future"))
        if self.circle:
            raise errors.deadlock(self.task.key, [getattr(task, "key", "a future") for task in self.circle])
        if self.is_lent:
            if self.task.limit is not None:
                self.task.limit.pause()
            hub.wake_lane(self.place.lane)
            if hub.exiting:
                hub.stand_in()
        if not self.place.lends and self.task.special and self.task.resources:
            self.lends_tokens = True
            hub.ask(hub.scheduler.tokens_lent, self.task, self.number)
        if not self.is_lent and here.lender is not None and not self.place.lends:
            self.below = here.lender._owner.lent(here.lender, None, self.needs)
            self.below.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        hub = self.hub
        if self.lends_tokens:
            hub.ask(hub.scheduler.tokens_back, self.task, self.number)
        if self.below is not None:
            self.below.at_once = self.at_once
            self.below.__exit__(kind, error, trace)
        if self.exact:
            hub.waits.pop(self.task, None)
        if self.is_lent:
            self.at_once = self.at_once or kind is TimeoutError
            if (self.task, self.number) in hub.loans:
                hub.inbox.append((hub.wait_ended, (self,)))
                hub.exchange(self.place, (), 0)
            self.lock.acquire()
            if self.task.limit is not None:
                self.task.limit.go_on()


class Lending(Observing):
    """The part of a hub that lends the slots of those who wait."""

    #: see ``Hub`` and ``Backend``
    exchange: Callable[[Any, Sequence[Any], int], Any]
    turn: Callable[[Any, Any, int], Any]
    ask: Callable[..., object]
    _interrupted: Callable[[BaseException, list[Any]], None]
    lanes: Mapping[str, Any]
    wake: Callable[[], None]
    stand_in: Callable[[], None]
    #: running tasks that somebody wants to be cancelled by force
    cancel_wanted: WeakSet[GraphFuture[Any]] | None = None
    #: whether the interpreter exits, and those who wait for the end want to know of every wait
    exiting = False

    def _begin_lending(self) -> None:
        self.loans: dict[tuple[Task, int], Loan] = {}
        #: what each task that waits cannot go on without
        self.waits: dict[Task, Sequence[Task]] = {}

    def wants_cancelled(self, future: GraphFuture[Any]) -> None:
        """Somebody wants a running task to be cancelled by force, which only that itself can see to."""
        if self.cancel_wanted is None:
            self.cancel_wanted = WeakSet()
        self.cancel_wanted.add(future)

    def lent(
        self,
        task: GraphFuture[Any],
        wait: Wait | None = None,
        needs: Sequence[Task] = (),
        *,
        exact: Sequence[Task] = (),
    ) -> Loan:
        """For a ``with`` block in which a running task waits."""
        return Loan(self, task, wait, needs, exact=exact)

    def answer_door(self, place: Place) -> None:
        """See to what was posted while this thread had the lock, and to what follows from it; never gives up."""
        self.knocked = False
        self.exchange(place, (), 0)

    def wake_lane(self, lane: str) -> None:
        """Have what is ready of a lane seen to."""
        if self.scheduler.lane(lane).has_any():
            self.lanes.get(lane, self).wake()

    def wake_others(self, place: Place | None) -> None:
        """What an exchange has made ready may be for another backend."""
        lane = None if place is None else place.lane
        for name, policy in tuple(self.scheduler.policies.items()):
            if name != lane and policy.has_any():
                self.wake_from_here(self.lanes[name])

    def wake_from_here(self, backend: Any) -> None:
        """Wake a backend, which may be one that runs tasks in the thread that wakes it."""
        if here.ours and backend.capabilities.submits_run:
            backend.wake_aside()  # this thread has others to see to
        else:
            backend.wake()

    def waited(self, task: GraphFuture[Any], future: GraphFuture[Any]) -> None:
        """Have a running task wait for a future, for as long as it takes.

        :raises DeadlockError: if the future needs the task.
        """
        needs = (future,)
        owner: object = future._owner
        while not future._settled:
            near = future.state in _NOT_BEGUN and owner is self and here.depth < DEEP and task.place.lends
            if near and has_room() and self._hand_on(task, future):
                self._run_here(task, future)
                continue
            with Loan(self, task, Wait(needs, every=True), needs, exact=needs):
                future.park(None)

    # -- for tasks in other processes ---------------------------------------------------------

    def waits_there(self, task: GraphFuture[Any], needs: Sequence[Task], *, exact: bool) -> list[Task]:
        """A task that runs in another process begins to wait.

        :return: the circle that this closes, if it does; then the task does not wait.
        """
        loan = Loan(self, task, None, needs, exact=needs if exact else ())
        self.inbox.append((self.note_wait, (loan,)))
        self.inbox.append((self.scheduler.urged, (needs,)))
        if task.resources:
            self.inbox.append((self.scheduler.tokens_lent, (task, task.attempt)))
        self.exchange(task.place, (), 0)
        return loan.circle

    def goes_on(self, task: GraphFuture[Any]) -> None:
        """Its wait is over."""
        self.waits.pop(task, None)
        if task.resources:
            self.inbox.append((self.scheduler.tokens_back, (task, task.attempt)))

    def called_for(self, place: Place, needs: Sequence[GraphFuture[Any]]) -> list[GraphFuture[Any]]:
        """A task of a place waits: what it needs and is ready, one task, is handed over to be run inside that wait."""
        found: list[Any] = []
        self.inbox.append((self._called_for, (place, needs, found)))
        self.exchange(place, (), 0)
        return found

    def _hand_on(self, task: GraphFuture[Any], future: GraphFuture[Any]) -> bool:
        """Hand over to this thread what its task waits for, if that is ready; quicker than an exchange."""
        try:
            while not self._lock.acquire(False):
                sleep(0)  # as in an exchange
            if self.inbox or self._posts:
                self._apply_posts()
            handed = self._handed_on(task, future)
            self._lock.release()
        except BaseException as error:
            self._interrupted(error, [])
            raise
        if self._answers or self.scheduler.news or self.scheduler.resumed or self.knocked:
            self.answer_door(task.place)
        return handed

    def _run_here(self, task: GraphFuture[Any], future: GraphFuture[Any]) -> None:
        """Run a task inside the wait of another one, whose slot it has got."""
        if task.limit is not None:
            task.limit.pause()
        here.task = future
        here.depth += 1
        try:
            fact = run(future, task._worker)
        finally:
            here.task = task
            here.depth -= 1
            self.waits.pop(task, None)
        self.turn(future.place, fact, 0)
        if task.limit is not None:
            task.limit.go_on()

    # -- under the lock -----------------------------------------------------------------------

    def _called_for(self, place: Place, needs: Sequence[GraphFuture[Any]], found: list[Any]) -> None:
        task = self.scheduler.called_for(place, needs, _is_unfit)
        if task is not None:
            found.append(task)

    def _handed_on(self, task: GraphFuture[Any], future: GraphFuture[Any]) -> bool:
        """A fact: a running task waits for another one, and runs that itself if it is ready."""
        if future.state is not READY:
            return False
        if _is_unfit(future):
            return False
        if not self.scheduler.handed_on(task, task.attempt, task.place, future):
            return False
        self.waits[task] = (future,)  # no circle, since what is ready needs nothing
        return True

    def lend(self, loan: Loan) -> None:
        """A fact: a running task begins to wait."""
        scheduler, task = self.scheduler, loan.task
        self.note_wait(loan)
        if loan.circle:
            return
        if scheduler.blocked(task, loan.number, loan.place, loan.wait):
            self.loans[task, loan.number] = loan
            loan.is_lent = True
        # else it has lent its slot already, or is a finalizer, after the end of its attempt
        scheduler.urged(loan.needs)

    def wait_ended(self, loan: Loan) -> None:
        """A fact: the wait is over, and the task wants its slot back."""
        if not self.scheduler.unblocked(loan.task, loan.number, loan.place, at_once=loan.at_once):
            self.loans.pop((loan.task, loan.number), None)
            release_all((loan.lock,))  # its place is lost, or this is a forked child

    def resume(self, resumed: Iterable[tuple[Task, int]]) -> list[Any]:
        """The locks of those who have their slot back, for whoever has left the lock of the graph to release."""
        loans = [self.loans.pop(attempt, None) for attempt in resumed]
        return [loan.lock for loan in loans if loan is not None]

    def note_wait(self, loan: Loan) -> None:
        """Note what a task cannot go on without, and whether that needs the task."""
        if loan.exact:
            # In this order: of two waits in two graphs that close one circle at the same time, one sees the other.
            self.waits[loan.task] = loan.exact
            loan.circle = circle(loan.task, loan.exact, needs_of)
            loan.stuck = not loan.circle and not loan.place.lends and self._nobody_left(loan.place)
            if loan.circle or loan.stuck:
                del self.waits[loan.task]

    def _nobody_left(self, place: Place) -> bool:
        """Whether each slot of a place is held by a task that waits for what only this place could run."""
        running = [task for task in tuple(self.scheduler.unsettled) if task.state is RUNNING and task.place is place]
        return len(running) >= place.slots and all(self._is_stuck(place, self.waits.get(task, ())) for task in running)

    def _is_stuck(self, place: Place, needs: Sequence[Task]) -> bool:
        """Whether somebody who waits for these needs a slot of a place that has none left."""
        return bool(needs) and (all if type(needs) is AnyOf else any)(self._has_no_slot(place, need) for need in needs)

    def _has_no_slot(self, place: Place, need: Task) -> bool:
        """Whether a task waits for one that runs at a place, and waits as well, or that only this place could run."""
        return any(
            task.place is place if task.state is RUNNING else self._is_next_at(place, task)
            for task in reached(need, _unmet)
        )

    def _is_next_at(self, place: Place, task: Any) -> bool:
        ready = task.state not in SETTLED and not _unmet(task) and not task.outside and not task.derived
        return ready and task.lane == place.lane and getattr(task, "_owner", None) is self


def _is_unfit(task: Any) -> bool:
    """Whether a task is not to be run inside the wait of another one."""
    if task.crashes:
        return True  # what kills its worker is not to kill the waiter
    terms = task.terms if task.special else None
    return terms is not None and terms.timeout is not None  # once it is over the waiter is to go on, whatever runs


def _unmet(task: Task) -> list[Task]:
    """What a task that has not begun still needs."""
    if task.state is RUNNING or task.state in SETTLED:
        return []
    return [need for need in task.dependencies if need.state not in SETTLED]


def has_room(part: int = 4) -> bool:
    """Whether this thread may run another task inside: little of its stack is in use, and no event loop runs in it.

    :param part: no more of it than the whole by this.
    """
    asyncio: Any = sys.modules.get("asyncio.events")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return False
    try:
        sys._getframe(sys.getrecursionlimit() // part)
    except ValueError:
        return True
    return False


def needs_of(task: Any) -> Sequence[Task]:
    """What a task cannot go on without, whichever executor it belongs to."""
    if task.state in SETTLED:
        return ()
    if type(task) is External:
        source: Any = task.source
        return (source,) if issubclass(type(source), GraphFuture) else ()
    if task.state is RUNNING:
        return task._owner.waits.get(task, ()) if task._owner is not None else ()
    return task.dependencies  # type: ignore[no-any-return]

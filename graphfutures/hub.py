"""The only place where the machine, the futures and a backend meet.

No user code runs under the lock: not a callback, not a finalizer, not a pickle.
"""

from __future__ import annotations

from _thread import RLock, allocate_lock, get_ident
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from threading import main_thread
from time import sleep
from types import MappingProxyType
from typing import Any

from graphfutures import errors
from graphfutures.attendants import Callbacks
from graphfutures.backends.base import Backend, Finished
from graphfutures.core.graph import Place, Task
from graphfutures.core.scheduler import Scheduler
from graphfutures.core.states import CANCELLED, DONE, FAILED, READY, RUNNING, WAITING
from graphfutures.current import here
from graphfutures.externals import StandIns
from graphfutures.facts import Facts
from graphfutures.futures import GraphFuture
from graphfutures.guarded import SLICE
from graphfutures.history import History
from graphfutures.room import Room, release_all, wait_in, wake_in
from graphfutures.terms import AT_ONCE
from graphfutures.unpacking import Group, Item

_NONE: list[Any] = []
_NO_LANES: Mapping[str, Backend] = MappingProxyType({})
_ONE_AT_A_TIME = RLock()
#: those that nobody can submit to any more, and that have not ended: nobody else may keep them
_draining: set[Hub] = set()


class Hub(Facts):
    """The graph of one executor, and everybody's way to it.

    :param backend: runs the tasks.
    :param name: for threads.
    :param history: remembers the attempts.
    :param max_pending: how many tasks may be unfinished before a submission from outside has to wait.
    :param resources: how many tokens of each name there are.
    """

    #: what a submission from outside is answered with
    refusal: Exception | None = None
    #: whether running tasks may still submit
    open_inside = True
    #: a weak reference to the executor
    door: Any = None
    #: what makes a door that is there when the executor is gone
    side_door: Any = None
    #: whether the end of the interpreter waits for it no more
    abandoned = False
    #: how many tasks have ended so, and whether any has
    failed = 0
    cancelled = 0
    trouble = False
    #: whether workers have been told of the end
    _end_told = False
    #: held by whoever waits for room
    _admission: RLock
    #: its backends by their lanes, if there is more than one
    lanes: Mapping[str, Backend]

    def __init__(
        self,
        backend: Backend,
        name: str,
        history: History,
        max_pending: int | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        self.backend = backend
        self.name = name
        self._begin_observing(history)
        self.max_pending = max_pending
        # Each of these is looked at for every task, and found sooner here than in the class.
        self.refusal = None
        self.trouble = self.closing = self.ended = False
        self.lanes = _NO_LANES
        self.wake = backend.wake
        self.interruptible = backend.capabilities.submits_run  # whether users' threads exchange, the main one too
        self.serials = count(1)
        self._begin(resources)
        if max_pending is not None:
            self._admission = RLock()

    def _begin(self, resources: Mapping[str, float] | None) -> None:
        self._reset(Scheduler(batching=self.backend.capabilities.batches, resources=resources))
        self._begin_facts()
        self._telling: dict[int, None] = {}  # the threads that have left the lock and are telling what has settled
        self.callbacks = Callbacks(self.name)
        self.stand_ins = StandIns()
        self.room: Room = deque()

    # -- for backends -------------------------------------------------------------------------

    def turn(self, place: Place, fact: Finished | None, want: int = 1) -> list[GraphFuture[Any]] | None:
        """Report an attempt, or none, and take one task: as ``exchange``, but quicker where nothing else is to be done.

        :param want: 0 after an attempt that ``hand_on`` has begun.
        :return: the task, alone; nothing if none is ready; None once the graph has ended.
        """
        future: GraphFuture[Any] | None = None
        batch: list[Any] = []
        lock = self._lock
        try:
            while not lock.acquire(False):
                sleep(0)
            if fact is None:
                usual = bool(self.inbox) and self._entered(place, batch)
            else:
                future, number, good, outcome, record = fact
                if good:
                    usual = not self.inbox and self.scheduler.turned(future, number, place, batch)
                    if usual:
                        future._outcome = outcome
                        future._settled = True
                        if future._watch is not None:
                            self._telling[get_ident()] = None
                else:
                    again = outcome is AT_ONCE and not self.inbox
                    usual = again and self.scheduler.turned(future, number, place, batch, True)
            lock.release()
            if not usual:
                return self.exchange(place, (fact,) if fact is not None else (), want)
            if future is None:
                if self.knocked:
                    self.answer_door(place)
                return batch
            self.remember(record)
            if good:
                if future.dependencies:
                    future.dependencies = ()  # now, since a finalizer may go with what it was given
                if future._watch is not None:
                    future._tell_all(future._watch)
                    self._telling.pop(get_ident(), None)
        except BaseException as error:
            self._interrupted(error, [future] if future is not None else [])
            raise
        if self.inbox or self.room or self.scheduler.news or (not batch and self.closing):
            others = self.exchange(place, (), 0 if batch else want)
            return batch or others
        if self.lanes:
            self.wake_others(place)
        return batch

    def exchange(self, place: Any, finished: Sequence[Finished], want: int) -> list[GraphFuture[Any]] | None:
        """Report attempts, take up to ``want`` tasks to run in this order; None once the graph has ended.

        :param place: a ``Place``; None where no attempt is reported and nothing is wanted.
        """
        lock = self._lock
        while True:
            told: list[GraphFuture[Any]] = []
            answers = resumed = _NONE
            try:
                # To block here would make a convoy: who is woken owns the lock before it has the GIL, so the next
                # one to come blocks as well, and every exchange becomes two switches of threads.
                while not lock.acquire(False):
                    if place is None:
                        self.knocked = True  # whoever has it looks at this when he has let go of it
                        if lock.acquire(False):
                            break
                        return _NONE
                    sleep(0)
                scheduler = self.scheduler
                if self.inbox or self._posts:  # first: what was submitted before an end is not to go behind it
                    self._apply_posts()
                if self._answers:  # to what was applied here, or by who hands on
                    answers, self._answers = self._answers, []
                for future, number, good, result, record in finished:
                    outcome: Any = result
                    self.remember(record)
                    if good:
                        current = scheduler.finished(future, number, place)
                    else:
                        current, outcome = self._ended_otherwise(future, number, place, outcome)
                    if current:
                        future._outcome = outcome
                        future._settled = True
                        self.failed += not good
                        told.append(future)
                more = scheduler.spread() if scheduler._spreading else False
                news: list[Any] = _NONE  # and not an empty list that others add to
                if scheduler.news:
                    news = scheduler.news
                    self._untold[id(news)] = news  # first, so that an interruption loses none
                    scheduler.news = []
                    states = {task.state for task in news}
                    self.trouble = self.trouble or states != {WAITING}
                    more = more or WAITING in states  # users' iterators come first, whose time is no task's
                batch: list[Any] = scheduler.taken(place, want) if want and not more else _NONE
                if self.sink is not None:
                    self.tell_watchers()
                if not batch and self.closing and not scheduler.unsettled and not more:
                    self._end_unless_posted()
                if scheduler.resumed:
                    resumed, scheduler.resumed = self.resume(scheduler.resumed), []
                later, self._later = self._later, ()
                if told or news:
                    me = get_ident()
                    self._telling[me] = None
                lock.release()
                for future in told:
                    future.dependencies = ()  # now, since a finalizer may go with what it was given
                    if future._watch is not None:
                        future._tell_all(future._watch)
                if news:
                    self._announce(news)
                    self._untold.pop(id(news), None)
                if told or news:
                    self._telling.pop(me, None)
                if answers:
                    release_all(answers)
                if resumed:
                    release_all(resumed)
                if later:
                    self._put_off(later)
                if self.room:
                    wake_in(self.room, self.load())
            except BaseException as error:
                self._interrupted(error, told)
                raise
            if self.lanes:
                self.wake_others(place)
            if batch:
                if self.knocked:
                    self.answer_door(place)
                return batch
            if self.ended:
                if self.room:
                    wake_in(self.room, -1)
                _draining.discard(self)
                if not self._end_told and (place is None or self.lanes):
                    self._end_told = True
                    self.backend.close()  # workers who sleep have not heard of it
                return None
            if not more and not self.inbox:
                return batch
            finished = ()

    def revoked(self, future: GraphFuture[Any], number: int, place: Place) -> None:
        """A task that was handed over has not been started and is given back."""
        self._post(self.scheduler.revoked, future, number, place)

    def called_off(self, future: GraphFuture[Any], number: int, place: Place) -> None:
        """A task that was handed over has not been started and never will be: it ends as cancelled."""
        self._post(self._called_off, future, number, place)

    def lost(self, place: Place) -> None:
        """A place is gone, with all that ran there."""
        self._post(self.scheduler.lost, place)

    @property
    def resources(self) -> Mapping[str, float]:
        """How many tokens of each name there are."""
        return self.scheduler.tokens.declared

    def accepts(self) -> bool:
        """Whether submissions from outside are still taken."""
        return self.refusal is None

    def apply(self) -> None:
        """Apply what was posted; never in a thread that a signal handler could interrupt."""
        if self.inside():
            return  # a finalizer, inside an exchange that will see to it
        self.exchange(None, (), 0)
        if self.has_ready():
            self.wake_from_here(self.backend)

    def ring_clerk(self) -> bool:
        """Have a thread of ours apply what was posted; False if none can be started."""
        return self.clerk.ring(self.apply)

    def broke(self, error: Exception) -> None:
        """The backend cannot go on: what has not started is settled with this error."""
        with _ONE_AT_A_TIME:
            breaker, self._breaker = self._breaker, self._breaker or error
        if breaker is not None:
            self._post(self._fail_pending, breaker)
            return  # another worker sees to the rest
        self.refuse(error, inside=False)
        self.closing = True
        while True:  # until whoever submits finds that the graph has ended, or somebody is left to see to it
            self.inbox.append((self._fail_pending, (error,)))
            self.apply()
            if self.ended or any(task.state is RUNNING for task in tuple(self.scheduler.unsettled)):
                break
        self.backend.close()

    # -- for executors and futures ------------------------------------------------------------

    def submitted(self, future: GraphFuture[Any]) -> None:
        """Add a task to the graph.

        :raises RuntimeError: if the graph has ended meanwhile.
        """
        self.inbox.append(future)
        if self.ended:
            self.take_back(future)
        self.wake_unless_waiting(future.dependencies)

    def take_back(self, future: GraphFuture[Any]) -> None:
        """Remove a task that came after the end, unless it was seen in time after all.

        :raises RuntimeError: if it was removed.
        """
        try:
            self.inbox.remove(future)
        except (ValueError, IndexError):
            return
        if not self.ended:
            self.backend.close()  # whoever was about to end the graph has stopped at this post
        raise errors.refused(self.refusal or RuntimeError(errors.AFTER_SHUTDOWN))

    def admit(self, future: GraphFuture[Any]) -> None:
        """Add a task once there is room; one submitter at a time, so that the limit holds exactly."""
        limit = self.max_pending or 1
        if self.callbacks.inside() or self.inside():
            self.submitted(future)
            return
        with self._admission:
            while self.load() >= limit and self.refusal is None:
                self.shrunk(limit)
            if self.refusal is not None:
                raise errors.refused(self.refusal)
            self.submitted(future)

    def wake_unless_waiting(self, dependencies: Iterable[Task]) -> None:
        """See to a new task, if it does not wait for one whose end will be reported by an exchange anyhow."""
        if self.trouble and any(task.state is FAILED or task.state is CANCELLED for task in dependencies):
            self.backend.attend()  # it fails now, not when a worker is free
            return
        for dependency in dependencies:
            if dependency.state is not DONE:
                return
        self.wake()

    def cancel(self, future: GraphFuture[Any], *, force: bool) -> bool:
        """Whether the future is cancelled now."""
        pending = future.state is WAITING or future.state is READY
        self.ask(self._cancel, [future], force)
        return future.cancelled() or (pending and self._in_finalizer())

    def cancel_many(self, futures: list[GraphFuture[Any]]) -> None:
        """Cancel what of these has not started."""
        for start in range(0, len(futures), SLICE):
            self.inbox.append((self._cancel, (futures[start : start + SLICE], False)))
        self.ask(bool)  # applied after the others

    def unpacked(self, future: GraphFuture[Any], n: int) -> list[GraphFuture[Any]]:
        """Futures for the n items of a value."""
        group = Group(future, n)
        items: list[GraphFuture[Any]] = [Item(self, next(self.serials), future, group, i) for i in range(n)]
        for item in items:
            self.submitted(item)
        return items

    def ask(self, fact: Callable[..., object], *arguments: Any) -> None:
        """Have a fact applied, and wait until what follows from it has been told; not in a finalizer inside that."""
        if self._in_finalizer():
            self.inbox.append((fact, arguments))
            self.backend.attend()
            return
        answer = allocate_lock()
        answer.acquire()
        self.inbox.append((self._answer, (answer, fact, arguments)))
        self.backend.attend()
        answer.acquire()

    def _in_finalizer(self) -> bool:
        """Whether this can only be a finalizer, in a thread that others wait for."""
        return self.inside() or (here.ours and here.task is None)

    def catch_up(self) -> None:
        """See to it that what was posted is part of the graph."""
        if self.inbox:
            self.ask(bool)

    def call_back(self, future: GraphFuture[Any], callbacks: deque[Callable[[], object]]) -> None:
        """Run callbacks, in their order, where they delay nobody."""
        self.callbacks.add(future, callbacks)

    def shrunk(self, limit: int, *, refused: bool = False, unless: Callable[[], bool] | None = None) -> None:
        """Wait once until the backlog may be below a limit.

        :param refused: whether also while submissions are refused.
        :param unless: asked whether it is of no use to wait.
        """

        def too_many() -> bool:
            unfinished = self.backlog() if refused else self.load()
            if unfinished < limit or self.ended or not (refused or self.refusal is None):
                return False
            return unless is None or not unless()

        wait_in(self.room, limit, too_many, self.backend.attend)

    def stranded(self) -> None:
        """There is work, and no thread can be started for it: whoever waits for the end is to ``help``."""
        wake_in(self.room, -1)

    def stand_in(self) -> None:
        """The interpreter exits, and may start no thread any more that could stand in for one that waits."""
        wake_in(self.room, -1)
        if main_thread().ident == get_ident():
            self.backend.help()

    def end(self) -> None:
        """Wait until the graph has ended."""
        while not self.ended:
            self.shrunk(0, refused=True)

    def refuse(self, reason: Exception, *, inside: bool = True) -> None:
        """No submission from outside any more; with ``inside`` false, none from running tasks either."""
        self.refusal = self.refusal or reason
        self.open_inside = self.open_inside and inside
        if self.room:
            wake_in(self.room, -1)

    def release(self) -> None:
        """The executor is gone or shut: the graph ends when it is drained.  Never blocks."""
        if self.refusal is None:
            self.refuse(RuntimeError(errors.AFTER_SHUTDOWN))
        if not self.backlog() and not self.added:  # nothing was ever submitted, and no worker knows of it
            self.closing = True
            self._end_unless_posted()
            if self.ended and self.backend.capabilities.connects:
                self.backend.close()
        if not self.ended:
            if not self.closing:
                _draining.add(self)
                self.closing = True
                if self.inside():
                    self._look_again()
            self.backend.close()

    def finish(self) -> None:
        """Wait until the graph has ended, its callbacks have run and no thread of it is left."""
        if self.stand_ins:
            self.look_outside()
        self.backend.join()
        if self._clerk is not None:
            self._clerk.dismiss()
        while self._telling and any(thread != get_ident() for thread in tuple(self._telling)):
            sleep(0)  # a user's thread, which no backend joins
        self.callbacks.finish()
        self.tell_rest()

    def mend(self, place: Place, started: Sequence[GraphFuture[Any]]) -> None:
        """An exchange was interrupted halfway: begin the graph anew with all that is not settled.

        Begun anew itself, if it is interrupted, it comes to the same.

        :param place: of the thread that was interrupted.
        :param started: what this thread has begun to run.
        """
        release_all(self._rebuild(place, started))
        wake_in(self.room, self.load())

    def nudge(self) -> None:
        """Somebody begins to wait: see to what an interrupted thread may have left undone."""
        if (self.inbox or self.has_ready() or self.lanes) and not self.inside():
            self.backend.nudge()

    def forked(self) -> None:
        """This is a forked child: nothing that was pending will ever settle here, but new work can."""
        stranded = [*self.scheduler.unsettled, *self._posts, *self.inbox]
        untold = [*self._untold.values()]
        self.added -= len(self.scheduler.unsettled)
        self.trouble = True
        self.closing = self.ended = self._end_told = False
        self._breaker = self._clerk = None
        self.unwatched()
        if self.max_pending is not None:
            self._admission = RLock()
        self._begin(self.resources)
        for news in untold:
            self._announce([future for future in news if future.state is not WAITING and not future.done()])
        for future in stranded:
            if isinstance(future, GraphFuture) and not future.done():
                future.state = FAILED
                future._forget_call()
                future._outcome = errors.made_before_fork(future.key)
                future._announce()

    # -- under the lock -----------------------------------------------------------------------

    def _interrupted(self, error: BaseException, told: list[Any]) -> None:
        """An exchange did not come to its end."""
        while self._lock._is_owned():
            self._lock.release()
        self._telling.pop(get_ident(), None)
        if here.ours or not self.interruptible:  # else it was a signal handler, and the backend will have it mended
            self._fall_apart(error, told)

    def _fall_apart(self, cause: BaseException, told: list[Any]) -> None:
        """A bug of ours: the graph cannot be trusted any more; everything is settled with an error."""
        error = errors.internal_failure(cause)
        with self._lock:
            self.refusal = error
            self.open_inside = False
            stranded: set[Any] = {*self.scheduler.unsettled, *self.scheduler.news}.union(*self._untold.values())
            posted = {post for post in (*self._posts, *self.inbox) if isinstance(post, GraphFuture)}
            self.added += len(posted - stranded)
            stranded |= posted
            self.inbox = deque()
            self._posts = []
            self.scheduler = Scheduler(batching=self.scheduler.batching)
            self._untold.clear()
            answers, self._answers = self._answers, []
            answers += [loan.lock for loan in self.loans.values()]
            self.loans.clear()
            for future in stranded:
                if not future._settled and future.state is not CANCELLED:
                    future.state = FAILED
                    future.blame = None
                    future._outcome = error
            self.closing = self.ended = True
        self._announce([*told, *stranded])
        release_all(answers)
        _draining.discard(self)
        wake_in(self.room, -1)
        self.backend.close()

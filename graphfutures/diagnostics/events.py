"""What happens in a graph, as it happens, for those who watch.

Nothing is told to anybody under the graph's lock, nor in a worker: changes are noted there, and a thread of their own
makes events of them and calls the subscribers.  That instruments cost nothing as long as nobody uses them is trio's.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections import deque
from collections.abc import Callable
from threading import Lock, current_thread
from time import monotonic, perf_counter, sleep
from typing import Any, Final, NamedTuple, Self, TypeAlias

from graphfutures import config
from graphfutures.away import failure_here
from graphfutures.bells import Thread
from graphfutures.core.states import CANCELLED, DONE, FAILED, NEW, READY, RUNNING, WAITING
from graphfutures.current import here
from graphfutures.futures import GraphFuture
from graphfutures.outcomes import Inherited, shown

LOGGER = logging.getLogger("graphfutures")

#: what may happen to a task
SUBMITTED: Final = "submitted"
IS_READY: Final = "ready"
STARTED: Final = "started"
RETRIED: Final = "retried"
FINISHED: Final = "finished"
HAS_FAILED: Final = "failed"
WAS_CANCELLED: Final = "cancelled"
ENDS: Final = {DONE: FINISHED, FAILED: HAS_FAILED, CANCELLED: WAS_CANCELLED}

#: seconds between looks at what was noted
SOON: Final = 0.02
#: seconds for which a task has run at least that is told of before its end
LONG: Final = 0.1
#: which part of its time the thread may use for finding those
PART: Final = 0.02
#: seconds for which a subscriber is waited for that does not return
PATIENCE: Final = 10


class Event(NamedTuple):
    """Something that has happened.

    :param what: ``"submitted"``, ``"ready"``, ``"started"``, ``"retried"`` (an attempt has failed, and another one
        follows), ``"finished"``, ``"failed"`` or ``"cancelled"`` of a task; ``"published"`` or ``"dropped"`` of a large
        value that worker processes write to a file; ``"worker started"`` or ``"worker died"``, by itself or since a
        task was to be stopped.
    :param time: when it was noted, in seconds on the clock of ``time.perf_counter``.
    :param serial: number of the task in its executor, 0 if it is about none.
    :param name: of the task.
    :param attempt: which of its attempts, from 1 on, 0 before the first.
    :param worker: its number, -1 if it is not known.
    :param start: of the attempt, on that worker, on the same clock; 0.0 if it has not begun.  In ``"started"``, where
        that comes before the end, it is when the task was handed to its worker process or cluster.
    :param stop: its end, 0.0 if it has not ended.
    :param size: of the value in bytes, 0 where it is not known.
    :param error: what the task, or the attempt, has failed with, as text.
    """

    what: str
    time: float
    serial: int = 0
    name: str = ""
    attempt: int = 0
    worker: int = -1
    start: float = 0.0
    stop: float = 0.0
    size: int = 0
    error: str = ""

    @property
    def key(self) -> str:
        """Name and number of the task: ``load-3``."""
        return f"{self.name}-{self.serial}" if self.serial else ""


Subscriber: TypeAlias = Callable[[Event], object]


class Subscription:
    """Has a subscriber called until it is closed; a ``with`` block closes it at its end.

    :param stream: of the events.
    :param subscriber: is called.
    """

    def __init__(self, stream: Stream, subscriber: Subscriber) -> None:
        self._stream = stream
        self._subscriber = subscriber

    def close(self) -> None:
        """Tell what has happened so far, and nothing from then on."""
        self._stream.leave(self)

    def tell(self, event: Event) -> bool:
        """Whether the subscriber may be told more."""
        try:
            self._subscriber(event)
        except BaseException:  # if it is to end something, that is not ours
            LOGGER.exception("a subscriber has raised, and is told nothing any more: %r", self._subscriber)
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream:
    """The events of one graph.

    Its own thread tells them, and nobody else does: whoever wants all to be told waits until it has done so.

    :param hub: of the graph.
    """

    def __init__(self, hub: Any) -> None:
        self._reference = weakref.ref(hub)  # an executor that is done with is gone at once
        self._process = os.getpid()
        self._noted: deque[tuple[float, list[Any]]] = deque()
        self._subscriptions: tuple[Subscription, ...] = ()
        self._stories = Stories()
        self._joining = Lock()
        self._thread: Thread | None = None
        self._turns = self._told = 0  # how often all that was noted has been told, and how many events
        self._next_look = 0.0  # for tasks that run for long

    def join(self, subscriber: Subscriber) -> Subscription:
        """Somebody begins to watch.

        :param subscriber: called with each event, in their order.
        """
        subscription = Subscription(self, subscriber)
        with self._joining:
            self._subscriptions = (*self._subscriptions, subscription)
            hub = self._reference()
            if hub is None or hub.ended:
                return subscription
            if self._thread is None or not self._thread.is_alive():
                self._noted.clear()
                self._stories = Stories()
                self._thread = Thread(self._work, name=f"{hub.name}-events")
                self._thread.start()
        hub.watch(self.note)
        return subscription

    def note(self, now: float, changes: list[Any]) -> None:
        """Something has changed: called under the graph's lock, or in any thread."""
        self._noted.append((now, changes))

    def leave(self, subscription: Subscription) -> None:
        """Somebody does not watch any more, once what was noted so far is told."""
        if self._process != os.getpid():
            return  # this is a forked child, where nobody is told anything
        self.catch_up()
        with self._joining:
            self._subscriptions = tuple(one for one in self._subscriptions if one is not subscription)

    def catch_up(self) -> None:
        """Wait until what was noted so far is told; not in a subscriber, nor for one that does not return."""
        thread = self._thread
        if thread is None or thread is current_thread() or self._process != os.getpid():
            return
        turn, told, since = self._turns, self._told, monotonic()
        while thread.is_alive() and self._turns < turn + 2:  # the one that is under way may have begun before
            sleep(SOON / 10)
            if self._told != told:
                told, since = self._told, monotonic()
            elif monotonic() - since > PATIENCE:
                LOGGER.warning("a subscriber has not returned for %d s: nobody waits for it any more", PATIENCE)
                return

    def _work(self) -> None:
        while True:
            sleep(SOON)
            hub = self._reference()
            over = hub is None or hub.ended
            if hub is not None and not over:
                if hub.sink is None:
                    hub.watch(self.note)  # whoever has joined was interrupted
                self._look(hub)
            self._tell()
            self._turns += 1
            with self._joining:
                if not self._subscriptions or over:
                    self._thread = None
                    break
            del hub
        if hub is not None and not over:
            here.ours = True
            hub.watch(None)  # if somebody has come meanwhile, that one's thread sees to it

    def _tell(self) -> None:
        while self._noted:
            for event in self._stories.of(self._noted):
                self._told += 1
                for subscription in self._subscriptions:
                    if subscription in self._subscriptions and not subscription.tell(event):
                        with self._joining:
                            rest = [one for one in self._subscriptions if one is not subscription]
                            self._subscriptions = tuple(rest)

    def _look(self, hub: Any) -> None:
        """See which tasks run whose end may be far away."""
        now = perf_counter()
        if now < self._next_look:
            return
        running = [task for task in tuple(hub.scheduler.unsettled) if task.state is RUNNING and not task.unmet]
        if running:
            self._noted.append((now, [(task, LONG, task.attempt) for task in running]))
        self._next_look = now + max(LONG, (perf_counter() - now) / PART)


_MAKING: Final = config.lock_over_forks()


def stream_of(hub: Any) -> Stream:
    """The events of a graph."""
    with _MAKING:
        if hub.stream is None:
            hub.stream = Stream(hub)
        found: Stream = hub.stream
        return found


class _Story:
    """What is known of a task that has not settled.

    :param name: of the task.
    """

    __slots__ = ("attempt", "is_told", "name", "record", "since")

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempt = 0  # how many were told of
        self.since = 0.0  # when an attempt was handed over that has not ended
        self.is_told = False  # whether that has been told of
        self.record: Any = None  # of it, once it has returned


class Stories:
    """Makes events of what was noted."""

    def __init__(self) -> None:
        self._unsettled: dict[int, _Story] = {}
        self._events: list[Event] = []

    def of(self, noted: deque[tuple[float, list[Any]]]) -> list[Event]:
        """The events, and nothing is noted any more."""
        events: list[Event] = []
        self._events = events
        while noted:
            now, changes = noted.popleft()
            number = len(changes)
            for task, change, attempt in changes[:number]:
                if task is None:
                    self._noted(now, change)
                elif isinstance(task, GraphFuture):
                    self._changed(now, task, change, attempt)
            del changes[:number]  # it may come once more, see ``tell_watchers``
        return events

    def _noted(self, now: float, change: Any) -> None:
        if isinstance(change[0], str):
            what, worker, size = change
            self._events.append(Event(what, now, worker=worker, size=size))
            return
        story = self._unsettled.get(change[0])
        if story is not None and story.since:  # else its time was over, and it has failed before
            story.record = change

    def _changed(self, now: float, task: Any, change: Any, attempt: int) -> None:
        serial = task.serial
        story = self._unsettled.get(serial)
        if story is None:
            if change is LONG and task.state is not RUNNING:
                return  # it has ended meanwhile
            story = self._unsettled[serial] = _Story(task.name)
            if change is NEW:
                self._events.append(Event(SUBMITTED, now, serial, story.name))
            else:  # it came before anybody watched
                story.attempt = max(0, attempt - (change is RUNNING or change is LONG))
                story.since = now if change is LONG else 0.0  # so that its end is told as that of an attempt
        if change is LONG:
            self._is_long(now, task, story)
        elif change is RUNNING:
            story.since, story.is_told, story.record = now, False, None
        elif change in ENDS:
            self._returned(now, serial, story)
            error = _told(task) if change is FAILED else ""
            self._tell(ENDS[change], now, serial, story, error)
            del self._unsettled[serial]
        elif change is READY or change is WAITING:
            if story.record is not None:
                self._returned(now, serial, story)
                if story.record[6]:
                    return  # what it has returned holds futures, for which it waits
            if story.is_told:
                self._tell(RETRIED, now, serial, story, task.last_failure)
            story.since, story.is_told, story.record = 0.0, False, None
            if change is READY:
                self._events.append(Event(IS_READY, now, serial, story.name, story.attempt))

    def _is_long(self, now: float, task: Any, story: _Story) -> None:
        start = getattr(task, "_started", 0.0)
        worker = getattr(task, "_worker", -1)
        if story.since and not story.is_told and worker >= 0 and start >= story.since and now - start >= LONG:
            story.attempt += 1
            story.is_told = True
            self._events.append(Event(STARTED, now, task.serial, story.name, story.attempt, worker, start))

    def _returned(self, now: float, serial: int, story: _Story) -> None:
        """Tell of the beginning of an attempt that has returned, if that has not been told."""
        if story.record is not None and not story.is_told:
            story.attempt += 1
            story.is_told = True
            _, _, worker, start, *_ = story.record
            self._events.append(Event(STARTED, now, serial, story.name, story.attempt, worker, start))

    def _tell(self, what: str, now: float, serial: int, story: _Story, error: str = "") -> None:
        worker, start, stop, size = story.record[2:6] if story.record is not None else (-1, 0.0, 0.0, 0)
        self._events.append(Event(what, now, serial, story.name, story.attempt, worker, start, stop, size, error))


def _told(task: Any) -> str:
    """What a task has failed with; one that inherits a failure may not know that yet."""
    while getattr(task, "_outcome", None) is None and (blame := task.blame) is not None:
        task = blame
    failure = failure_here(getattr(task, "_outcome", None))
    if isinstance(failure, Inherited):
        failure = failure.root
    return shown(failure) if failure is not None else ""

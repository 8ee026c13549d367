"""What happens in a graph, as it happens, for those who watch.

Nothing is told to anybody under the graph's lock, nor in a worker: changes are noted there, and a thread of their own
makes events of them and calls the subscribers.  That instruments cost nothing as long as nobody uses them is trio's.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable
from threading import Lock, Thread, get_ident
from time import perf_counter, sleep
from typing import Any, Final, NamedTuple, Self, TypeAlias

from graphfutures.away import failure_here
from graphfutures.core.states import CANCELLED, DONE, FAILED, NEW, READY, RUNNING, WAITING
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
#: to a value, and to a worker
PUBLISHED: Final = "published"
DROPPED: Final = "dropped"
WORKER_STARTED: Final = "worker started"
WORKER_DIED: Final = "worker died"
ENDS: Final = {DONE: FINISHED, FAILED: HAS_FAILED, CANCELLED: WAS_CANCELLED}

#: seconds between looks at what was noted
SOON: Final = 0.02
#: seconds for which a task has run at least that is told of before its end
LONG: Final = 0.1
#: which part of its time the thread may use for finding those
PART: Final = 0.02


class Event(NamedTuple):
    """Something that has happened.

    :param what: ``"submitted"``, ``"ready"``, ``"started"``, ``"retried"`` (an attempt has failed, and another one
        follows), ``"finished"``, ``"failed"`` or ``"cancelled"`` of a task; ``"published"`` or ``"dropped"`` of a large
        value that worker processes write to a file; ``"worker started"`` or ``"worker died"``.
    :param time: when it was noted, in seconds on the clock of ``time.perf_counter``.
    :param serial: number of the task in its executor, 0 if it is about none.
    :param name: of the task.
    :param attempt: which of its attempts, from 1 on, 0 before the first.
    :param worker: its number, -1 if it is not known.
    :param start: of the attempt, on that worker, on the same clock; 0.0 if it has not begun.
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
        except Exception:
            LOGGER.exception("a subscriber has raised, and is told nothing any more: %r", self._subscriber)
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Stream:
    """The events of one graph.

    :param hub: of the graph.
    """

    def __init__(self, hub: Any) -> None:
        self._reference = weakref.ref(hub)  # an executor that is done with is gone at once
        self._noted: deque[tuple[float, list[Any]]] = deque()
        self._subscriptions: tuple[Subscription, ...] = ()
        self._stories = Stories()
        self._telling = Lock()
        self._teller = 0  # the thread that has it
        self._joining = Lock()
        self._works = False  # whether there is a thread
        self._next_look = 0.0  # for tasks that run for long

    def join(self, subscriber: Subscriber) -> Subscription:
        """Somebody begins to watch.

        :param subscriber: called with each event, in their order.
        """
        subscription = Subscription(self, subscriber)
        with self._joining:
            self._subscriptions = (*self._subscriptions, subscription)
            hub = self._reference()
            if not self._works and hub is not None and not hub.ended:
                self._works = True
                hub.watch(lambda now, changes: self._noted.append((now, changes)))
                Thread(target=self._work, name=f"{hub.name}-events", daemon=True).start()
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Somebody does not watch any more."""
        self.catch_up()
        with self._joining:
            self._subscriptions = tuple(one for one in self._subscriptions if one is not subscription)

    def catch_up(self) -> None:
        """Tell what was noted so far; in a subscriber, which is being told, without effect."""
        if self._teller == get_ident():
            return
        with self._telling:
            self._teller = get_ident()
            try:
                while self._noted:
                    for event in self._stories.of(self._noted):
                        for subscription in self._subscriptions:
                            if not subscription.tell(event):
                                self._subscriptions = tuple(
                                    one for one in self._subscriptions if one is not subscription
                                )
            finally:
                self._teller = 0

    def _work(self) -> None:
        while True:
            sleep(SOON)
            hub = self._reference()
            if hub is not None:
                self._look(hub)
            self.catch_up()
            with self._joining:
                over = hub is None or hub.ended
                if not self._subscriptions or (over and not self._noted):
                    self._works = False
                    if hub is not None and not over:
                        hub.watch(None)
                    return
            del hub

    def _look(self, hub: Any) -> None:
        """See which tasks run whose end may be far away."""
        now = perf_counter()
        if now < self._next_look:
            return
        running = [task for task in tuple(hub.scheduler.unsettled) if task.state is RUNNING and not task.unmet]
        if running:
            self._noted.append((now, [(task, LONG) for task in running]))
        self._next_look = now + max(LONG, (perf_counter() - now) / PART)


_MAKING: Final = Lock()


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
    :param attempt: how many attempts were told of.
    """

    __slots__ = ("attempt", "is_told", "name", "record", "since")

    def __init__(self, name: str, attempt: int = 0) -> None:
        self.name = name
        self.attempt = attempt
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
            for task, change in changes:
                if task is None:
                    self._noted(now, change)
                elif isinstance(task, GraphFuture):
                    self._changed(now, task, change)
        return events

    def _noted(self, now: float, change: Any) -> None:
        if isinstance(change[0], str):
            what, worker, size = change
            self._events.append(Event(what, now, worker=worker, size=size))
            return
        story = self._unsettled.get(change[0])
        if story is not None and story.since:  # else its time was over, and it has failed before
            story.record = change

    def _changed(self, now: float, task: Any, change: Any) -> None:
        serial = task.serial
        story = self._unsettled.get(serial)
        if story is None:
            story = self._unsettled[serial] = _Story(task.name)
            if change is NEW:
                self._events.append(Event(SUBMITTED, now, serial, story.name))
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
    failure = failure_here(getattr(task, "_outcome", None))
    if isinstance(failure, Inherited):
        failure = failure.root
    return shown(failure) if failure is not None else ""

"""What runs inside a worker process.

The main thread runs one task after the other, and reads what is to be done next when it has none.  A second one, the
watch, wakes up now and then while a task runs: it tells the outcomes of those before, and reads what was sent.

        pipe ──▸ queue ──▸ main thread ──▸ outcomes ──▸ pipe
"""

from __future__ import annotations

import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from math import inf
from time import perf_counter
from types import BuiltinFunctionType, FunctionType
from typing import Any

from graphfutures.backends.processes import messages
from graphfutures.backends.processes.files import Mapper
from graphfutures.backends.processes.messages import (
    GONE,
    LINKS,
    PIECE,
    PLAIN,
    PUBLISHED,
    RAISED,
    SIZED,
    SKIPPED,
    VALUE,
    HeldElsewhereError,
    Page,
    at_hand,
    kept,
    opened,
)
from graphfutures.backends.processes.namespace import Namespace
from graphfutures.backends.processes.owning import ALONE, LARGE, is_own, is_own_frame, references
from graphfutures.backends.processes.waiting import AWAKE, Awake, Messages
from graphfutures.bells import Doorbell
from graphfutures.current import here
from graphfutures.worker.piece import Run
from graphfutures.worker.running import Running

#: seconds after which the outcome of a task is told, whatever runs then
SOON = 0.01
#: how many times so long the watch waits for another task before it sleeps
PATIENCE = 100
#: how many outcomes are told at once at most
MANY = 512


class Worker(Doorbell):
    """Runs the tasks that come through a connection.

    :param connection: to the attendant.
    :param page: see ``Page``.
    :param token: by which its executor is known.
    :param max_workers: of that executor.
    :param folders: see ``Running``.
    """

    def __init__(
        self, connection: Any, page: Page | None, token: str, max_workers: int, folders: Sequence[str]
    ) -> None:
        self.connection = connection
        self.page = page
        #: held by who reads what comes
        self.reading = threading.Lock()
        self.namespace = Namespace()
        messages.reader[0] = self.namespace.loads
        self._mapper = Mapper()
        messages.mapper[0] = self._mapper.mapped
        self.running = Running(self, token, max_workers, folders)
        self._queue: deque[Any] = deque()
        self._functions: dict[int, Any] = {}
        self._outcomes: list[tuple[int, int, Any, float, float]] = []
        #: by the ticket of a task whose value was given to another one: the ticket of that, and outcomes that are not
        #: told before it has ended; put in and taken out in one step, since the watch may give back tasks at any moment
        self._withheld: dict[int, tuple[int, list[tuple[int, int, Any, float, float]]]] = {}
        self._given: deque[tuple[int, float]] = deque()  # of those what is told at once, see ``messages.REPORT``
        self._allowed: dict[int, int] = {}  # answers to what was asked of values that have just been made
        self._alone: dict[int, int] = {}  # which of the tasks that are here alone need the value of another one
        self._quick: set[Any] = set()  # numbers and names of functions that took no time when they were called last
        self._returned: deque[list[int]] = deque()  # answers to those who want tasks back
        self._reported: deque[tuple[int, list[int]]] = deque()  # what was told in each report that may not be heard of
        self._reports = 0
        self._piece: Run | None = None  # that runs now
        self._busy = False
        self._watched = False
        self._sending = threading.Lock()
        self._there = Awake(connection)
        self._hang_bell()

    def initialize(self, initializer: bytes | None, initargs: tuple[Any, ...]) -> bool:
        """Call the initializer; False if it has failed, which is told."""
        if initializer is not None:
            try:
                self.namespace.loads(initializer)(*initargs)
            except BaseException as error:
                self.send((messages.BROKEN, messages.raised(error)))
                return False
        self.send((messages.READY, os.getpid()))
        return True

    def work(self) -> None:
        """The main thread's work, until it is told to leave."""
        queue, outcomes, since = self._queue, self._outcomes, perf_counter()
        here.task = self.running
        while True:
            try:
                task = queue.popleft()
            except IndexError:
                self.tell()
                self._mapper.memory = None
                at_hand.clear()
                self._alone.clear()
                self._busy = False
                self.listen(lambda: queue)
                self._busy = True
                if not self._watched:
                    self.look()
                since = perf_counter()
                continue
            if task is None:
                self.tell()
                return
            if len(task) == 5:
                self._run_piece(*task)
            else:
                self.attempt(task)
            now = outcomes[-1][4] if outcomes else since
            if now - since > SOON / 2 or len(outcomes) >= MANY or len(task) == 5:
                self.tell()
                since = now

    def look(self) -> None:
        """Have the watch look now."""
        self._watched = True
        self._ring()

    def watch(self) -> None:
        """The watch's work."""
        there = Messages(self.connection)
        while True:
            if not self._busy:
                self._watched = False
                if not self._busy:
                    self._bell.acquire()
            for _ in range(PATIENCE):
                if self.running.lent_out:
                    there.found(SOON)
                else:
                    self._bell.acquire(timeout=SOON)
                if self._busy:
                    break
            # It must not wait for the other thread, which may wait for the attendant to read, and that for us to.
            self.tell(wait=False)
            if self._busy and self.reading.acquire(False):
                try:
                    while there.found(0):
                        self.hear()
                finally:
                    self.reading.release()
                if self._returned:
                    self.tell(wait=False)

    def listen(self, is_over: Callable[[], object]) -> None:
        """Wait for messages until something holds."""
        with self.reading:
            while not is_over():
                if self._returned:
                    self.tell()
                self._there.come()
                self.hear()

    def hear(self) -> None:
        """Wait for a message, and see to it; to be called while holding ``reading``."""
        try:
            word, *what = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)  # nobody is left to work for
        if word == messages.RUN:
            self._run_these(*what)
        elif word == messages.RETURN:
            self._give_back(*what)
        elif word == messages.INSIDE:
            self._learn(*what[:3])
            self.running.queue.extend(what[3])
        elif word == messages.YOURS:
            self._allowed[what[0]] = what[1]
        elif word == messages.LEAVE:
            self._queue.append(None)
        else:
            self.running._owner.heard(word, what)

    def _run_these(self, heard: int, functions: Any, forgotten: Any, tasks: list[Any], takers: dict[int, int]) -> None:
        self._learn(heard, functions, forgotten)
        self._alone.update(takers)
        if self.running.waiting:  # they were under way when the wait began
            self._returned.append([task[0] for task in tasks])
        else:
            self._queue.extend(tasks)

    def _learn(self, heard: int, functions: Any, forgotten: Any) -> None:
        while self._reported and self._reported[0][0] <= heard:
            for ticket in self._reported.popleft()[1]:
                kept.pop(ticket, None)
        for number in forgotten:
            self._functions.pop(number, None)
            self._quick.discard(number)
        self._functions.update(functions)

    def taken_back(self) -> list[int]:
        """The tickets of all that has not been started, which is never run then."""
        back = [task[0] for task in self._queue if task is not None]
        self._queue.clear()
        self._tell_after_all(back)
        return back

    def _give_back(self, tickets: list[int]) -> None:
        """Give back some tasks, those of them that have not been started."""
        wanted, back, others = set(tickets), list[int](), list[Any]()
        while len(back) < len(wanted):
            try:
                task = self._queue.pop()
            except IndexError:
                break
            if task is not None and task[0] in wanted:
                back.append(task[0])
            else:
                others.append(task)
        self._queue.extend(reversed(others))
        self._tell_after_all(back)
        self._returned.append(back)

    def attempt(self, task: Any) -> None:
        """Run a task."""
        how, outcome = SKIPPED, None
        running, page = self.running, self.page
        running.ticket = ticket = task[0]
        running.began = start = perf_counter()
        if page is not None:
            page.since(start)
            page.started(ticket)
        kind = task[1]  # of call: its function, as far as that is known
        places = task[3] if len(task) == 4 else ()  # of values of tasks before it
        try:
            kwargs = None
            if kind is None:
                fn, args, kwargs = self.namespace.loads(task[2])
                number = fn if type(fn) is int else None
            else:
                number, args = kind, messages.with_held(task[2], places) if places else task[2]
            for _, other in places:
                if kept.get(other, (SKIPPED,))[0] == GONE:  # others may go at any moment
                    del kept[other]
            if number is not None:
                fn = self._functions[number]
                if type(fn) is bytes:
                    fn = self._loaded(number)
                    start = running.began
            if fn is opened:
                fn, args, kwargs = running._owner.open(*args)
            if kind is None:
                kind = _name_of(fn)
            if kind not in self._quick:
                self.tell()  # now: code of C may keep the watch from it
            if self._mapper.memory is not None:
                self._mapper.next()
            value = fn(*args, **kwargs) if kwargs else fn(*args)
            stop = perf_counter()
            if stop - start > AWAKE:  # others may need the processor
                self._there.soon = False
            args = kwargs = None
            how = VALUE
            if type(value) in PLAIN and not (type(value) in SIZED and len(value) >= LARGE):
                outcome = value
            else:
                own = references(value) == ALONE and is_own(value)
                if not own and references(value) == ALONE and is_own_frame(value):
                    own, value = True, value.copy(deep=False)
                how, outcome, taker = self._given_or_told(ticket, value, stop - start, own)
        except HeldElsewhereError:
            stop = perf_counter()
        except BaseException as error:
            stop = perf_counter()
            trace = error.__traceback__
            how, outcome = RAISED, messages.raised(error.with_traceback(trace.tb_next if trace is not None else None))
        if stop - start > SOON:
            self._quick.discard(kind)
        elif kind not in self._quick:
            self._quick.add(kind)
        if how == SKIPPED:
            self._tell_after_all([ticket])
        kept[ticket] = how, outcome
        chain = [*self._no_more_withheld(ticket), (ticket, how, None if how == GONE else outcome, start, stop)]
        if how == GONE:
            self._withheld[ticket] = taker, chain
            if taker not in self._takers(ticket)[0]:
                self._tell_after_all([taker])  # it was given back meanwhile, and may be here again
        else:
            self._outcomes += chain
        if page is not None:
            page.finished(ticket)

    def _given_or_told(self, ticket: int, value: Any, seconds: float, own: bool) -> tuple[int, Any, int]:
        """How a value is told, and what of it; and the ticket of the task that is given it instead, 0 if none is.

        :param seconds: that it took.
        :param own: whether it may be given to somebody, since nobody here has it.
        """
        given = value if own else self.running.pickled(value)
        if not own and not given.is_large:
            return *self.running.told(given), 0
        takers, is_next = self._takers(ticket)
        if len(takers) < 2:
            taker = self._taker(ticket, takers[0] if takers else 0, seconds)
            takers, is_next = self._takers(ticket)  # one may have come, or gone
            if takers == [taker]:
                if not own and not is_next:
                    given.part()
                return GONE, given, taker
        how, outcome = self.running.told(given)
        if is_next and how == PUBLISHED:
            at_hand.clear()  # nobody has come for the last one if that task could not be read
            at_hand[ticket] = given
        return how, outcome, 0

    def _takers(self, ticket: int) -> tuple[list[int], bool]:
        """Those in the queue that need the value of another one, by tickets, and whether the next to run is one."""
        queue = [task for task in tuple(self._queue) if task is not None]
        takers = [task[0] for task in queue if len(task) == 4 and any(other == ticket for _, other in task[3])]
        return takers, bool(takers) and takers[0] == queue[0][0]

    def _taker(self, ticket: int, taker: int, seconds: float) -> int:
        """The ticket of the one task that needs the value of another one, 0 if others may need it as well.

        :param taker: of the one that is here, 0 if it may still have to come.
        """
        withheld = sum(len(chain) for _, chain in tuple(self._withheld.values()))
        if self._alone.pop(ticket, 0) == taker > 0 and withheld < LINKS:
            self._given.append((ticket, seconds))
            return taker
        self.tell()  # first: who answers has to know how many are withheld
        self.send((messages.MINE, ticket, taker, seconds))
        self.listen(lambda: ticket in self._allowed)
        return self._allowed.pop(ticket)

    def _no_more_withheld(self, taker: int) -> list[tuple[int, int, Any, float, float]]:
        """The outcomes that were withheld for the sake of a task."""
        found: list[tuple[int, int, Any, float, float]] = []
        if self._withheld:
            for ticket, (one, _) in tuple(self._withheld.items()):
                if one == taker and (taken := self._withheld.pop(ticket, None)) is not None:
                    found += taken[1]
        return found

    def _tell_after_all(self, back: Iterable[int]) -> None:
        """Tell what was withheld for the sake of tasks that are given back, with the values that these would take."""
        at_hand.clear()
        for taker in back:
            chain = self._no_more_withheld(taker)
            for position, (ticket, *_, start, stop) in enumerate(chain):
                if ticket not in kept:  # it was taken
                    continue
                try:
                    kept[ticket] = self.running.told(kept[ticket][1])
                except BaseException as error:
                    kept[ticket] = RAISED, messages.raised(error)
                chain[position] = ticket, *kept[ticket], start, stop
            self._outcomes += chain  # all at once: what was made of a value that is gone is told with its end

    def _run_piece(self, ticket: int, function: Any, calls: Any, *_: None) -> None:
        run = Run(ticket, calls)
        running, page = self.running, self.page
        running.ticket = ticket
        running.began = run.start
        if page is not None:
            page.started(ticket)
        try:
            if type(function) is not int:
                fn = self.namespace.loads(function)
            else:
                fn = self._functions[function]
                if type(fn) is bytes:
                    fn = self._loaded(function)
        except BaseException as error:
            run.fail(error)
        else:
            run.begin()
            self._piece = run  # not before, so that the time that it has is for the calls
            run.work(fn, self.namespace.loads, running.told)
            self._piece = None  # before its outcomes are to be told, so that none is told twice
        self._outcomes.append((ticket, PIECE, (run.outcomes, run.cut()), run.start, perf_counter()))
        if page is not None:
            page.finished(ticket)

    def _loaded(self, number: int) -> Any:
        """A function that was sent, read for the first time; to import a module is no time of a task."""
        if self.page is not None:
            self.page.since(inf)
        fn = self._functions[number] = self.namespace.loads(self._functions[number])
        self.running.began = start = perf_counter()
        if self.page is not None:
            self.page.since(start)
        return fn

    def tell(self, *, wait: bool = True) -> None:
        """Report what has ended, and what is given back.

        :param wait: False if it is not to be done while another thread does it.
        """
        gone = self.running.forgotten
        news = self._outcomes or self._given or self._returned or self._piece or gone
        if not news or not self._sending.acquire(wait):
            return
        try:
            forgotten = [gone.popleft() for _ in range(len(gone))]  # first: they may stand in an outcome
            run = self._piece  # if it ends now its outcomes are told by others, who wait for us
            while self._returned:
                self.connection.send_bytes(pickle.dumps((messages.RETURNED, self._returned.popleft())))
            if run is not None and any(progress := run.progress()):
                self.connection.send_bytes(pickle.dumps((messages.PROGRESS, run.ticket, *progress)))
            outcomes = self._outcomes[:]
            given = [self._given.popleft() for _ in range(len(self._given))]  # then: theirs come before their outcomes
            if outcomes or given:
                del self._outcomes[: len(outcomes)]
                self._reports += 1
                self._reported.append((self._reports, [outcome[0] for outcome in outcomes]))
                self.connection.send_bytes(pickle.dumps((messages.REPORT, self._reports, given, outcomes)))
            if forgotten:
                self.connection.send_bytes(pickle.dumps((messages.FORGET, forgotten)))
        except BaseException:  # nobody is left to tell it to, or a signal handler of the user's has cut it short
            os._exit(1)
        finally:
            self._sending.release()

    def send(self, message: Any) -> None:
        """Send a message to the attendant."""
        pickled = pickle.dumps(message)
        with self._sending:
            try:
                self.connection.send_bytes(pickled)
            except OSError:
                os._exit(1)  # nobody is left to work for


def _name_of(fn: Any) -> str:
    cls = type(fn)
    return fn.__qualname__ if cls is FunctionType or cls is BuiltinFunctionType else cls.__qualname__

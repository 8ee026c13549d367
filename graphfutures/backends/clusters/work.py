"""A batch of tasks in the cluster's worker that runs it.

To the cluster this is one task: ``run``, called with the batch and with what the batches have kept whose values it
needs.  What it returns stays in the worker; how its tasks have ended is told at once, by ``tell``.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from threading import Condition, Lock, Thread, get_ident, local
from time import monotonic, perf_counter
from typing import Any, Final, NamedTuple
from uuid import uuid4

from graphfutures import errors
from graphfutures.backends.processes import files, messages
from graphfutures.backends.processes.messages import PICKLED, PLAIN, RAISED, SIZED, SKIPPED, VALUE, HeldElsewhereError
from graphfutures.backends.processes.namespace import Namespace
from graphfutures.backends.processes.owning import ALONE, is_own, references
from graphfutures.core.graph import Place
from graphfutures.current import here
from graphfutures.outcomes import without_our_frames
from graphfutures.version import __version__

#: the value stays in the worker
STAYS: Final = "stays"
#: likewise, as its pickle and large buffers: whoever reads it gets memory of its own
APART: Final = "apart"
#: the task has not run, since the value of the task with the ticket that is told is not there
MISSING: Final = "missing"
#: bytes from which on a value does
LARGE: Final = 16_384
#: bytes of them that a batch keeps at most, but for the last one
HELD: Final = 1 << 18
#: bytes from which on it takes longer to copy a value than to ask whether that has to be
ASKED: Final = 1_000_000
#: seconds after which an outcome is told that others follow
SOON: Final = 0.01
#: seconds after which the thread leaves that tells them, if there is nothing to tell
IDLE: Final = 1.0
#: how many functions of one executor a worker knows at most, and of how many executors
FUNCTIONS: Final = 1000
EXECUTORS: Final = 100

Tell = Callable[[bytes], object]
#: of a task: its ticket, how it has ended, what of that is told, start, stop
Outcome = tuple[int, Any, Any, float, float]
#: of what values are by now for one task alone: the tickets of those that have made them, by the ticket of that one
Ask = Callable[[int], Container[int]]


class Notes:
    """What runs of one batch know of each other: a cluster runs it again for its values, when these are lost.

    :param write: the ticket of a task to where later runs find it.
    :param read: what was written last, 0 if nothing was.
    """

    def __init__(self, write: Callable[[int], object] | None = None, read: Callable[[], int] | None = None) -> None:
        self._write = write
        self._read = read

    def end(self, ticket: int) -> None:
        """This is the last task whose value a run keeps, and is about to tell of."""
        if self._write is not None:
            with suppress(Exception):  # the scheduler is slow to answer
                self._write(ticket)

    def ended(self) -> int:
        """The ticket of that task of a run, 0 if there is none, below 0 if that is not known."""
        try:
            return 0 if self._read is None else self._read()
        except Exception:
            return -1


class Work(NamedTuple):
    """A batch as it is sent.

    :param token: of the executor.
    :param number: of the batch.
    :param initializer: pickled, with its arguments, if there is one.
    :param functions: pickled, by the numbers by which tasks call them.
    :param tasks: see ``messages.RUN``.
    :param labels: of each of them: the number of the task, which of its attempts this is, and its name.
    :param sole: tickets of tasks whose values nobody else will ask for.
    :param budget: seconds after which no task is begun any more.
    """

    token: str
    number: int
    initializer: bytes | None
    functions: dict[int, bytes]
    tasks: list[Any]
    labels: list[tuple[int, int, str]]
    sole: frozenset[int]
    budget: float


class Report(NamedTuple):
    """How tasks of a batch have ended.

    :param number: of the batch.
    :param run: by which one run of it differs from another.
    :param worker: unlike any other of the cluster.
    :param home: alike for those that have their values in common.
    :param running: the ticket of the task that runs, 0 if none does.
    :param outcomes: of each task; of what stays in the worker its size is told.
    :param handed: by the ticket of a task whose large value was handed on: that of the task that has taken it.
    :param broken: a pickled exception of the initializer.
    :param refused: how often the batch was begun, if it was not, since it may not be once more.
    """

    number: int
    run: str
    worker: Any
    home: Any
    running: int
    outcomes: list[Outcome]
    handed: dict[int, int]
    broken: bytes | None = None
    refused: int = 0


class Kept:
    """The values of a batch, which stay in the worker until nobody needs them.

    :param values: by ticket, how each is kept: as an object that never changes, pickled, as it is, or apart.
    :param size: bytes, which the cluster asks for when it chooses a worker.
    """

    __slots__ = ("size", "values")

    def __init__(self, values: dict[int, tuple[Any, Any]], size: int = 0) -> None:
        self.values = values
        self.size = size

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.size + 100 * len(self.values)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Whoever passes it on cannot pickle the buffers that it has got, and dask may use an old protocol.
        wrap: Any = pickle.PickleBuffer if protocol >= 5 else bytes
        apart = {
            ticket: (how, (value[0], [wrap(buffer) for buffer in value[1]]))
            for ticket, (how, value) in self.values.items()
            if how == APART
        }
        return Kept, ({**self.values, **apart}, self.size)

    def value(self, ticket: int) -> Any:
        """One of them, for whoever has fetched it."""
        return of_kept(*self.values[ticket])


def of_kept(how: Any, value: Any, loads: Any = pickle.loads) -> Any:
    """A value that was kept, for whoever has fetched it."""
    if how == APART:
        return put_together(value, loads)
    return loads(value) if how == PICKLED else value


class _State:
    """Of one executor in this process."""

    def __init__(self) -> None:
        self.namespace = Namespace(replaces=False)
        self.functions: dict[int, Any] = {}
        self.lock = Lock()
        self.failure: bytes | None = None
        self.initialized = False

    def initialize(self, initializer: bytes | None) -> bytes | None:
        """Call the initializer, unless that was done; how it has failed, if it has."""
        with self.lock:
            if not self.initialized:
                self.initialized = True
                if initializer is not None:
                    try:
                        fn, args = self.namespace.loads(initializer)
                        fn(*args)
                    except BaseException as error:
                        self.failure = messages.raised(error)
            return self.failure

    def function(self, number: int, pickled: bytes) -> Any:
        """By its number, read when it is called for the first time."""
        fn = self.functions.get(number)
        if fn is None:
            with self.lock:
                fn = self.functions.get(number)
                if fn is None:
                    if len(self.functions) >= FUNCTIONS:
                        self.functions.clear()
                    fn = self.functions[number] = self.namespace.loads(pickled)
        return fn


_states: dict[str, _State] = {}
_MAKING = Lock()


def _state_of(token: str) -> _State:
    with _MAKING:
        if token not in _states:
            while len(_states) >= EXECUTORS:
                del _states[next(iter(_states))]  # which has ended, most likely
            _states[token] = _State()
        return _states[token]


class Itself:
    """What stands for the task where its own code asks for it: it can submit nothing, and nobody lends its slot."""

    place = Place("cluster", 1, lends=False, hosts=False)
    #: that somebody wants it cancelled is not told to clusters
    cancel_wanted = ()

    def __init__(self, serial: int, attempt: int, name: str) -> None:
        self.name = name
        self.key = f"{name}-{serial}"
        self.attempt = attempt
        self._owner = self

    def done(self) -> bool:
        """Whether it has settled: whoever asks this is still running."""
        return False

    def inside(self) -> bool:
        """See ``Hub``: there is none here."""
        return False

    def lent(self, *_: Any, **__: Any) -> Any:
        """See ``Owner``."""
        from contextlib import nullcontext

        return nullcontext()

    def waited(self, task: Any, future: Any) -> None:
        """See ``Owner``: a future of an executor that the task itself has made."""
        future.park(None)


def _unknown(taker: int = 0) -> Container[int]:
    """Nobody can be asked."""
    return ()


class _Reading(local):
    """What a thread reads values of other tasks from."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """There is nothing."""
        self.values: dict[int, tuple[Any, Any]] = {}
        #: what one task has read: a value that it needs in two places is one object, as in a call
        self.read: dict[int, Any] = {}
        self.sole: frozenset[int] = frozenset()
        self.asked: Callable[[], Container[int]] = _unknown
        self.loads: Any = pickle.loads


_reading = _Reading()


class Need:
    """In the place of a value in pickled arguments: that of another task of the cluster.

    :param ticket: of that task.
    """

    __slots__ = ("ticket",)

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket

    def __reduce__(self) -> Any:
        return needed, (self.ticket,)


def needed(ticket: int) -> Any:
    """In a worker: the value of another task.

    :raises HeldElsewhereError: if it is not here.
    """
    read = _reading.read
    if ticket not in read:
        read[ticket] = _value(ticket)
    return read[ticket]


def _value(ticket: int) -> Any:
    if ticket not in _reading.values:
        raise HeldElsewhereError(ticket)
    how, value = _reading.values[ticket]
    as_it_is = how != STAYS or type(value) in SIZED or ticket in _reading.sole
    if as_it_is or (value.nbytes >= ASKED and ticket in _reading.asked()):
        return of_kept(how, value, _reading.loads)
    return copied(value, _reading.loads)


def copied(value: Any, loads: Any) -> Any:
    """A value of one's own, so that nobody sees what its task does to it."""
    pickled = files.Pickled(value, messages.dumped)
    return put_together((pickled.text, pickled.buffers), loads)


def put_together(parts: tuple[bytes, list[Any]], loads: Any) -> Any:
    """A value of one's own again."""
    text, buffers = parts
    return loads(text, buffers=[files.copied(buffer) for buffer in buffers])


class Teller:
    """Tells in time how tasks have ended, while others run."""

    def __init__(self) -> None:
        self._runs: dict[Run, float] = {}
        self._more = Condition()
        self._begun = 0  # the process in which a thread was begun that has not left

    def add(self, run: Run) -> None:
        """It has something to tell, soon."""
        with self._more:
            self._runs.setdefault(run, monotonic() + SOON)
            if self._begun != os.getpid():
                self._begun = os.getpid()
                Thread(target=self._work, name="teller", daemon=True).start()
            self._more.notify()

    def remove(self, run: Run) -> None:
        """It has told all."""
        with self._more:
            self._runs.pop(run, None)

    def _work(self) -> None:
        while True:
            with self._more:
                if not self._runs and not self._more.wait(IDLE) and not self._runs:
                    self._begun = 0
                    return
                if not self._runs:
                    continue
                now = monotonic()
                due = [run for run, when in self._runs.items() if when <= now]
                for run in due:
                    del self._runs[run]
                if not due:
                    self._more.wait(max(0.001, min(self._runs.values()) - now))
            for run in due:
                run.tell()


teller = Teller()


class Run:
    """One run of a batch.

    :param work: the batch.
    :param kept: by the batches that it needs.
    :param tell: how its tasks have ended.
    :param apart: whether large values are kept apart.
    :param asked: see ``Ask``.
    :param notes: of the batch.
    """

    def __init__(self, work: Work, kept: Iterable[Kept], tell: Tell, apart: bool, asked: Ask, notes: Notes) -> None:
        self._work = work
        self._notes = notes
        self._tell = tell
        self._apart = apart
        self._asked = asked
        self._state = _state_of(work.token)
        self._values: dict[int, tuple[Any, Any]] = {}
        for one in kept:
            self._values.update(one.values)
        self._mine: dict[int, tuple[Any, Any]] = {}
        self._sizes: dict[int, int] = {}  # of large ones
        #: by the ticket of a task whose large value is to be handed on, and which was: that of the task that takes it
        self._loose: dict[int, int] = {}
        self._handed: dict[int, int] = {}
        self._outcomes: list[Outcome] = []
        self._sending = Lock()
        self._run = uuid4().hex
        self._me = _me()
        self._running = 0
        self._answer: Container[int] | None = None  # of whoever was asked, once for each task
        self._armed = False  # whether what has ended is about to be told
        self._end = 0.0  # when no more is begun
        self._before: int | None = None  # where an earlier run has ended, see ``Notes``, once that was asked for

    def whole(self) -> Kept:
        """Run it, and tell of it."""
        work, state = self._work, self._state
        broken = state.initialize(work.initializer)
        if broken is not None:
            self.tell(broken)
            return Kept({})
        self._end = perf_counter() + work.budget
        stopped, whole = False, True
        withheld: list[Outcome] = []
        outer = here.task
        _reading.values, _reading.sole, _reading.loads = self._values, work.sole, state.namespace.loads
        _reading.asked = self._soon_sole
        teller.add(self)
        try:
            for position, task in enumerate(work.tasks):
                if stopped:
                    moment = perf_counter()
                    self._outcomes.append((task[0], SKIPPED, None, moment, moment))
                    continue
                here.task = Itself(*work.labels[position])
                self._running = task[0]
                outcome = self._attempt(task)
                self._running = 0
                withheld.append(outcome)
                stopped = not self._goes_on(position, outcome[1])
                whole = whole and outcome[1] != MISSING
                if stopped and len(work.tasks) > 1:
                    self._note_end(whole)
                if stopped or not self._loose:
                    # All at once: whoever has heard of the first must hear of the others, for which nothing was kept.
                    self._outcomes += withheld
                    withheld = []
                    if not self._armed:
                        self._armed = True
                        teller.add(self)
        finally:
            here.task = outer
            _reading.forget()
            teller.remove(self)
        self.tell()
        return Kept(self._mine, sum(self._sizes.get(ticket, 0) for ticket in self._mine))

    def tell(self, broken: bytes | None = None) -> None:
        """Tell of what has ended and was not told."""
        with self._sending:
            self._armed = False  # before they are taken, so that what comes meanwhile is told as well
            outcomes = self._outcomes[:]
            del self._outcomes[: len(outcomes)]
            if outcomes or self._running or broken is not None:
                handed = {told[0]: self._handed[told[0]] for told in outcomes if told[0] in self._handed}
                me = self._me
                home = me[:1] if self._apart else me[:2]
                report = Report(self._work.number, self._run, me, home, self._running, outcomes, handed, broken)
                self._tell(pickle.dumps(report))

    def _soon_sole(self) -> Container[int]:
        """Of what values are for the task that runs alone, though that was not known when it was sent."""
        if self._answer is None:
            self._answer = self._asked(self._running)
        return self._answer

    def _goes_on(self, position: int, how: Any) -> bool:
        """Whether another task is begun after this one, whose large value is handed to the one that alone needs it."""
        ticket, taker, is_full = self._work.tasks[position][0], 0, False
        if position + 1 == len(self._work.tasks) or ticket in self._loose.values():
            return False  # if it has not taken what is for it, that stays, and is enough
        if how == STAYS:
            taker = self._taker(position)
            is_full = not taker and self._held() > HELD
        is_sure = not (taker or is_full or self._loose) and perf_counter() <= self._end
        if not is_sure and self._ends_here(position, is_full):
            return False
        if taker:
            self._loose[ticket] = taker
        if how == STAYS:
            self._values[ticket] = self._mine[ticket]
        return True

    def _held(self) -> int:
        """Bytes of large values that stay here, and were not handed on."""
        stays = self._mine.keys() - self._loose.keys()
        return sum(size for ticket, size in self._sizes.items() if ticket in stays)

    def _note_end(self, whole: bool) -> None:
        """A later run is to have all that this one keeps.

        :param whole: whether nothing was missing here; else an earlier run may have gone further.
        """
        tickets = [task[0] for task in self._work.tasks]
        kept = [ticket for ticket in tickets if ticket in self._mine]
        if kept and (whole or self._notes.ended() in [0, *tickets[: tickets.index(kept[-1])]]):
            self._notes.end(kept[-1])

    def _taker(self, position: int) -> int:
        """The ticket of the task behind this one for which alone its value is, 0 if there is none."""
        (ticket, *_), *rest = self._work.tasks[position:]
        if ticket not in self._work.sole:
            return 0
        return next((task[0] for task in rest if len(task) == 4 and any(other == ticket for _, other in task[3])), 0)

    def _ends_here(self, position: int, is_full: bool) -> bool:
        """Whether the time is over, or enough is kept; a run has all that others count on, as one before had it."""
        if self._before is None:
            self._before = self._notes.ended()
        rest = [task[0] for task in self._work.tasks[position:]]
        if self._before < 0 or self._before in rest[1:]:
            return False
        return self._before == rest[0] or is_full or perf_counter() > self._end

    def _attempt(self, task: Any) -> Outcome:
        how: Any = MISSING
        outcome = None
        ticket, number = task[0], task[1]
        start = perf_counter()
        self._answer, _reading.read = None, {}
        try:
            kwargs = None
            if number is None:
                fn, args, kwargs = self._state.namespace.loads(task[2])
                number = fn if type(fn) is int else None
            else:
                args = messages.with_held(task[2], task[3], needed) if len(task) == 4 else task[2]
            _reading.read = {}  # nothing but the call has them
            if number is not None:
                fn = self._state.function(number, self._work.functions[number])
                start = perf_counter()  # to import a module is no time of a task
            for other in [other for other, taker in self._loose.items() if taker == ticket]:
                self._handed[other] = self._loose.pop(other)
                del self._values[other], self._mine[other]
            value = fn(*args, **kwargs) if kwargs else fn(*args)
            stop = perf_counter()
            args = kwargs = None
            own = references(value) == ALONE and is_own(value)
            how, outcome = self._kept(ticket, value, own)
        except HeldElsewhereError as error:
            stop, (outcome,) = perf_counter(), error.args
        except BaseException as error:
            stop = perf_counter()
            how, outcome = RAISED, messages.raised(error.with_traceback(without_our_frames(error)))
        return ticket, how, outcome, start, stop

    def _kept(self, ticket: int, value: Any, own: bool) -> tuple[Any, Any]:
        """How a value is told, and what of it; it is kept for others.

        :param own: whether nobody here has it, so that it stays as it is.
        """
        if type(value) in PLAIN and not (type(value) in SIZED and len(value) >= LARGE):
            how, told = VALUE, value
        elif type(value) in SIZED and not self._apart:  # whose pickle would be a copy
            size = self._sizes[ticket] = len(value)
            self._mine[ticket] = STAYS, value
            return STAYS, size
        else:
            pickled = files.Pickled(value, messages.dumped)
            size = pickled.size
            if size >= LARGE:
                self._sizes[ticket] = size
                if own and not self._apart:
                    self._mine[ticket] = STAYS, value
                    return STAYS, size
                if not self._apart:
                    pickled.part()  # whoever has what is inside of it can do nothing to it then
                self._mine[ticket] = APART, (pickled.text, pickled.buffers)
                return STAYS, size
            how, told = PICKLED, pickled.text
        self._values[ticket] = self._mine[ticket] = how, told
        return how, told


def _me() -> Any:
    """This worker, unlike any other of its cluster."""
    from platform import node

    return node(), os.getpid(), get_ident()


def run(
    pickled: bytes,
    kept: Iterable[Kept],
    tell: Tell,
    *,
    apart: bool = False,
    asked: Ask = _unknown,
    notes: Notes = Notes(),  # noqa: B008  # which never change
) -> Kept:
    """Run a batch, as one task of a cluster.

    :param pickled: a ``Work``.
    :param kept: by the batches that it needs.
    :param tell: how its tasks have ended.
    :param apart: whether large values are kept apart, since they go into a store at once.
    :param asked: see ``Ask``.
    :param notes: of the batch.
    :raises RuntimeError: if another version of graphfutures has sent it.
    """
    return Run(_read(pickled), kept, tell, apart, asked, notes).whole()


def refused(pickled: bytes, runs: int, tell: Tell) -> Kept:
    """Run nothing of a batch, and tell of that.

    :param runs: how often it was begun before.
    """
    tell(pickle.dumps(Report(_read(pickled).number, "", _me(), None, 0, [], {}, None, runs)))
    return Kept({})


def _read(pickled: bytes) -> Work:
    version, *work = pickle.loads(pickled)
    if version != __version__:
        raise errors.other_version(version, __version__)
    return Work(*work)

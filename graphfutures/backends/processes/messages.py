"""What a worker process and its attendant in this process say to each other.

Messages are pickled tuples whose first item is one of the words below.  What pickle can do neither harm nor wrong with,
numbers and strings, goes into the message itself; everything else is pickled on its own, so that what cannot be pickled
or read back harms one task.
"""

from __future__ import annotations

import io
import mmap
import pickle
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import local
from typing import Any, Final

from graphfutures import errors
from graphfutures.backends.processes import files

# -- to the worker ----------------------------------------------------------------------------

#: ``(RUN, heard, functions, forgotten, tasks, takers)``: run these in this order.  ``heard`` is the number of the
#: last report that has arrived, ``functions`` maps numbers to pickles, ``forgotten`` are numbers of those that will
#: not come again.  A task, that is one attempt of it, has a ticket, the number by which this worker knows it, and is
#: one of ``(ticket, number of its function, arguments)``; the same and ``((position, ticket), …)``, arguments that are
#: values of tasks before it; ``(ticket, None, pickle of function, arguments and keyword arguments)``, the function by
#: number if it has one, and then the same pairs, if there are any, whose positions say nothing; a piece of a map is
#: ``(ticket, function, calls, None, None)``, its function by number or pickled, its calls see ``pieces.packed``.
#: ``takers`` maps tickets of tasks to those of others that alone will ever need their values, as far as that is known.
RUN: Final = "run"
#: ``(RETURN, tickets)``: give these back, if they have not been started
RETURN: Final = "return"
#: ``(LEAVE,)``: end once all is done
LEAVE: Final = "leave"
#: the same as ``RUN`` with one task, for a worker whose task waits: to be run inside that wait
INSIDE: Final = "inside"
#: ``(OUTCOMES, outcomes)``: how tasks have ended that were submitted there: ``(number, how, outcome)`` each
OUTCOMES: Final = "outcomes"
#: ``(GO, number, error)``: a wait has begun, or is over; or it would never be, which the pickled error says
GO: Final = "go"
#: ``(YOURS, ticket, taker)``: so it may, if nobody else will ever ask for the value; else ``taker`` is 0
YOURS: Final = "yours"
#: ``(ANSWER, number, outcome)``: to a question; a pickled pair, whether it could be answered, and the answer or error
ANSWER: Final = "answer"

# -- to its attendant -------------------------------------------------------------------------

#: ``(READY, process id)`` or ``(BROKEN, pickled exception)``, after the initializer
READY: Final = "ready"
BROKEN: Final = "broken"
#: ``(REPORT, number, given, outcomes)``: each of these ``(ticket, how, outcome, start, stop)``.  ``given`` are tasks
#: that have ended with large values, ``(ticket, seconds)`` each, of which it was told before that the one task that
#: needs the value may have it: their ends are told with that one's
REPORT: Final = "report"
#: ``(RETURNED, tickets)``: tasks that are given back
RETURNED: Final = "returned"
#: ``(SUBMIT, ticket of the task that does so or 0, number, name, options, pickled call, needs)``: for the call see
#: ``inside.Inside``; ``needs`` are pairs, the number of a future and whether its failure is allowed
SUBMIT: Final = "submit"
#: ``(WAIT, ticket, number, numbers of futures, every, exact, serves, runs, tickets)``: a task waits for these,
#: ``every`` of them or one; ``exact``: it cannot go on without; ``serves``: its thread waits for ``GO``, and ``runs``
#: meanwhile what it is told to.  The tasks of these tickets are given back
WAIT: Final = "wait"
#: ``(BACK, number, at once)``: what was not ``serves`` is over
BACK: Final = "back"
#: ``(FORGET, numbers)``: of futures that nobody has any more
FORGET: Final = "forget"
#: ``(ASK, number, what, arguments)``
ASK: Final = "ask"
#: ``(MINE, ticket, taker, seconds)``: a task has ended after so many seconds, with a large value; may the one task that
#: needs it have it, and the end be told with that one's?  ``taker`` is the ticket of that task, or 0: then it is sent
#: before the answer, if there is one.  The worker waits for the answer
MINE: Final = "mine"
#: ``(PROGRESS, ticket, outcomes, back)``: of a piece that still runs, see ``pieces.take``
PROGRESS: Final = "progress"

# -- how a task has ended ---------------------------------------------------------------------

#: with a value, which is in the message
VALUE: Final = 0
#: with a value, which is pickled
PICKLED: Final = 1
#: with an exception, which is pickled together with the text of its traceback
RAISED: Final = 2
#: not at all, since the value of a task before it is not there
SKIPPED: Final = 3
#: as cancelled
CALLED_OFF: Final = 4
#: a piece, of which there is as much to be told as with ``PROGRESS``
PIECE: Final = 5
#: with a value, which is in a file: its layout
PUBLISHED: Final = 6
#: with a value, which is pickled, and in which futures of that worker stand
LINKED: Final = 7
#: with a value that nobody has any more, since the one task that needed it was given the object itself; in a worker,
#: until that task begins, with the object, or pickled
GONE: Final = 8

#: how many tasks may have ended at most that are to run again if the one dies that was given the last value
LINKS: Final = 100
#: seconds after which a worker ends a piece, before the next call
BUDGET: Final = 0.01

#: types whose instances go into a message as they are
PLAIN: Final[frozenset[type]] = frozenset({type(None), bool, int, float, complex, str, bytes})
#: those of them that may be large
SIZED: Final[frozenset[type]] = frozenset({str, bytes})


class HeldElsewhereError(Exception):
    """The value that a task needs is not in this worker, since the task that makes it has failed."""


class Held:
    """In the place of a value in pickled arguments: that of a task which the same worker has run before.

    :param ticket: of that task.
    """

    __slots__ = ("ticket",)

    def __init__(self, ticket: int) -> None:
        self.ticket = ticket

    def __reduce__(self) -> Any:
        return held, (self.ticket,)


#: in a worker: how each task has ended whose report may not have been heard of
kept: dict[int, tuple[int, Any]] = {}
#: in a worker: the value itself of one that is in a file as well, for the next task, by ticket
at_hand: dict[int, Any] = {}


def held(ticket: int) -> Any:
    """In a worker: the value of a task that it has run.

    :raises HeldElsewhereError: if it has not.
    """
    found = at_hand.pop(ticket, at_hand)
    how, outcome = (GONE, found) if found is not at_hand else kept.get(ticket, (SKIPPED, None))
    if how == GONE and type(outcome) is files.Pickled:
        return outcome.value(reader[0])
    if how in (VALUE, GONE):
        return outcome
    if how in READERS:
        return READERS[how](outcome)
    raise HeldElsewhereError(ticket)


def with_held(
    args: Sequence[Any], places: Iterable[tuple[int, int]], value_of: Callable[[int], Any] = held
) -> list[Any]:
    """In a worker: arguments, some of which are values of tasks that it has run.

    :param places: where these are, and the tickets of the tasks.
    :param value_of: the value of a task, by its ticket.
    :raises HeldElsewhereError: if it has not.
    """
    args, found = list(args), dict[int, Any]()
    for position, ticket in places:
        if ticket not in found:  # twice the same one is the same object
            found[ticket] = value_of(ticket)
        args[position] = found[ticket]
    return args


#: what reads pickles here, and what maps files; a worker has its own
reader: list[Callable[..., Any]] = [pickle.loads]
mapper: list[Callable[[files.Layout], Any]] = [files.mapped]


def sent_value(text: bytes) -> Any:
    """A value, by its pickle."""
    return reader[0](text)


def published_value(layout: files.Layout) -> Any:
    """A value, by its file."""
    return files.read(layout, reader[0], mapper[0](layout))


#: how values are read that have been told so
READERS: Final[dict[int, Callable[[Any], Any]]] = {PICKLED: sent_value, PUBLISHED: published_value}


def dumped(value: Any, **how: Any) -> bytes:
    """In a worker: the pickle of a value.

    :param how: see ``pickle.dumps``.
    :raises Exception: what pickling raises, with a note.
    """
    from graphfutures.backends.processes.functions import Pickler

    try:
        with io.BytesIO() as file:
            Pickler(file, **how).dump(value)
            return file.getvalue()
    except Exception as error:
        with suppress(Exception):
            error.add_note(errors.value_cannot_be_sent())
        raise


def read_back(pickled: Any, buffers: Any = None) -> Any:
    """A value that a worker has sent.

    :param buffers: that are not in the pickle.

    :raises Exception: what unpickling raises, with a note.
    """
    try:
        return pickle.loads(pickled, buffers=buffers)
    except Exception as error:
        with suppress(Exception):
            error.add_note(errors.value_cannot_be_read())
        raise


class RemoteTracebackError(Exception):
    """Where an exception was raised in another process, as text.

    :param text: the traceback.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n\n{self.text}"


def raised(error: BaseException) -> bytes:
    """An exception that can be read back, pickled with the text of its traceback."""
    from traceback import format_exception

    import cloudpickle

    try:
        text = "".join(format_exception(error))
    except Exception:
        text = "a traceback that cannot be shown"
    pickled: bytes = b""
    try:
        pickled = cloudpickle.dumps((error, text))
        pickle.loads(pickled)
    except BaseException as cause:  # it is code of the user's
        substitute = errors.cannot_travel(error, cause=cause, is_pickled=bool(pickled))
        pickled = cloudpickle.dumps((substitute, text))
    return pickled


def error_of(pickled: bytes) -> BaseException:
    """The exception that ``raised`` has pickled, its traceback as its cause."""
    try:
        error, text = pickle.loads(pickled)
    except BaseException as failure:
        return failure.with_traceback(None)
    if isinstance(error, BaseException):
        cause = RemoteTracebackError(text)
        if error.__cause__ is None:
            error.__cause__ = cause
        return error
    return errors.TaskFailedError(f"an exception was read back as {error!r:.80}")


class Hole:
    """In a pickled call, the place of a value that comes with it.

    :param number: which of the values.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> Any:
        return _filled, (self._number,)


class _Filling(local):
    """The values for the holes in what this thread reads."""

    values: Sequence[Any] = ()


_filling = _Filling()


def _filled(number: int) -> Any:
    return _filling.values[number]


def filled(pickled: bytes, values: Sequence[Any], loads: Callable[[bytes], Any]) -> Any:
    """A pickled call, with values in its holes.

    :param loads: reads it.
    """
    outer, _filling.values = _filling.values, values
    try:
        return loads(pickled)
    finally:
        _filling.values = outer


def opened(pickled: bytes, *values: Any) -> Any:
    """What a call is to the hub that was submitted in a worker; workers know it, any other backend calls it."""
    function, args, kwargs = filled(pickled, values, pickle.loads)
    return pickle.loads(function)(*args, **kwargs)


class Page:
    """Memory that a worker shares with its attendant: which task it runs, and which it has finished last, since when,
    and how much room there is for values.

    It can be read while the worker's C code holds its GIL, and after its death.

    :param descriptor: of a file of at least ``SIZE`` bytes.
    """

    SIZE = 32

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, self.SIZE)
        self._cells = memoryview(self._map).cast("Q")
        self._times = memoryview(self._map).cast("d")

    def started(self, ticket: int) -> None:
        """A task begins."""
        self._cells[0] = ticket

    def since(self, moment: float) -> None:
        """When the task that begins now has begun, on the clock of ``perf_counter``; never, while it waits."""
        self._times[2] = moment

    def began(self) -> float:
        """When the task has begun that runs."""
        return self._times[2]

    def finished(self, ticket: int) -> None:
        """Its attempt has returned."""
        self._cells[1] = ticket
        self._cells[0] = 0

    def leave_room(self, size: int) -> None:
        """So many bytes of values may go into shared memory."""
        self._cells[3] = size

    def room(self) -> int:
        """How many."""
        return self._cells[3]

    def running(self) -> int:
        """The number of the task that runs, 0 if none does."""
        return self._cells[0]

    def last(self) -> int:
        """The number of the task that was finished last, 0 if none was."""
        return self._cells[1]

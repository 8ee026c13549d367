"""What a worker process and its attendant in this process say to each other.

Messages are pickled tuples whose first item is one of the words below.  What pickle can do neither harm nor wrong with,
numbers and strings, goes into the message itself; everything else is pickled on its own, so that what cannot be pickled
or read back harms one task.
"""

from __future__ import annotations

import pickle
from typing import Any, Final

from graphfutures import errors

# -- to the worker ----------------------------------------------------------------------------

#: ``(RUN, heard, functions, forgotten, versions, tasks)``: run these in this order.  ``heard`` is the number of the
#: last report that has arrived, ``functions`` maps numbers to pickles, ``forgotten`` are numbers of those that will
#: not come again; ``versions`` see ``functions.Functions``.  A task, that is one attempt of
#: it, has a ticket, the number by which this worker knows it: it is one of
#: ``(ticket, number of its function, arguments)``; the same and ``((position, ticket), …)``, the arguments that are
#: values of tasks before it; ``(ticket, pickle of function, arguments and keyword arguments)``; a piece of a map is
#: ``(ticket, function, calls, None, None)``, its function by number or pickled, its calls see ``pieces.packed``.
RUN: Final = "run"
#: ``(RETURN, n)``: give back so many tasks that have not been started
RETURN: Final = "return"
#: ``(LEAVE,)``: end once all is done
LEAVE: Final = "leave"

# -- to its attendant -------------------------------------------------------------------------

#: ``(READY, process id)`` or ``(BROKEN, pickled exception)``, after the initializer
READY: Final = "ready"
BROKEN: Final = "broken"
#: ``(REPORT, number, outcomes)``: each of them ``(ticket, how, outcome, start, stop)``
REPORT: Final = "report"
#: ``(RETURNED, tickets)``: tasks that are given back
RETURNED: Final = "returned"
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
#: a piece, of which there is as much to be told as with ``PROGRESS``
PIECE: Final = 4

#: how many items the tuple of a task has that may be given back: one without inputs that come before it, or a piece
FREE: Final = (3, 5)

#: types whose instances go into a message as they are
PLAIN: Final[frozenset[type]] = frozenset({type(None), bool, int, float, complex, str, bytes})


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


def held(ticket: int) -> Any:
    """In a worker: the value of a task that it has run.

    :raises HeldElsewhereError: if it has not.
    """
    how, outcome = kept.get(ticket, (SKIPPED, None))
    if how == VALUE:
        return outcome
    if how == PICKLED:
        return pickle.loads(outcome)
    raise HeldElsewhereError(ticket)


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
    try:
        pickled: bytes = cloudpickle.dumps((error, text))
        pickle.loads(pickled)
    except Exception:
        pickled = cloudpickle.dumps((errors.cannot_travel(error), text))
    return pickled


def error_of(pickled: bytes) -> BaseException:
    """The exception that ``raised`` has pickled, its traceback as its cause."""
    try:
        error, text = pickle.loads(pickled)
    except Exception as failure:
        return failure
    if isinstance(error, BaseException):
        cause = RemoteTracebackError(text)
        if error.__cause__ is None:
            error.__cause__ = cause
        return error
    return errors.TaskFailedError(f"an exception was read back as {error!r:.80}")

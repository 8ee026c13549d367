"""Tasks as one worker process is sent them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import perf_counter
from typing import Any

from graphfutures import errors
from graphfutures.backends.base import Finished
from graphfutures.backends.processes import pieces
from graphfutures.backends.processes.functions import Functions
from graphfutures.backends.processes.messages import PLAIN, Held
from graphfutures.calls import EACH, Allowed, fill, takes_anything, unfit
from graphfutures.core.states import DONE, RUNNING, SETTLED
from graphfutures.futures import GraphFuture
from graphfutures.pieces import Piece
from graphfutures.running import on_terms, record_of, value_of

_USABLE = (RUNNING, DONE)


class TooEarlyError(Exception):
    """A task was handed over along with its inputs, and cannot be sent before these are there."""


class Packing:
    """What one worker has been sent, by the numbers that it knows: tickets of attempts, and functions.

    :param functions: of the executor.
    :param store: of the executor.
    :param held: makes what stands for the value of a task, by the ticket of that.
    :param where: what takes tasks, for people.
    """

    def __init__(
        self, functions: Functions, store: Any, held: Callable[[int], Any] = Held, where: str = "a worker process"
    ) -> None:
        #: functions that will not come again
        self.forgotten: deque[int] = deque()
        #: of the last attempt that was handed over, of each task
        self.tickets: dict[int, int] = {}
        self._unfit = ""  # what of a task could not be pickled, where that is known
        self._functions = functions
        self._store = store
        self._sent: set[int] = set()
        self._numbers = count(1)
        self._stands_for = held
        self._where = where
        self._held: dict[int, Any] = {}  # of the task that is being packed
        self._takes_anything = True  # its containers
        functions.listeners.add(self)

    def packed(
        self,
        future: GraphFuture[Any],
        functions: dict[int, Any],
        known: dict[int, int | None],
    ) -> tuple[Any, ...]:
        """A task as it is sent: see ``messages.RUN``.

        :param functions: those that are sent with it are added.
        :param known: the numbers of functions that were looked up for this message.
        :raises TooEarlyError: if the values are needed here that it waits for.
        :raises BaseException: what pickling raises.
        """
        fn, args = future._fn, future._args
        rest: Any = future._rest
        kwargs: Any = None
        pending: list[tuple[int, Any]] = []
        if rest is not None:
            self._held = {}
            kwargs, plan, _ = (None, EACH, None) if rest is EACH else rest
            if plan is EACH or (plan is not None and _is_flat(plan) and not kwargs):
                values = list(args)
                for position, need in enumerate(args) if plan is EACH else plan[0]:
                    if need.state is DONE:
                        values[position] = self._store.own(need._outcome)
                    else:
                        values[position] = None
                        pending.append((position, need))
                args = values
            elif plan is not None:
                self._takes_anything = takes_anything(plan)
                args, kwargs = fill(args, kwargs or {}, plan, self._value_or_held, future)
        function: Any = known.get(id(fn), self)
        if function is self:
            self._unfit = "its function"
            function = known[id(fn)] = self._number_of(fn, functions)
            self._unfit = ""
        if function is not None and not kwargs:
            for value in args:
                if type(value) not in PLAIN:
                    break
            else:
                if pending:
                    holes = [(place, self.tickets.get(need.serial, 0)) for place, need in pending]
                    return next(self._numbers), function, tuple(args), holes
                return next(self._numbers), function, tuple(args)
        if pending:
            args = list(args)
            for position, need in pending:
                args[position] = self._held_for(need)
        try:
            pickled = self._functions.dumps((fn if function is None else function, tuple(args), kwargs or {}))
        except Exception:
            self._unfit = unfit(fn, args, kwargs, self._functions.dumps)
            raise
        if rest is not None and self._held:
            return next(self._numbers), None, pickled, [(0, held.ticket) for held in self._held.values()]
        return next(self._numbers), None, pickled

    def unsendable(self, future: GraphFuture[Any], number: int, error: BaseException, worker: int) -> Finished:
        """An attempt has ended, since packing it has raised this.

        :param worker: the number of the one that was to take it.
        """
        now = perf_counter()
        future._worker, future._started = worker, now
        error = error.with_traceback(None)
        with suppress(Exception):
            what = self._unfit or "its function or an argument"
            error.add_note(errors.cannot_be_sent(future.key, what, error, self._where))
        self._unfit = ""
        return on_terms((future, number, False, error, record_of(future, worker, now, now, good=False)))

    def packed_piece(self, piece: Piece, functions: dict[int, Any], most: int | None) -> tuple[Any, ...] | None:
        """A piece of a map as it is sent, None if no calls are left for it.

        :param most: how many calls it may have.
        """
        fn = piece.mapped.fn
        function = self._number_of(fn, functions) or self._functions.dumps(fn)
        calls = pieces.packed(piece, most, self._functions.dumps)
        return (next(self._numbers), function, calls, None, None) if calls else None

    def not_sent(self, functions: dict[int, Any]) -> None:
        """Take back functions that were to be sent with tasks of which none could be sent."""
        self._sent.difference_update(functions)

    def taken_forgotten(self) -> list[int]:
        """The functions that the worker may forget now."""
        found = []
        while self.forgotten:
            number = self.forgotten.popleft()
            if number in self._sent:
                self._sent.discard(number)
                found.append(number)
        return found

    def _value_or_held(self, source: Any) -> Any:
        need = source.future if isinstance(source, Allowed) else source  # which is needed without that as well
        if isinstance(need, GraphFuture):
            if need.state not in SETTLED:
                if not self._takes_anything:
                    raise TooEarlyError
                return self._held_for(need)
            if need is not source:
                need._ready_to_tell()  # it has failed if it cannot be read
            if need.state is DONE and self._takes_anything:
                return self._store.own(need._outcome)  # as it was sent, if it is not here
        return value_of(source)

    def _held_for(self, need: GraphFuture[Any]) -> Any:
        """What stands for a value that is not here yet; twice the same one is the same object."""
        return self._held.setdefault(need.serial, self._stands_for(self.tickets.get(need.serial, 0)))

    def _number_of(self, fn: Any, functions: dict[int, Any]) -> int | None:
        found = self._functions.find(fn)
        if found is None:
            return None
        if found.number not in self._sent:
            self._sent.add(found.number)
            functions[found.number] = found.pickled
        return found.number


def _is_flat(plan: Any) -> bool:
    """Whether futures stand among the arguments only, and none of them is marked."""
    return not plan[1] and all(isinstance(source, GraphFuture) and source.state in _USABLE for _, source in plan[0])

"""A piece of a map in the worker that runs it."""

from __future__ import annotations

import pickle
from collections import deque
from time import perf_counter
from typing import Any

from graphfutures.backends.processes.messages import BUDGET, PLAIN, RAISED, SIZED, raised
from graphfutures.backends.processes.owning import LARGE


class Run:
    """A piece that a worker runs: its main thread takes calls from the left, the watch from the right.

    :param ticket: of the piece.
    :param calls: what ``packed`` has made.
    """

    def __init__(self, ticket: int, calls: bytes | list[bytes]) -> None:
        self.ticket = ticket
        self.begin()
        self._calls: deque[Any] = deque(zip(*pickle.loads(calls), strict=True) if type(calls) is bytes else calls)
        #: that were not told: values of plain types as they are, of others how they are told and what of them, and
        #: ``(RAISED, exception)``
        self.outcomes: list[Any] = []

    def begin(self) -> None:
        """From now on it takes time."""
        self.start = perf_counter()

    def work(self, fn: Any, loads: Any, told: Any) -> None:
        """Call a function again and again, until the calls or the time are over.

        :param loads: reads what was pickled.
        :param told: how values are told that are not plain, see ``Running.told``.
        """
        following, ended = self._calls.popleft, self.outcomes.append
        end = self.start + BUDGET
        while True:
            try:
                args = following()
            except IndexError:
                return
            try:
                if type(args) is bytes:
                    args = loads(args)
                value = fn(*args)
                plain = type(value) in PLAIN and not (type(value) in SIZED and len(value) >= LARGE)
                ended(value if plain else told(value))
            except BaseException as error:
                trace = error.__traceback__
                ended((RAISED, raised(error.with_traceback(trace.tb_next if trace is not None else None))))
            if perf_counter() > end:
                return

    def fail(self, error: BaseException) -> None:
        """All calls fail with an error, that of their function."""
        self.outcomes += [(RAISED, raised(error))] * self.cut()

    def cut(self) -> int:
        """Run no more of it; how many calls are left, not counting those that another thread has taken out."""
        number = 0
        while True:
            try:
                self._calls.pop()
            except IndexError:
                return number
            number += 1

    def progress(self) -> tuple[list[Any], int]:
        """What has ended meanwhile, and how many calls are taken back since the present one takes long."""
        outcomes = self.outcomes[:]
        del self.outcomes[: len(outcomes)]
        return outcomes, self.cut() if perf_counter() - self.start > BUDGET else 0

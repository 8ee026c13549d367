"""How tasks have ended, as a worker tells it."""

from __future__ import annotations

from typing import Any

from graphfutures import errors
from graphfutures.away import value_here
from graphfutures.backends.base import Finished
from graphfutures.backends.processes import messages
from graphfutures.backends.processes.messages import GONE, LINKED, PICKLED, PUBLISHED, RAISED, VALUE
from graphfutures.backends.processes.store import Gone, Sent, Store
from graphfutures.futures import GraphFuture
from graphfutures.terms import AT_ONCE


class Reports:
    """Of one worker.

    :param store: where it publishes values, None if it does not.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        #: whether the worker keeps outcomes that it need not keep, and that are large perhaps
        self.large = False

    def read(self, how: int, told: Any) -> tuple[bool, Any]:
        """Whether a task has a value, and what stands for that, or its exception; from what was told."""
        if how == PICKLED:
            self.large = True
            return True, Sent(told)
        if how == VALUE:
            return True, told
        if how == PUBLISHED:
            assert self._store is not None, "it publishes values"
            return True, self._store.published(told)
        if how == GONE:
            return True, Gone()
        if how == LINKED:
            return _read_now(messages.read_back, told)
        return False, messages.error_of(told) if how == RAISED else AT_ONCE

    def outcome(self, future: GraphFuture[Any], how: int, told: Any) -> tuple[bool, Any]:
        """The same for a task; if somebody waits for it, or it may be tried again, what cannot be read is a failure."""
        good, outcome = self.read(how, told)
        if good and (future._watch is not None or future.terms is not None):
            good, value = _read_now(value_here, outcome)
            if not good or (future.terms is not None and future.terms.join):
                outcome = value
        if not good:
            errors.name_in_notes(outcome, future.key)
        return good, outcome

    def read_now(self, how: int, told: Any) -> tuple[bool, Any]:
        """The same, the value as an object."""
        good, outcome = self.read(how, told)
        return _read_now(value_here, outcome) if good else (good, outcome)


def let_go(facts: list[Finished]) -> None:
    """Facts have been told of: nothing here may keep a value alive."""
    while facts:
        if facts[-1][0]._settled:
            facts[-1][0]._forget_call()
        del facts[-1]


def _read_now(read: Any, what: Any) -> tuple[bool, Any]:
    try:
        return True, read(what)
    except BaseException as error:
        return False, error.with_traceback(None)

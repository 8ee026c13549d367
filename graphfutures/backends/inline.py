"""Tasks in the thread that submits them, for debugging."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures._base import LOGGER
from typing import Any

from graphfutures import errors
from graphfutures.backends.base import Capabilities, Exchange, Finished
from graphfutures.core.graph import Place
from graphfutures.running import here, run


class Inline:
    """Runs a task inside ``submit``; one that waits for a foreign future, where the last one settles.

    :param initializer: called before the first task, with ``initargs``.
    """

    capabilities = Capabilities(submits_run=True)
    max_workers = 1

    def __init__(self, initializer: Callable[..., object] | None = None, initargs: Any = ()) -> None:
        self._initializer = initializer
        self._initargs = initargs
        # Tasks may submit: each runs inside the other, so their number is not limited here.
        self._place = Place("inline", sys.maxsize)

    def start(self, hub: Exchange) -> None:
        """See ``Backend``."""
        self._hub = hub

    def wake(self) -> None:
        """See ``Backend``."""
        if self._hub.inside():
            return  # a finalizer, inside an exchange that will see to it
        initializer, self._initializer = self._initializer, None
        if initializer is not None:
            try:
                initializer(*self._initargs)
            except Exception:
                LOGGER.critical("Exception in initializer:", exc_info=True)
                self._hub.broke(errors.initializer_failed())
        facts: tuple[Finished, ...] = ()
        try:
            while batch := self._hub.exchange(self._place, facts, 1):
                outer, here.task = here.task, batch[0]
                facts = (run(batch[0], 0),)
                here.task = outer
                if not facts[0][2] and isinstance(facts[0][3], (KeyboardInterrupt, SystemExit)):
                    self._hub.exchange(self._place, facts, 0)
                    raise facts[0][3]
        finally:
            del facts  # the frames of a traceback lead to this one

    attend = wake

    def close(self) -> None:
        """See ``Backend``."""
        self._hub.apply()

    def join(self) -> None:
        """See ``Backend``."""
        self._hub.end()

    def forked(self) -> None:
        """See ``Backend``."""
        self._place = Place("inline", sys.maxsize)

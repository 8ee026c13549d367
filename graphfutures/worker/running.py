"""The task that a worker process runs, and what its loop has to know of tasks that wait.

What tasks may do beside that is in ``inside.py``, which is read when the first one does: a worker is to start quickly.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock
from collections import deque
from collections.abc import Sequence
from itertools import count
from threading import local
from typing import TYPE_CHECKING, Any

from graphfutures.backends.processes import files, messages
from graphfutures.backends.processes.files import Pickled
from graphfutures.backends.processes.messages import LINKED, PICKLED, PUBLISHED
from graphfutures.core.graph import Place

if TYPE_CHECKING:
    from graphfutures.worker.inside import Inside
    from graphfutures.worker.loop import Worker


#: the one of this process, if it is a worker
here_runs: list[Running] = []


class Telling(local):
    """Whether a thread pickles a value, in which futures may stand, and whether one does; the watch may do so, too."""

    begun = False
    linked = False


class Running:
    """What stands for the task of a worker where its own code asks for it.

    :param worker: that runs it.
    :param token: by which the executor is known.
    :param max_workers: of that executor.
    :param folders: for files, the first one in shared memory, if there is any.
    """

    place = Place("here", 1)
    special = False
    limit = None
    serial = -1

    def __init__(self, worker: Worker, token: str, max_workers: int, folders: Sequence[str]) -> None:
        self.token = token
        self.max_workers = max_workers
        #: the ticket of the task
        self.ticket = 0
        #: when it would have begun, had it not waited
        self.began = 0.0
        #: see ``Telling``
        self.telling = Telling()
        #: the wait in which nothing is to be run but what is said, 0 if there is none
        self.waiting = 0
        #: how many waits there are in which the main thread does not read
        self.lent_out = 0
        #: tasks to be run inside the present wait
        self.queue: deque[Any] = deque()
        #: the numbers of futures that nobody here has any more
        self.forgotten: deque[int] = deque()
        self._worker = worker
        self._folders = folders
        self._files = count()
        self._inside: Inside | None = None
        self._making = RLock()
        here_runs[:] = [self]

    def pickled(self, value: Any) -> Pickled:
        """A value as it is told, in which futures may stand.

        :raises Exception: what pickling raises.
        """
        telling = self.telling
        telling.begun, telling.linked = True, False
        try:
            found = Pickled(value, messages.dumped)
            if telling.linked:
                found.linked = True
                if found.buffers:
                    found.text, found.buffers = messages.dumped(value), []
            return found
        finally:
            telling.begun = False

    def told(self, value: Any) -> tuple[int, Any]:
        """How a value is told, and what of it.

        :param value: itself, or as it was pickled.
        :raises Exception: what pickling raises.
        :raises OSError: if there is no room for its file.
        """
        pickled = value if type(value) is Pickled else self.pickled(value)
        if not pickled.is_large:
            return LINKED if pickled.linked else PICKLED, pickled.text
        page = self._worker.page
        name, room = f"{os.getpid()}-{next(self._files)}", page.room() if page is not None else sys.maxsize
        return PUBLISHED, files.write_somewhere(self._folders, name, [*pickled.buffers, pickled.text], room)

    @property
    def _owner(self) -> Inside:
        """What it submits and waits through."""
        if self._inside is None:
            with self._making:
                if self._inside is None:
                    from graphfutures.worker.inside import Inside

                    self._inside = Inside(self._worker, self)
        return self._inside

    def __getattr__(self, name: str) -> Any:
        if name not in ("name", "key", "attempt"):
            raise AttributeError(name)
        return dict(zip(("name", "key", "attempt"), self._owner.ask("task", self.ticket), strict=True))[name]

    def done(self) -> bool:
        """Whether it has settled: whoever asks this is still running."""
        return False

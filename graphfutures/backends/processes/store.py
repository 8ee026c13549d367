"""The files of one executor: values too large for messages, in shared memory as long as there is room, else on disk.

Workers write them and this process alone removes them: as soon as nothing here stands for the value any more, when the
executor has ended, and, where a process could do neither, when the next one starts.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from tempfile import gettempdir, mkdtemp
from threading import Lock
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from graphfutures import errors
from graphfutures.away import Away
from graphfutures.backends.processes import messages
from graphfutures.backends.processes.files import MEMORY, Layout, Pickled, mapped, read, write_somewhere
from graphfutures.backends.processes.functions import Functions

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOGGER = logging.getLogger("graphfutures")
PREFIX: Final = "graphfutures-"
#: in each folder, locked by the process that the folder belongs to
LOCK: Final = "lock"


class Told(Away):
    """A value as messages tell it."""

    __slots__ = ()

    def told(self) -> tuple[int, Any]:
        """How it is told, and what of it."""
        raise NotImplementedError

    def __reduce__(self) -> Any:
        how, what = self.told()
        return messages.READERS[how], (what,)


class Sent(Told):
    """A value that has come in a message.

    :param text: its pickle.
    """

    __slots__ = ("_text",)

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self._text = text

    def read(self) -> Any:
        """See ``Away``."""
        return messages.read_back(self._text)

    def told(self) -> tuple[int, Any]:
        """See ``Told``."""
        return messages.PICKLED, self._text


class Published(Told):
    """A value in a file, which goes with this.

    :param layout: of the file.
    :param store: that the file belongs to.
    """

    __slots__ = ("_layout", "_memory", "_store")

    def __init__(self, layout: Layout, store: Store) -> None:
        super().__init__()
        self._layout = layout
        self._store = store
        self._memory: Any = None

    def read(self) -> Any:
        """See ``Away``."""
        memory = self._memory
        if memory is None:
            try:
                memory = mapped(self._layout)
            except OSError:
                memory = self._memory
                if memory is None:  # else the executor has ended meanwhile
                    raise
        return read(self._layout, messages.read_back, memory)

    def told(self) -> tuple[int, Any]:
        """See ``Told``."""
        return messages.PUBLISHED, self._layout

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._layout[1]

    def hold(self) -> None:
        """Map the file, which is about to go."""
        if not self.is_read:
            with suppress(OSError):
                self._memory = mapped(self._layout)

    def __del__(self) -> None:
        self._store.remove(self._layout)


class Gone(Away):
    """A value that was given to the one task that needed it, when nobody had a future of it any more."""

    __slots__ = ()

    def read(self) -> Any:
        """See ``Away``."""
        raise errors.value_gone()


class Put(Away):
    """A value of this process that is sent once to each worker: pickled, and published if it is large, for the first.

    :param value: itself, which is what it is here.
    :param store: for its file.
    """

    __slots__ = ("_sent", "_store")

    def __init__(self, value: Any, store: Store) -> None:
        super().__init__()
        self._value = value
        self._store = store
        self._sent: Away | None = None

    def __reduce__(self) -> Any:
        with self._store.putting:
            if self._sent is None:
                self._sent = self._store.sent(self._value)
        return self._sent.__reduce__()


class Store:
    """Where the values of one executor are, as long as they are not where they are needed.

    :param functions: pickles what is put.
    :param budget: bytes of shared memory at most, None for half of what is free.
    :param folder: for files, instead of the system's for temporary ones.
    :param noted: is told of what is published and dropped, and of how many bytes.
    """

    def __init__(
        self, functions: Functions, budget: int | None, folder: str | None, noted: Callable[[str, int, int], object]
    ) -> None:
        self._noted = noted
        self.putting = Lock()
        self._functions = functions
        self._budget = budget
        self._disk = folder
        self._folders: list[str] | None = None
        self._locks: list[int] = []  # descriptors, which are closed with this process
        self._sizes: dict[str, int] = {}
        self._changes: deque[int] = deque()  # of what is used in shared memory, which finalizers make as well
        self._used = 0
        self._alive: WeakSet[Published] = WeakSet()
        self._others: WeakKeyDictionary[Away, Put] = WeakKeyDictionary()  # what stands here for those of other stores
        self._numbers = count()
        self._process = os.getpid()
        self._opening = Lock()

    def folders(self) -> list[str]:
        """Where files may be: in shared memory first, if there is such a thing; made when they are asked for."""
        with self._opening:
            return self._folders if self._folders is not None else self._open()

    def _open(self) -> list[str]:
        from loky.backend import resource_tracker

        found = []
        for parent in dict.fromkeys([MEMORY, self._disk or gettempdir()]):
            if parent == MEMORY and not os.path.isdir(MEMORY):
                continue
            with suppress(OSError):
                _remove_what_was_left(parent)
            try:
                folder = mkdtemp(prefix=PREFIX, dir=parent)
            except OSError as error:
                LOGGER.warning("no value can be written into %s: %s", parent, error)
                continue
            if fcntl is not None:
                new = os.path.join(folder, "new")
                self._locks.append(os.open(new, os.O_CREAT | os.O_WRONLY, 0o600))
                fcntl.flock(self._locks[-1], fcntl.LOCK_EX)
                os.rename(new, os.path.join(folder, LOCK))  # not before it is locked
            resource_tracker.register(folder, "folder")
            found.append(folder)
        self._folders = found
        if self._budget is None:
            self._budget = shutil.disk_usage(found[0]).free // 2 if found else 0
        return found

    @property
    def has_any(self) -> bool:
        """Whether there are values in files."""
        return bool(self._sizes)

    @property
    def held(self) -> int:
        """Bytes in files."""
        return sum(tuple(self._sizes.values()))

    def room(self) -> int:
        """How many more bytes may go into shared memory."""
        with self._opening:
            while self._changes:
                self._used += self._changes.popleft()
            return max(0, (self._budget or 0) - self._used)

    def published(self, layout: Layout) -> Published:
        """What a worker has written."""
        self._sizes[layout[0]] = layout[1]
        if layout[0].startswith(MEMORY):
            self._changes.append(layout[1])
        found = Published(layout, self)
        self._alive.add(found)
        self._noted("published", -1, layout[1])
        return found

    def own(self, outcome: Any) -> Any:
        """What stands here for a value: one in a file of another executor has to outlive that.

        :raises BaseException: what reading it raises.
        """
        if type(outcome) not in (Published, Put) or outcome._store is self:
            return outcome
        found = self._others.get(outcome)
        return found if found is not None else self._others.setdefault(outcome, Put(outcome.get(), self))

    def sent(self, value: Any) -> Away:
        """A value of this process as workers get it.

        :raises Exception: what pickling raises.
        :raises OSError: if there is no room for it.
        """
        found = Pickled(value, self._functions.dumps)
        if not found.is_large:
            return Sent(found.text)
        name = f"{self._process}-{next(self._numbers)}"
        return self.published(write_somewhere(self.folders(), name, [*found.buffers, found.text], self.room()))

    def remove(self, layout: Layout) -> None:
        """A value is not needed any more; called by finalizers."""
        if self._sizes.pop(layout[0], None) is None or os.getpid() != self._process:
            return
        if layout[0].startswith(MEMORY):
            self._changes.append(-layout[1])
        with suppress(OSError):
            os.unlink(layout[0])
        self._noted("dropped", -1, layout[1])

    def died(self, process: int) -> None:
        """A worker is dead: remove what it has written and never told of."""
        for folder in self._folders or ():
            with suppress(OSError):
                for name in os.listdir(folder):
                    path = os.path.join(folder, name)
                    if name.startswith(f"{process}-") and path not in self._sizes:
                        os.unlink(path)

    def close(self) -> None:
        """The executor has ended: what somebody still has is mapped, and all files go."""
        with self._opening:
            folders, self._folders = self._folders, []
            if folders is None or os.getpid() != self._process:
                return
            from loky.backend import resource_tracker

            for value in tuple(self._alive):
                value.hold()
            self._sizes.clear()
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
                resource_tracker.unregister(folder, "folder")
            while self._locks:
                os.close(self._locks.pop())


def _remove_what_was_left(parent: str) -> None:
    """Remove the folders of processes that died before they could: whose lock nobody holds."""
    if fcntl is None:
        return
    for name in os.listdir(parent):
        folder = os.path.join(parent, name)
        if not name.startswith(PREFIX) or os.stat(folder).st_uid != os.getuid():
            continue
        try:
            with open(os.path.join(folder, LOCK), "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # it is in use, or about to be

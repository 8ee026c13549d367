"""What runs inside a worker process.

The main thread runs one task after the other, and reads what is to be done next when it has none.  A second one, the
watch, wakes up now and then while a task runs: it tells the outcomes of those before, and reads what was sent.

        pipe ──▸ queue ──▸ main thread ──▸ outcomes ──▸ pipe
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import sys
import threading
from collections import deque
from time import perf_counter, sleep
from types import ModuleType
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as _cloudpickle

from graphfutures.backends.processes import messages
from graphfutures.backends.processes.messages import (
    FREE,
    PICKLED,
    PIECE,
    PLAIN,
    RAISED,
    SKIPPED,
    VALUE,
    HeldElsewhereError,
    kept,
)
from graphfutures.backends.processes.pieces import Run
from graphfutures.backends.processes.waiting import Messages
from graphfutures.bells import Doorbell

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
    """

    def __init__(self, connection: Any, page: Page | None) -> None:
        self.connection = connection
        self._page = page
        self._there = Messages(connection)
        self._queue: deque[Any] = deque()
        self._functions: dict[int, Any] = {}
        self._namespace = Namespace()
        self._outcomes: list[tuple[int, int, Any, float, float]] = []
        self._returned: deque[list[int]] = deque()  # answers to those who want tasks back
        self._reported: deque[tuple[int, list[int]]] = deque()  # what was told in each report that may not be heard of
        self._reports = 0
        self._piece: Run | None = None  # that runs now
        self._busy = False
        self._watched = False
        self._reading = threading.RLock()
        self._sending = threading.Lock()
        self._hang_bell()

    def initialize(self, initializer: bytes | None, initargs: tuple[Any, ...]) -> bool:
        """Call the initializer; False if it has failed, which is told."""
        if initializer is not None:
            pickled, versions = pickle.loads(initializer)
            try:
                self._namespace.loads(pickled, versions)(*initargs)
            except BaseException as error:
                self._send((messages.BROKEN, messages.raised(error)))
                return False
        self._send((messages.READY, os.getpid()))
        return True

    def work(self) -> None:
        """The main thread's work, until it is told to leave."""
        queue, outcomes, since = self._queue, self._outcomes, perf_counter()
        page = self._page
        while True:
            try:
                task = queue.popleft()
            except IndexError:
                self.tell()
                self._busy = False
                self._listen()
                self._busy = True
                if not self._watched:
                    self._watched = True
                    self._ring()
                since = perf_counter()
                continue
            if task is None:
                self.tell()
                return
            if page is not None:
                page.started(task[0])
            if len(task) == 5:
                self._run_piece(*task)
            else:
                self._run(task)
            if page is not None:
                page.finished(task[0])
            now = outcomes[-1][4] if outcomes else since
            if now - since > SOON / 2 or len(outcomes) >= MANY or len(task) == 5:
                self.tell()
                since = now

    def watch(self) -> None:
        """The watch's work."""
        there = Messages(self.connection)  # of its own, since two threads cannot ask one at the same time
        while True:
            if not self._busy:
                self._watched = False
                if not self._busy:
                    self._bell.acquire()
            for _ in range(PATIENCE):
                sleep(SOON)
                if self._busy:
                    break
            # It must not wait for the other thread, which may wait for the attendant to read, and that for us to.
            self.tell(wait=False)
            if self._busy and self._reading.acquire(False):
                try:
                    while there.found(0):
                        self._hear()
                finally:
                    self._reading.release()
                if self._returned:
                    self.tell(wait=False)

    def _listen(self) -> None:
        """Wait for something to do."""
        with self._reading:
            while not self._queue:
                if self._returned:
                    self.tell()
                self._hear()

    def _hear(self) -> None:
        try:
            word, *what = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)  # nobody is left to work for
        if word == messages.RUN:
            self._run_these(*what)
        elif word == messages.RETURN:
            self._give_back(*what)
        else:
            self._queue.append(None)

    def _run_these(self, heard: int, functions: Any, forgotten: Any, versions: Any, tasks: list[Any]) -> None:
        while self._reported and self._reported[0][0] <= heard:
            for ticket in self._reported.popleft()[1]:
                kept.pop(ticket, None)
        if versions:
            self._namespace.latest.update(versions)
        for number in forgotten:
            self._functions.pop(number, None)
        self._functions.update(functions)
        self._queue.extend(tasks)

    def _give_back(self, number: int) -> None:
        """Give back tasks that have not been started, the last ones, less those that need one before them."""
        back: list[int] = []
        others: list[Any] = []
        while len(back) < number:
            try:
                task = self._queue.pop()
            except IndexError:
                break
            if task is not None and len(task) in FREE:
                back.append(task[0])
            else:
                others.append(task)
        self._queue.extend(reversed(others))
        self._returned.append(back)

    def _run(self, task: Any) -> None:
        how, outcome = SKIPPED, None
        start = perf_counter()
        try:
            if len(task) == 2:
                fn, args, kwargs = self._namespace.loads(task[1], None)
                value = fn(*args, **kwargs)
            else:
                fn = self._function(task[1])
                args = task[2]
                if len(task) == 4:
                    args = list(args)
                    for position, ticket in task[3]:
                        args[position] = messages.held(ticket)
                value = fn(*args)
            stop = perf_counter()
            how = VALUE
            if type(value) in PLAIN:
                outcome = value
            else:
                outcome = cloudpickle.dumps(value)
                how = PICKLED
        except HeldElsewhereError:
            stop = perf_counter()
        except BaseException as error:
            stop = perf_counter()
            trace = error.__traceback__
            how, outcome = RAISED, messages.raised(error.with_traceback(trace.tb_next if trace is not None else None))
        kept[task[0]] = how, outcome
        self._outcomes.append((task[0], how, outcome, start, stop))

    def _run_piece(self, ticket: int, function: Any, calls: Any, *_: None) -> None:
        run = Run(ticket, calls)
        try:
            fn = self._function(function) if type(function) is int else self._namespace.loads(function, None)
        except BaseException as error:
            run.fail(error)
        else:
            run.begin()
            self._piece = run  # not before, so that the time that it has is for the calls
            run.work(fn, self._namespace.loads)
            self._piece = None  # before its outcomes are to be told, so that none is told twice
        self._outcomes.append((ticket, PIECE, (run.outcomes, run.cut()), run.start, perf_counter()))

    def _function(self, number: int) -> Any:
        fn = self._functions[number]
        if type(fn) is tuple:
            fn = self._functions[number] = self._namespace.loads(*fn)
        return fn

    def tell(self, *, wait: bool = True) -> None:
        """Report what has ended, and what is given back.

        :param wait: False if it is not to be done while another thread does it.
        """
        if not (self._outcomes or self._returned or self._piece) or not self._may_send(wait):
            return
        try:
            run = self._piece  # if it ends now its outcomes are told by others, who wait for us
            while self._returned:
                self.connection.send_bytes(pickle.dumps((messages.RETURNED, self._returned.popleft())))
            if run is not None and any(progress := run.progress()):
                self.connection.send_bytes(pickle.dumps((messages.PROGRESS, run.ticket, *progress)))
            outcomes = self._outcomes[:]
            if outcomes:
                del self._outcomes[: len(outcomes)]
                self._reports += 1
                self._reported.append((self._reports, [outcome[0] for outcome in outcomes]))
                self.connection.send_bytes(pickle.dumps((messages.REPORT, self._reports, outcomes)))
        except OSError:
            os._exit(1)
        finally:
            self._sending.release()

    def _may_send(self, wait: bool) -> bool:
        if not wait:
            return self._sending.acquire(False)
        while not self._sending.acquire(timeout=SOON):
            # The watch may wait in it for the attendant to read, and that one, who sends as well, for us to.
            with self._reading:
                while self._there.found(0):
                    self._hear()
        return True

    def _send(self, message: Any) -> None:
        with self._sending:
            self.connection.send_bytes(pickle.dumps(message))


class Namespace:
    """The one ``__main__`` of a worker, which the initializer and all functions of the user's ``__main__`` share.

    A name is bound to what its value is there when it comes for the first time, and again when it was bound to
    something else there; what tasks have bound here meanwhile stays.
    """

    def __init__(self) -> None:
        self._old = sys.modules["__main__"]  # whose code still runs
        self._main = sys.modules["__main__"] = ModuleType("__main__")
        self._names = vars(self._main)
        self._bound: dict[str, int] = {}
        self.latest: dict[str, int] = {}

    def loads(self, pickled: bytes, versions: dict[str, int] | None) -> Any:
        """What was pickled, its functions of ``__main__`` with the globals of this one."""
        import io

        if versions:
            self.latest.update(versions)
        unpickler = _Unpickler(io.BytesIO(pickled))
        unpickler.hooks = {"_make_function": self._made, "_function_setstate": self._set}
        return unpickler.load()

    def _made(self, code: Any, names: dict[str, Any], *rest: Any) -> Any:
        if names.get("__name__") == "__main__":
            names = self._names
        return _cloudpickle._make_function(code, names, *rest)

    def _set(self, function: Any, state: Any) -> None:
        if function.__globals__ is self._names:
            attributes, slots = state
            fresh = {name: value for name, value in slots["__globals__"].items() if self._is_new(name)}
            state = attributes, {**slots, "__globals__": fresh}
        _cloudpickle._function_setstate(function, state)

    def _is_new(self, name: str) -> bool:
        version = self.latest.get(name, 0)
        if self._bound.get(name, -1) >= version:
            return False
        self._bound[name] = version
        return True


class _Unpickler(pickle.Unpickler):
    hooks: dict[str, Any]

    def find_class(self, module: str, name: str) -> Any:
        if module == _cloudpickle.__name__ and name in self.hooks:
            return self.hooks[name]
        return super().find_class(module, name)


class Page:
    """Memory that a worker shares with its attendant: which task it runs, and which it has finished last.

    It can be read while the worker's C code holds its GIL, and after its death.

    :param descriptor: of a file of at least ``SIZE`` bytes.
    """

    SIZE = 16

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, self.SIZE)
        self._cells = memoryview(self._map).cast("Q")

    def started(self, ticket: int) -> None:
        """A task begins."""
        self._cells[0] = ticket

    def finished(self, ticket: int) -> None:
        """Its attempt has returned."""
        self._cells[1] = ticket
        self._cells[0] = 0

    def running(self) -> int:
        """The number of the task that runs, 0 if none does."""
        return self._cells[0]

    def last(self) -> int:
        """The number of the task that was finished last, 0 if none was."""
        return self._cells[1]


def main(connection: Any, page: Any, initializer: bytes | None, initargs: tuple[Any, ...]) -> None:
    """Serve an attendant; called in the main thread of a new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    worker = Worker(connection, Page(page.detach()) if page is not None else None)
    if not worker.initialize(initializer, initargs):
        return
    threading.Thread(target=worker.watch, name="watch", daemon=True).start()
    worker.work()

"""The ``processes`` backend: worker processes started through loky, each served by a thread of this process.

Every worker is a *place* that runs what it is handed in order, so that a batch may hold tasks together with the inputs
that they wait for.  What a worker was handed and has not started it gives back when another one is idle.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import weakref
from _thread import RLock
from collections.abc import Callable, Iterator
from concurrent.futures._base import LOGGER as STDLIB_LOGGER
from contextlib import contextmanager
from itertools import count
from multiprocessing import resource_tracker
from time import sleep
from typing import Any
from uuid import uuid4

from graphfutures import config, errors
from graphfutures.backends.base import Capabilities, Exchange, Finished
from graphfutures.backends.processes.attendant import Attendant
from graphfutures.backends.processes.functions import Functions
from graphfutures.backends.processes.pieces import crashed
from graphfutures.backends.processes.store import Put, Store
from graphfutures.backends.ringing import Serving
from graphfutures.bells import Thread
from graphfutures.core.states import RUNNING
from graphfutures.crashes import worker_crashed
from graphfutures.errors import timed_out
from graphfutures.pieces import Piece
from graphfutures.running import on_terms, record_of

LOGGER = logging.getLogger("graphfutures")
#: further attempts of a task whose worker has died, unless the task says otherwise
CRASH_RETRIES = 3
#: how many workers in a row may die before they have run anything; those that are killed are none of our faults
STILLBORN = 3
KILLED = 30
#: what libraries of C and Fortran read to know how many threads to start
_THREADS_OF_LIBRARIES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

_pools: weakref.WeakSet[Processes] = weakref.WeakSet()


class Processes(Serving):
    """Worker processes, started as they are needed.

    :param max_workers: how many at most.
    :param name: of the processes, before a number.
    :param initializer: called first in each of them, with ``initargs``.
    :param max_tasks: after how many tasks each of them is replaced, None for never.
    :param max_shared_bytes: that values may take of shared memory, None for half of what is free.
    """

    capabilities = Capabilities(shares_memory=False, kills=True, batches=True, maps=True)
    lane = ""

    def __init__(
        self,
        max_workers: int,
        name: str,
        initializer: Callable[..., object] | None = None,
        initargs: Any = (),
        max_tasks: int | None = None,
        max_shared_bytes: int | None = None,
    ) -> None:
        from loky import cpu_count

        self.max_workers = max_workers
        self.name = name
        self.initargs = initargs
        self.max_tasks = max_tasks
        self._max_shared_bytes = max_shared_bytes
        each = str(max(1, cpu_count() // max_workers))
        self.environment = {name: each for name in _THREADS_OF_LIBRARIES if name not in os.environ}
        self._initializer = initializer
        self._begin()

    def _begin(self) -> None:
        self.functions = Functions()
        self.store = Store(self.functions, self._max_shared_bytes, config.temp_dir(), self._note)
        #: by which it is known when it is pickled
        self.token = uuid4().hex
        self.attendants: dict[Attendant, threading.Thread] = {}
        #: those that wait for something to do, or are about to, with a mark if somebody has rung for them since
        self.idle: dict[Attendant, list[bool]] = {}
        self._lent: set[Attendant] = set()  # whose task waits, and that have no slot meanwhile
        self._resuming: list[Attendant] = []  # whose task goes on as soon as there is a slot
        self._staffing = RLock()
        self._numbers = count()
        self._stillborn = 0
        #: how many have died by themselves
        self.deaths = 0
        self._stranded = False  # whether there is work, and no thread could be started for it
        self._over: Exception | None = None  # why no worker is of any use
        #: whether nobody waits for anything any more
        self.halted = False
        _pools.add(self)

    def _note(self, what: str, worker: int, size: int) -> None:
        hub = self._reference()
        if hub is not None:  # else the executor is gone, before its values
            hub.noted(what, worker, size)

    def initializer(self) -> bytes | None:
        """The initializer as a worker reads it."""
        if self._initializer is None:
            return None
        found = self.functions.find(self._initializer)
        if found is None:
            return self.functions.dumps(self._initializer)
        return found.pickled

    # -- for the hub --------------------------------------------------------------------------

    def hold(self, value: Any) -> Put:
        """What stands for a value that was put."""
        return Put(value, self.store)

    def wake(self) -> None:
        """See ``Backend``."""
        if self.idle and self.wake_idle():
            return
        if len(self.attendants) < self.max_workers + len(self._lent):
            self._spawn()

    nudge = wake

    def wake_idle(self) -> bool:
        """Have an idle worker look for work; False if there is none."""
        try:
            last = next(reversed(self.idle.copy()))
        except StopIteration:
            return False
        self.ring_idle(last)
        return True

    def ring_idle(self, attendant: Attendant) -> None:
        """Have a certain worker look for work, if it still is idle."""
        rung = self.idle.get(attendant)
        if rung is not None and not rung:  # else it will look, and wake another one if there is more than it takes
            attendant.ring()
            rung.append(True)  # not before: this thread may be interrupted

    def has_idle(self) -> bool:
        """Whether a worker is idle."""
        return bool(self.idle)

    def wake_another(self) -> None:
        """One worker has found work: there may be some for another one."""
        if self._hub.has_ready():
            self.wake()

    def attend(self) -> None:
        """See ``Backend``: attendants are never busy for long, but only look when they are rung for."""
        if self.attendants:
            self.ring_all()
        else:
            self._have_applied()

    def close(self) -> None:
        """See ``Backend``."""
        self.attend()
        self._close_store()

    def ring_all(self) -> None:
        """Have every attendant look, whether it waits or not."""
        for attendant in tuple(self.attendants):
            attendant.ring()

    def join(self) -> None:
        """See ``Backend``."""
        if not self.attendants:
            self._hub.end()
        while True:
            others = [one for one in tuple(self.attendants.values()) if one is not threading.current_thread()]
            if not others:
                self._close_store()
                return
            for thread in others:
                try:
                    thread.join()
                except RuntimeError:  # somebody is about to start it
                    sleep(0)

    def _close_store(self) -> None:
        if self._hub.ended and not self.attendants:
            self.store.close()

    def help(self) -> bool:
        """See ``Backend``: where no thread can be started, no worker can be served."""
        if self.attendants or not self._stranded:
            return False
        self._stranded = False
        self._hub.broke(errors.no_attendant())
        return True

    def forked(self) -> None:
        """See ``Backend``: the workers are those of another process."""
        self._begin()

    # -- attendants ---------------------------------------------------------------------------

    def _spawn(self) -> None:
        with self._staffing:
            if self.halted or len(self.attendants) >= (1 if self._over else self.max_workers + len(self._lent)):
                return
            attendant = Attendant(self, next(self._numbers))
            thread = Thread(self._serve, (attendant,), name=f"{self.name}_{attendant.number}")
            self.attendants[attendant] = thread
        try:
            thread.start()
        except BaseException as error:
            if not thread.is_alive():
                self.attendants.pop(attendant, None)
            if not isinstance(error, RuntimeError):
                raise
            self._stranded = True
            self._hub.stranded()
            if not self.attendants and self._hub.accepts():
                raise errors.NoThreadError(str(error)) from None

    def _serve(self, attendant: Attendant) -> None:
        hub = self._reference()
        if hub is None:
            self.attendants.pop(attendant, None)
            return
        try:
            if self._over:  # something has come back since, and nobody else is here
                self.give_up(self._over)
                attendant.ended = hub.exchange(attendant.place, (), 0) is None
            else:
                attendant.serve(hub)
        except BaseException as error:
            LOGGER.exception("the attendant of %s_%d has failed", self.name, attendant.number)
            hub.lost(attendant.place)
            self.give_up(errors.internal_failure(error))
            raise
        finally:
            self.attendants.pop(attendant, None)
            self._close_store()
        # They may have rung for it while it was about to leave.
        if not attendant.ended and (hub.has_ready() or hub.has_posts()):
            self.wake()

    # -- slots: one more worker than these may be there for each that waits and has lent its own ----

    def has_slot(self, attendant: Attendant) -> bool:
        """Whether a worker has a slot, or could have one, for something new."""
        return not self._resuming and (attendant.has_slot or self._used() < self.max_workers)

    def take_slot(self, attendant: Attendant, *, forced: bool = False, first: bool = False) -> bool:
        """Whether a worker has a slot from now on.

        :param forced: whether it needs none to be free.
        :param first: whether it is to have one before those that only want something to do.
        """
        if attendant.has_slot and not (self._resuming and not first):
            return True
        with self._staffing:
            if attendant.has_slot:
                return False  # somebody waits to go on: it is to become idle
            if not forced:
                if first and attendant not in self._resuming:
                    self._resuming.append(attendant)
                free = self._used() < self.max_workers
                if not free or (self._resuming and self._resuming[0] is not attendant):
                    return False
            if attendant in self._resuming:
                self._resuming.remove(attendant)
            self._lent.discard(attendant)
            attendant.has_slot = True
            return True

    def leave_slot(self, attendant: Attendant) -> None:
        """A worker has nothing to do, or its task waits."""
        with self._staffing:
            if not attendant.has_slot:
                return
            attendant.has_slot = False
            if attendant.nested.waits:
                self._lent.add(attendant)
            following = self._resuming[0] if self._resuming else None
        if following is not None:
            following.ring()
        elif attendant.nested.waits and self._hub.has_ready():
            self.wake()

    @property
    def is_awaited(self) -> bool:
        """Whether a task has ended its wait, and needs a slot."""
        return bool(self._resuming)

    def _used(self) -> int:
        return sum(attendant.has_slot for attendant in tuple(self.attendants))

    def stop(self, future: Any, number: int) -> None:
        """See ``Capabilities.kills``."""
        for attendant in tuple(self.attendants):
            if attendant.place is future.place:
                attendant.stopping.unwanted.append((future, number))
                attendant.ring()

    def relieve(self, idle: Attendant) -> bool:
        """Nothing is ready for a worker: have another one give back half of what it has not started.

        :return: whether there is any that has more than it does now.
        """
        others = [
            other
            for other in tuple(self.attendants)
            if other is not idle and len(other.hand) > 1 and not other.nested.waits
        ]
        most = max(others, key=Attendant.could_give, default=None)
        if most is not None and (number := most.could_give()):
            most.ask_back((number + 1) // 2)
        return bool(others)

    def may_leave(self, idle: Attendant) -> bool:
        """Whether an idle worker may leave."""
        with self._staffing:
            return self.attendants.pop(idle, None) is not None

    def initializer_failed(self, error: BaseException) -> None:
        """The initializer has raised in a worker."""
        STDLIB_LOGGER.critical("Exception in initializer:", exc_info=error)
        self.give_up(errors.initializer_failed(error))

    def give_up(self, error: Exception) -> None:
        """No worker will be of any use."""
        self._over = self._over or error
        self._hub.broke(error)

    def died(self, attendant: Attendant, hub: Exchange, code: int | None) -> None:
        """A worker has died, with all that it was handed."""
        self.attendants.pop(attendant, None)
        if self.halted:
            return
        self.deaths += not attendant.stopped
        hub.noted("worker died", attendant.number)
        blamed = {attendant.running, *attendant.nested.tickets()}
        attendant.nested.end(hub)
        self.leave_slot(attendant)
        with self._staffing:
            self._lent.discard(attendant)
            if attendant in self._resuming:
                self._resuming.remove(attendant)
        for following in self._resuming[:1]:
            following.ring()
        self._stillborn = 0 if attendant.reported or attendant.hand else self._stillborn + 1
        if attendant.process is not None:
            self.store.died(attendant.process.pid)
        facts: list[Finished] = []
        for ticket, future, number in attendant.started():
            if ticket == attendant.stopped:
                if future.state is RUNNING:  # else it is cancelled
                    record = record_of(future, attendant.number, future._started, good=False)
                    late = timed_out(future.key, future.terms.timeout, stopped=True)
                    facts.append(on_terms((future, number, False, late, record)))
                continue
            if (attendant.stopped or ticket not in blamed) and future.crash_retries != 0:
                if attendant.stopped:
                    LOGGER.warning("%s runs again: its worker process was stopped", future.key)
                continue  # it had ended, and its outcome was not told yet
            if isinstance(future, Piece):
                record = record_of(future, attendant.number, future._started, good=False)
                crashed(future, CRASH_RETRIES, code)
                facts.append((future, number, True, None, record))
                continue
            future.crashes = crashes = future.crashes + 1
            most = CRASH_RETRIES if future.crash_retries is None else future.crash_retries
            if crashes > most:
                record = record_of(future, attendant.number, future._started, good=False)
                error = worker_crashed(future.key, code, crashes)
                facts.append((future, number, False, error, record))
            else:
                LOGGER.warning("%s runs again: %s", future.key, errors.how_it_died(code))
        killed = code in (-signal.SIGKILL, -signal.SIGTERM) if hasattr(signal, "SIGKILL") else False
        if self._stillborn >= (KILLED if killed else STILLBORN):
            self.give_up(errors.workers_die(code))
        hub.exchange(attendant.place, facts, 0)
        hub.lost(attendant.place)

    def halt(self) -> None:
        """Stop all workers, since the process ends and nobody waits for them."""
        self.halted = True
        for attendant in tuple(self.attendants):
            attendant.kill()

    # -- starting a process -------------------------------------------------------------------

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Keep Ctrl-C from a process that is just being started."""
        if not hasattr(signal, "pthread_sigmask"):
            yield
            return
        resource_tracker.ensure_running()  # now: to start it lets Ctrl-C in again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _halt_all() -> None:
    """Ctrl-C has ended the wait for what is pending, and multiprocessing is about to wait for all processes."""
    for pool in tuple(_pools):
        pool.halt()


atexit.register(_halt_all)  # after multiprocessing, whose own is called after this one therefore

"""A worker process as this process sees it: the thread that starts it, talks to it, and buries it."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from tempfile import TemporaryFile
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import cloudpickle

from graphfutures import errors
from graphfutures.backends.base import Exchange, Finished
from graphfutures.backends.processes import messages, pieces
from graphfutures.backends.processes.messages import FREE, PICKLED, PLAIN, RAISED, VALUE, Held
from graphfutures.backends.processes.waiting import Waiting
from graphfutures.calls import EACH, Allowed, fill
from graphfutures.core.graph import Place
from graphfutures.core.states import DONE, SETTLED
from graphfutures.current import here
from graphfutures.futures import GraphFuture
from graphfutures.pieces import Piece
from graphfutures.running import on_terms, record_of, value_of
from graphfutures.terms import AT_ONCE

if TYPE_CHECKING:
    from graphfutures.backends.processes.pool import Processes

#: how many tasks a worker is handed at most
MOST = 2048
#: seconds of work that it is handed
AHEAD = 0.02
#: seconds after which an idle one looks whether another one has more than it can do
LOOK = 0.005
#: seconds of work that it is worth to give to another one
WORTH = 0.002
#: seconds after which an idle worker leaves
IDLE = 60.0
#: seconds that a worker has to leave
GRACE = 5.0


class Attendant:
    """Serves one worker process; its thread is the only one that makes exchanges for it.

    :param pool: the backend.
    :param number: of the worker.
    """

    def __init__(self, pool: Processes, number: int) -> None:
        self.number = number
        self.place = Place(f"process {number}", MOST, sequential=True, lends=False, hosts=False, lane=pool.lane)
        #: functions that will not come again
        self.forgotten: deque[int] = deque()
        #: what was handed over and has not been heard of, by tickets, in order: the task, which of its attempts, and
        #: whether it may be given back
        self.hand: dict[int, tuple[GraphFuture[Any], int, bool]] = {}
        self.idle = False
        #: whether it has heard of the end of the graph
        self.ended = False
        self.process: Any = None
        self._pool = pool
        self._connection: Any = None
        self._page: Any = None
        self._waiting: Waiting | None = None
        self._sending = threading.Lock()
        self._sent: set[int] = set()
        self._numbers = count(1)  # for tickets
        self._tickets: dict[int, int] = {}  # of the last attempt that was handed over, of each task
        self._heard = 0  # number of the last report
        self.reported = 0  # how many tasks were
        self._seconds = 0.0  # what a task takes, as far as is known
        self._message = False  # whether there is one to be read
        self._since = monotonic()  # it was heard of, or handed something
        self._left = pool.max_tasks  # how many tasks it may still be handed, None for any number
        self._large = False  # whether it keeps outcomes that it need not keep, and that are large perhaps
        self._asked = False  # whether it was asked to give tasks back
        pool.functions.listeners.add(self)

    # -- for others ---------------------------------------------------------------------------

    def ring(self) -> None:
        """Have the thread look."""
        if self._waiting is not None:
            self._waiting.ring()

    @property
    def running(self) -> int:
        """The number of the task that the worker runs, or ran when it died; 0 if it runs none."""
        if self._page is None:
            return next(iter(self.hand), 0)
        return self._page.running()  # type: ignore[no-any-return]

    def started(self) -> list[tuple[int, GraphFuture[Any], int]]:
        """What the worker had started, in order: all that it has ended without telling, and what it ran."""
        last = self.running or (self._page.last() if self._page is not None else 0)
        found = []
        if last in self.hand:
            for ticket, (future, number, _) in self.hand.items():
                found.append((ticket, future, number))
                if ticket == last:
                    break
        return found

    def kill(self) -> None:
        """Stop the worker, whatever it does."""
        process = self.process
        if process is not None and process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    def could_give(self) -> int:
        """How many of its tasks another worker might take, as far as is known."""
        hand = tuple(self.hand.values())
        if self._asked or len(hand) < 2:
            return 0
        if len(hand) * self._seconds < WORTH and monotonic() - self._since < LOOK:
            return 0
        return sum(free for _, _, free in hand[1:])

    def ask_back(self, number: int) -> None:
        """Ask the worker to give back so many of the tasks that it has not started."""
        self._asked = True
        with suppress(OSError, ValueError):
            self._send((messages.RETURN, number))

    # -- its thread ---------------------------------------------------------------------------

    def serve(self, hub: Exchange) -> None:
        """Start the worker, and work until the graph has ended or the worker is of no use any more."""
        here.ours = True
        try:
            try:
                self._start()
            except OSError:
                raise
            except Exception as error:
                self._pool.give_up(errors.initializer_cannot_be_sent(error))
                return
            if not self._greeted(hub):
                return
            while self._turn(hub):
                pass
        except (EOFError, OSError, pickle.PickleError):
            self._bury(hub)
        finally:
            self._close()

    def _start(self) -> None:
        from loky.backend import get_context

        context: Any = get_context("loky")
        mine, its = context.Pipe(duplex=True)
        self._connection = mine
        if os.name == "posix":
            from graphfutures.backends.processes.worker import Page

            with TemporaryFile() as file:
                file.truncate(Page.SIZE)
                self._page = Page(file.fileno())
                self.process = self._made(context, its, file)
        else:
            self.process = self._made(context, its, None)
        its.close()
        self._waiting = Waiting(mine, self.process)

    def _made(self, context: Any, connection: Any, page: Any) -> Any:
        from graphfutures.backends.processes.launch import Launched

        pool = self._pool
        process = context.Process(
            target=pool.target,
            args=(connection, None if page is None else Launched(page.fileno()), pool.initializer(), pool.initargs),
            name=f"{pool.name}_{self.number}",
            env=pool.environment,
        )
        with pool.quiet():
            process.start()
        return process

    def _greeted(self, hub: Exchange) -> bool:
        """Wait until the worker is ready; False if it is of no use, or is not needed any more."""
        waiting = self._waiting
        assert waiting is not None, "it has been started"
        while hub.exchange(self.place, (), 0) is not None:
            if waiting.wait(None):
                word, what = pickle.loads(self._connection.recv_bytes())
                if word == messages.READY:
                    return True
                self._pool.initializer_failed(messages.error_of(what))
                return False
            if waiting.dead:
                raise EOFError
        self.ended = True
        if self._pool.initializer() is None:
            self.kill()  # it has not done anything yet
        else:
            self._leave()
        return False

    def _turn(self, hub: Exchange) -> bool:
        """Hear what has ended, and hand over what is next; False at the end."""
        facts, returned = self._heard_of()
        want = self._room()
        batch = hub.exchange(self.place, facts, want)
        for fact in facts:
            if fact[0]._settled:
                fact[0]._forget_call()
        del facts
        for future, number in returned:
            hub.revoked(future, number, self.place)
        if returned:
            self._pool.wake_idle()
        if batch is None:
            self.ended = True
            self._pool.ring_all()
            return not self._leave()
        if batch:
            self._pool.wake_another()
            self._hand_over(hub, batch)
            return True
        return self._sleep(hub)

    def _sleep(self, hub: Exchange) -> bool:
        """Wait for something to do; False when the worker is to leave."""
        self.idle = not self.hand
        waiting = self._waiting
        assert waiting is not None, "it has been started"
        try:
            if self._room() and (hub.has_posts() or hub.has_ready()):
                return True
            if self.hand:
                self._message = waiting.wait(LOOK if len(self.hand) > 1 else None)
                if not self._message and self.could_give():
                    self._pool.wake_idle()  # who looked when there was nothing to be had
                return True
            if self._left == 0:
                return not (self._pool.may_leave(self) and self._leave())
            if self._large:
                self._large = False
                self._send((messages.RUN, self._heard, {}, [], {}, []))
            busy = self._pool.relieve(self)
            since = monotonic()
            self._message = waiting.wait(LOOK if busy else IDLE)
            quiet = not (busy or self._message or waiting.dead) and monotonic() - since >= IDLE
            return not (quiet and self._pool.may_leave(self) and self._leave())
        finally:
            self.idle = False

    def _room(self) -> int:
        """How many tasks to ask for."""
        held = len(self.hand)
        most = min(MOST, int(AHEAD / self._seconds)) if self._seconds else 1
        most = max(1, most)
        if pieces.are_enough([future for future, _, _ in tuple(self.hand.values())], self._pool.has_idle()):
            return 0
        room = most - held if held <= most // 2 else 0
        return room if self._left is None else min(room, self._left)

    # -- hearing ------------------------------------------------------------------------------

    def _heard_of(self) -> tuple[list[Finished], list[tuple[GraphFuture[Any], int]]]:
        facts: list[Finished] = []
        returned: list[tuple[GraphFuture[Any], int]] = []
        waiting = self._waiting
        assert waiting is not None, "it has been started"
        self._message = self._message or waiting.wait(0)
        while self._message:
            word, *what = pickle.loads(self._connection.recv_bytes())
            self._message = waiting.wait(0)
            if word == messages.REPORT:
                self._heard = what[0]
                self._take_report(what[1], facts)
            elif word == messages.RETURNED:
                self._asked = False
                if self._left is not None:
                    self._left += len(what[0])
                for ticket in what[0]:
                    future, number = self._taken_from_hand(ticket)
                    returned.append((future, number))
            elif word == messages.PROGRESS:
                pieces.take_progress(self.hand[what[0]][0], *what[1:])
        if waiting.dead and not facts:
            raise EOFError
        return facts, returned

    def _taken_from_hand(self, ticket: int) -> tuple[GraphFuture[Any], int]:
        future, number, _ = self.hand.pop(ticket)
        if self._tickets.get(future.serial) == ticket:
            del self._tickets[future.serial]
        return future, number

    def _take_report(self, outcomes: list[Any], facts: list[Finished]) -> None:
        self._since = monotonic()
        now = perf_counter()
        worker = self.number
        self.reported += len(outcomes)
        spent = 0.0
        for ticket, how, told, began, ended in outcomes:
            future, number = self._taken_from_hand(ticket)
            if isinstance(future, Piece):
                pieces.take(future, *told)
                future.mapped.learn(future, ended - began)
                good, outcome = True, None
            else:
                good, outcome = (True, told) if how == VALUE else self._read(how, told)
            if began <= ended <= now:
                start, stop = began, ended
            else:  # another clock
                start, stop = now - (ended - began), now
            spent += stop - start
            future._worker, future._started = worker, start
            record = record_of(future, worker, start, stop, good=good)
            fact = future, number, good, outcome, False, record
            facts.append(fact if outcome is AT_ONCE else on_terms(fact))
        each = max(spent / len(outcomes), 1e-6)
        self._seconds = each if not self._seconds or each > self._seconds else (self._seconds + each) / 2

    def _read(self, how: int, told: Any) -> tuple[bool, Any]:
        """Whether a task has a value, and that or its exception, from what was told."""
        if how == PICKLED:
            self._large = True
            try:
                return True, pickle.loads(told)
            except BaseException as error:
                return False, error.with_traceback(None)
        return False, messages.error_of(told) if how == RAISED else AT_ONCE

    # -- handing over -------------------------------------------------------------------------

    def _hand_over(self, hub: Exchange, batch: Sequence[GraphFuture[Any]]) -> None:
        functions: dict[int, Any] = {}
        versions: dict[str, int] = {}
        known: dict[int, int | None] = {}
        tasks: list[Any] = []
        failed: list[Finished] = []
        now = perf_counter()
        for future in batch:
            number = future.attempt
            try:
                task = self._packed(future, functions, versions, known)
            except BaseException as error:
                failed.append(self._unsendable(future, number, error))
                continue
            if task is None:  # a piece for which no calls are left
                failed.append((future, number, True, None, False, record_of(future, self.number, now, now, good=True)))
                continue
            future._worker, future._started = self.number, now
            self.hand[task[0]] = future, number, len(task) in FREE
            self._tickets[future.serial] = task[0]
            tasks.append(task)
        gone = [number for number in self._taken_forgotten() if number in self._sent]
        self._sent.difference_update(gone)
        if self._left is not None:
            self._left -= len(tasks)
        if tasks:
            self._since = monotonic()
            self._large = False
            self._send((messages.RUN, self._heard, functions, gone, versions, tasks))
        if failed:
            hub.exchange(self.place, failed, 0)

    def _taken_forgotten(self) -> list[int]:
        found = []
        while self.forgotten:
            found.append(self.forgotten.popleft())
        return found

    def _packed(self, future: GraphFuture[Any], functions: Any, versions: Any, known: dict[int, int | None]) -> Any:
        if isinstance(future, Piece):
            function = self._number_of(future.mapped.fn, functions, versions) or cloudpickle.dumps(future.mapped.fn)
            calls = pieces.packed(future, None if self._left is None else 1)
            return calls and (next(self._numbers), function, calls, None, None)
        fn, args = future._fn, future._args
        rest: Any = future._rest
        kwargs: Any = None
        holes: tuple[tuple[int, int], ...] = ()
        if rest is not None:
            kwargs, plan, _ = (None, EACH, None) if rest is EACH else rest
            if plan is EACH:
                values = []
                for position, need in enumerate(args):
                    if need.state is DONE:
                        values.append(need._outcome)
                    else:
                        values.append(None)
                        holes = (*holes, (position, self._tickets.get(need.serial, 0)))
                args = values
            elif plan is not None:
                args, kwargs = fill(args, kwargs or {}, plan, self._value_or_held, future)
        if not kwargs:
            for value in args:
                if type(value) not in PLAIN:
                    break
            else:
                function = known.get(id(fn), self)
                if function is self:
                    function = known[id(fn)] = self._number_of(fn, functions, versions)
                if function is not None:
                    if holes:
                        return next(self._numbers), function, tuple(args), holes
                    return next(self._numbers), function, tuple(args)
        if holes:
            args = list(args)
            for position, ticket in holes:
                args[position] = Held(ticket)
        return next(self._numbers), cloudpickle.dumps((fn, tuple(args), kwargs or {}))

    def _value_or_held(self, source: Any) -> Any:
        need = source.future if isinstance(source, Allowed) else source  # which is needed without that as well
        if isinstance(need, GraphFuture) and need.state not in SETTLED:
            return Held(self._tickets.get(need.serial, 0))
        return value_of(source)

    def _number_of(self, fn: Any, functions: dict[int, Any], versions: dict[str, int]) -> int | None:
        found = self._pool.functions.find(fn)
        if found is None:
            return None
        if found.number not in self._sent:
            self._sent.add(found.number)
            functions[found.number] = found.pickled, found.versions
        return found.number

    def _unsendable(self, future: GraphFuture[Any], number: int, error: BaseException) -> Finished:
        now = perf_counter()
        future._worker, future._started = self.number, now
        error = error.with_traceback(None)
        with suppress(Exception):
            error.add_note(errors.cannot_be_sent(future.key))
        record = record_of(future, self.number, now, now, good=False)
        return on_terms((future, number, False, error, False, record))

    def _send(self, message: Any) -> None:
        pickled = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        with self._sending:
            self._connection.send_bytes(pickled)

    # -- its end ------------------------------------------------------------------------------

    def _leave(self) -> bool:
        """Have the worker leave."""
        with suppress(OSError, ValueError):
            self._send((messages.LEAVE,))
        return True

    def _bury(self, hub: Exchange) -> None:
        """The worker is dead: what it was handed is tried again elsewhere, but for what has killed it too often."""
        self._close()
        code = None if self.process is None else self.process.exitcode
        self._pool.died(self, hub, code)

    def _close(self) -> None:
        process = self.process
        if self._connection is not None and process is not None:
            process.join(GRACE)
            if process.is_alive():
                self.kill()
                process.join(GRACE)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._waiting is not None:
            self._waiting.close()

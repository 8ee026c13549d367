"""A worker process as this process sees it: the thread that starts it, talks to it, and buries it."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from graphfutures import errors
from graphfutures.backends.base import Exchange, Finished
from graphfutures.backends.processes import messages, pieces
from graphfutures.backends.processes.alone import is_alone, takers_of
from graphfutures.backends.processes.launch import start
from graphfutures.backends.processes.locality import Leaving
from graphfutures.backends.processes.messages import GONE, LINKS, PICKLED, PUBLISHED, SKIPPED, VALUE
from graphfutures.backends.processes.nested import Nested
from graphfutures.backends.processes.pace import MOST, Pace
from graphfutures.backends.processes.packing import Packing, TooEarlyError
from graphfutures.backends.processes.reports import Reports, let_go
from graphfutures.backends.processes.stopping import LOOK, Stopping
from graphfutures.backends.processes.waiting import Waiting
from graphfutures.core.graph import Place
from graphfutures.core.states import READY, RUNNING, WAITING
from graphfutures.current import here
from graphfutures.futures import GraphFuture
from graphfutures.pieces import Piece
from graphfutures.running import on_terms, record_of
from graphfutures.terms import AT_ONCE

if TYPE_CHECKING:
    from graphfutures.backends.processes.pool import Processes

#: seconds after which an idle worker leaves, and one that stood in for another whose task waited
IDLE = 60.0
SPARE = 1.0
#: seconds that a worker has to leave
GRACE = 5.0


class Attendant:
    """Serves one worker process; its thread is the only one that makes exchanges for it.

    :param pool: the backend.
    :param number: of the worker.
    """

    def __init__(self, pool: Processes, number: int) -> None:
        self.number = number
        self.place = Place(f"process {number}", MOST, sequential=True, lends=False, lane=pool.lane)
        #: what was handed over and has not been heard of, by tickets, in order: the task, and which of its attempts
        self.hand: dict[int, tuple[GraphFuture[Any], int]] = {}
        #: whether it has heard of the end of the graph
        self.ended = False
        self.process: Any = None
        #: whether it may run something now
        self.has_slot = False
        self.stopping = Stopping(None)
        #: the ticket of the task for which the worker was stopped, 0 if it was not
        self.stopped = 0
        self.nested = Nested(self)
        self.pool = pool
        self._connection: Any = None
        self._page: Any = None
        self._waiting: Waiting | None = None
        self._packing = Packing(pool.functions, pool.store)
        self._heard = 0  # number of the last report
        self.reported = 0  # how many tasks were
        self._pace = Pace()
        self._message = False  # whether there is one to be read
        self._since = monotonic()  # it was heard of, or handed something
        self._left = pool.max_tasks  # how many tasks it may still be handed, None for any number
        self._reports = Reports(pool.store)
        self._asked = False  # whether it was asked to give tasks back
        self._gave = False  # whether it has, and was not heard of since
        self._wanted = 0  # how many it is to be asked for
        self._pieces = 0  # how many of a map it was handed
        self._leaving = Leaving()
        self._spent: set[int] = set()  # tickets of those that have ended, and are told of when others have

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
            for ticket, (future, number) in self.hand.items():
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

    @property
    def has_queue(self) -> bool:
        """Whether it was handed more than it runs now."""
        return len(self.hand) > 1 and not self.nested.waits

    def could_give(self) -> int:
        """How many of its tasks another worker might take, as far as is known."""
        if self._asked or len(self.hand) < 2:
            return 0
        if not self._pace.is_worth(len(self.hand)) and monotonic() - self._since < LOOK:
            return 0
        return len(self._free())

    def _free(self) -> list[int]:
        """The tickets of all but the first that need nothing of what comes before them in this worker."""
        return [ticket for ticket, (future, _) in [*self.hand.copy().items()][1:] if not future.unmet]

    def ask_back(self, number: int) -> None:
        """Have the worker asked to give back so many of the tasks that it has not started."""
        self._asked = True
        self._wanted = number
        self.ring()

    # -- its thread ---------------------------------------------------------------------------

    def serve(self, hub: Exchange) -> None:
        """Start the worker, and work until the graph has ended or the worker is of no use any more."""
        here.ours = True
        self.nested.begin()
        try:
            try:
                self._start()
            except OSError:
                raise
            except Exception as error:
                self.pool.give_up(errors.initializer_cannot_be_sent(error))
                return
            if not self._greeted(hub):
                return
            while self._turn(hub):
                pass
        except (EOFError, OSError, pickle.PickleError):
            self._bury(hub)
        except BaseException:
            self.kill()  # nobody will hear of it any more
            raise
        finally:
            self._close()

    def _start(self) -> None:
        self.process, self._connection, self._page = start(self.pool, self.number)
        self.stopping = Stopping(self._page)
        if self.pool.halted:
            self.kill()
        self._waiting = Waiting(self._connection, self.process)

    def _greeted(self, hub: Exchange) -> bool:
        """Wait until the worker is ready; False if it is of no use, or is not needed any more."""
        waiting = self._waiting
        assert waiting is not None, "it has been started"
        while hub.exchange(self.place, (), 0) is not None:
            if waiting.wait(None):
                word, what = pickle.loads(waiting.read())
                if word == messages.READY:
                    hub.noted("worker started", self.number)
                    return True
                self.pool.initializer_failed(messages.error_of(what))
                return False
            if waiting.dead:
                raise EOFError
        self.ended = True
        if self.pool.initializer() is None:
            self.kill()  # it has not done anything yet
        else:
            self._leave()
        return False

    def _turn(self, hub: Exchange) -> bool:
        """Hear what has ended, and hand over what is next; False at the end."""
        if self._wanted:
            wanted, self._wanted = self._wanted, 0
            self.send((messages.RETURN, self._free()[-wanted:]))
        facts, returned = self._heard_of(hub)
        want = self._room()
        if want and not self.pool.take_slot(self):
            want = 0
        if self.pool.is_awaited and self.has_queue and not self._asked:
            self.ask_back(len(self.hand))
        batch = hub.exchange(self.place, facts, want)
        let_go(facts)
        self._revoke(hub, returned)
        if batch is None:
            self.ended = True
            self.pool.ring_all()
            if self.hand:  # what was cancelled by force
                self.kill()
            return not self._leave()
        self.nested.go_on(hub)
        batch = self._leaving.kept(self, hub, batch)
        if batch:
            self.pool.wake_another()
            self.hand_over(hub, batch)
            return True
        if self.stopping:
            self._stop_what_is_to_be_stopped()
        return self._sleep(hub)

    def _sleep(self, hub: Exchange) -> bool:
        """Wait for something to do; False when the worker is to leave."""
        waiting, pool = self._waiting, self.pool
        assert waiting is not None, "it has been started"
        leaves = self._leaving.until > 0
        if not self.hand:
            pool.leave_slot(self)
            pool.idle[self] = []
        try:
            if self.nested.has_news or (
                not leaves and self._room() and (hub.has_posts() or (hub.has_ready() and pool.has_slot(self)))
            ):
                self._message = waiting.wait(0)
                return True
            if self.hand:
                seconds = LOOK if self.has_queue else inf
                seconds = min(seconds, self.stopping.seconds(self.running))
                self._message = waiting.wait(None if seconds == inf else seconds)
                if not self._message and self.could_give():
                    pool.wake_idle()  # who looked when there was nothing to be had
                return True
            if self._left is not None and self._left <= 0:
                return not (pool.may_leave(self) and self._leave())
            if self._reports.large:
                self._reports.large = False
                self.send((messages.RUN, self._heard, {}, [], [], {}))
            busy = pool.relieve(self) or leaves
            since = monotonic()
            patience = IDLE if len(pool.attendants) <= pool.max_workers else SPARE
            self._message = waiting.wait(LOOK if busy else patience)
            quiet = not (busy or self._message or waiting.dead) and monotonic() - since >= patience
            return not (quiet and pool.may_leave(self) and self._leave())
        finally:
            pool.idle.pop(self, None)

    def _room(self) -> int:
        """How many tasks to ask for."""
        if not self.nested.may_take:
            return 0
        held = len(self.hand) - len(self._spent)
        if self._gave and held:
            return 0  # it would take again what it has given back for another one, which has yet to wake up
        if self._pieces > (0 if self.pool.has_idle() else 1):
            return 0  # each of them is as much as is worth to be sent
        room = self._pace.room(held)
        return room if self._left is None else max(0, min(room, self._left))

    def _stop_what_is_to_be_stopped(self) -> None:
        stopping, running = self.stopping, self.running
        if back := stopping.given_back(self.hand, self._packing.tickets, running):
            self.send((messages.RETURN, back))
        if not self.stopped and (ticket := stopping.due(running, self.nested.tickets())):
            self.stopped = ticket
            self.kill()

    # -- hearing ------------------------------------------------------------------------------

    def _heard_of(self, hub: Exchange) -> tuple[list[Finished], list[tuple[GraphFuture[Any], int]]]:
        facts: list[Finished] = []
        returned: list[tuple[GraphFuture[Any], int]] = []
        waiting = self._waiting
        assert waiting is not None, "it has been started"
        while self._message:
            word, *what = pickle.loads(waiting.read())
            # After a report the worker may have nothing to do, and others what it has made ready.
            self._message = (word != messages.REPORT or waiting.dead) and waiting.wait(0)
            if word == messages.REPORT:
                self._heard = what[0]
                self._gave = False
                for ticket, seconds in what[1]:
                    self._pace.learn_given(seconds)
                    self._spent.add(ticket)
                if what[2]:
                    self._take_report(what[2], facts, returned)
            elif word == messages.RETURNED:
                self._asked, self._gave = False, bool(what[0])
                returned += self._taken_back(what[0])
            elif word == messages.MINE:
                self._pace.learn_given(what[-1])
                self.send((messages.YOURS, what[0], self._taker(hub, *what[:2])))
            elif word == messages.PROGRESS:
                pieces.take_progress(self._reports.read_now, self.hand[what[0]][0], *what[1:])
            elif word == messages.SUBMIT:
                self.nested.heard(hub, word, what)  # before the task that has submitted it returns
            else:
                self.nested.asides.append((word, what))
        if waiting.dead and not facts:
            raise EOFError
        return facts, returned

    def _taker(self, hub: Exchange, ticket: int, taker: int) -> int:
        """The ticket of the one task that needs the value of another one, which has just ended; 0 if others may.

        :param taker: of the one that the worker has got, 0 if it has none.
        """
        if len(self._spent) >= LINKS or not self.nested.may_take:
            return 0
        if not taker and (self._left is None or self._left > 0):
            self.place.ahead = True
            batch = hub.exchange(self.place, (), 1)
            self.place.ahead = False
            taker = self.hand_over(hub, batch) if batch else 0
        if not is_alone(self.hand, ticket, taker):
            return 0
        self._spent.add(ticket)
        return taker

    def take_back(self, hub: Exchange, tickets: Sequence[int]) -> None:
        """The worker gives back these, since a task in it waits."""
        self._revoke(hub, self._taken_back(tickets)[::-1])

    def _revoke(self, hub: Exchange, returned: list[tuple[GraphFuture[Any], int]]) -> None:
        """Have others run what was given back, and forget it: they may end it while this thread sleeps."""
        for attempt in returned:
            hub.revoked(*attempt, self.place)
        if returned:
            self.pool.wake_idle()
        returned.clear()

    def _taken_back(self, tickets: Sequence[int]) -> list[tuple[GraphFuture[Any], int]]:
        if self._left is not None:
            self._left += len(tickets)
        return [self._taken_from_hand(ticket) for ticket in tickets]

    def _taken_from_hand(self, ticket: int) -> tuple[GraphFuture[Any], int]:
        future, number = self.hand.pop(ticket)
        if self._packing.tickets.get(future.serial) == ticket:
            del self._packing.tickets[future.serial]
        if self.stopping.limits:
            self.stopping.limits.pop(ticket, None)
        self._pieces -= type(future) is Piece
        self._spent.discard(ticket)
        return future, number

    def _take_report(self, outcomes: list[Any], facts: list[Finished], returned: list[Any]) -> None:
        self._since = monotonic()
        now = perf_counter()
        self.reported += len(outcomes)
        spent = 0.0
        gone: list[Finished] = []  # of tasks whose values were given to the one after them
        for ticket, how, told, began, ended in outcomes:
            future, number = self._taken_from_hand(ticket)
            if gone and how != GONE:
                if how == SKIPPED or _is_taken_back(future, number):
                    returned += [fact[:2] for fact in gone]  # nobody has these values
                else:
                    facts += gone
                gone = []
            if how == SKIPPED:
                returned.append((future, number))
                continue
            if isinstance(future, Piece):
                pieces.take(self._reports.read_now, future, *told)
                future.mapped.learn(future, ended - began)
                good, outcome = True, None
            else:
                good, outcome = (True, told) if how == VALUE else self._reports.outcome(future, how, told)
            if began <= ended <= now:
                start, stop = began, ended
            else:  # another clock
                start, stop = now - (ended - began), now
            spent += stop - start
            future._worker, future._started = self.number, start
            size = told[1] if how == PUBLISHED else len(told) if how == PICKLED else 0
            record = record_of(future, self.number, start, stop, size, good=good)
            fact = future, number, good, outcome, record
            (gone if how == GONE else facts).append(fact if outcome is AT_ONCE else on_terms(fact))
        facts += gone
        if self._page is not None:
            self._page.leave_room(self.pool.store.room())
        self._pace.learn(spent / len(outcomes))

    # -- handing over -------------------------------------------------------------------------

    def hand_over(self, hub: Exchange, batch: list[GraphFuture[Any]], word: str = messages.RUN) -> int:
        """Send tasks to the worker.

        :param batch: the tasks, which are not in there any more afterwards.
        :param word: of the message.
        :return: the ticket of the last one, 0 if none could be sent.
        """
        functions: dict[int, Any] = {}
        tasks, failed = self._packed(hub, batch, functions)
        batch.clear()  # else the references in it were counted as somebody's
        if self._left is not None:
            self._left -= len(tasks)
        if tasks:
            self._since = monotonic()
            self._reports.large = False
            takers = takers_of(tasks, self.hand) if self._pace.gives > 0 else {}
            self._pace.gives -= len(tasks)
            self.send((word, self._heard, functions, self._packing.taken_forgotten(), tasks, takers))
        else:
            self._packing.not_sent(functions)
        if failed:
            hub.exchange(self.place, failed, 0)
        return tasks[-1][0] if tasks else 0

    def _packed(
        self, hub: Exchange, batch: list[GraphFuture[Any]], functions: dict[int, Any]
    ) -> tuple[list[Any], list[Finished]]:
        """Tasks as they are sent, which are in the worker's hand from now on; and how others have ended at once."""
        known: dict[int, int | None] = {}
        tasks: list[Any] = []
        failed: list[Finished] = []
        now = perf_counter()
        for future in batch:
            number = future.attempt
            try:
                if type(future) is Piece:
                    most = None if self._left is None else 1
                    task = self._packing.packed_piece(future, functions, most)
                else:
                    task = self._packing.packed(future, functions, known)
            except TooEarlyError:
                hub.revoked(future, number, self.place)
                continue
            except BaseException as error:
                failed.append(self._packing.unsendable(future, number, error, self.number))
                continue
            if task is None:  # a piece for which no calls are left
                failed.append((future, number, True, None, record_of(future, self.number, now, now, good=True)))
                continue
            future._worker, future._started = self.number, now
            self.hand[task[0]] = future, number
            self._packing.tickets[future.serial] = task[0]
            self._pieces += type(future) is Piece
            if future.special and future.terms is not None and future.terms.timeout is not None:
                self.stopping.limits[task[0]] = future.terms.timeout
            tasks.append(task)
        return tasks, failed

    def send(self, message: Any) -> None:
        """Send a message to the worker; in the attendant's thread."""
        assert self._waiting is not None, "it has been started"
        self._waiting.send(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))

    # -- its end ------------------------------------------------------------------------------

    def _leave(self) -> bool:
        """Have the worker leave."""
        with suppress(OSError, ValueError):
            self.send((messages.LEAVE,))
        return True

    def _bury(self, hub: Exchange) -> None:
        """The worker is dead: what it was handed is tried again elsewhere, but for what has killed it too often."""
        self._close()
        code = None if self.process is None else self.process.exitcode
        self.pool.died(self, hub, code)

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


def _is_taken_back(future: GraphFuture[Any], number: int) -> bool:
    """Whether an attempt has ended that the graph has taken back meanwhile, so that another one is to come."""
    return future.state in (WAITING, READY) or (future.state is RUNNING and future.attempt != number)

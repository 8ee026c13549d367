"""GraphFuture: a concurrent.futures.Future that is also the task, and costs nothing until somebody waits.

Nobody who waits takes a lock that a worker needs.  The worker sets ``_settled`` and then looks for a ``Watch``; a
waiter leaves an entry in the ``Watch`` and then looks at ``_settled``: so one of them sees the other, and each entry
is acted on by whoever takes it out.  A waiter that is interrupted at any point (Ctrl-C inside the standard library's
``wait``, say) leaves nothing behind that could stop a worker.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, LOGGER
from concurrent.futures._base import PENDING as PENDING_STATE
from concurrent.futures._base import RUNNING as RUNNING_STATE
from functools import partial
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar

from graphfutures import errors
from graphfutures.away import Away, failure_here, value_here
from graphfutures.calls import Rest, name_of
from graphfutures.core.graph import Task, Wait
from graphfutures.core.states import CANCELLED, DONE, FAILED, NEW, RUNNING
from graphfutures.current import here
from graphfutures.outcomes import Inherited
from graphfutures.watching import CALLBACK, FIRST, LISTENER, PARKED, SETTLED, WAITER, Waiters, Watch

T = TypeVar("T")
Listener = Callable[["GraphFuture[Any]"], object]
#: of a future that is not settled yet: its outcome may be decided, but nobody has been told
_BEGUN = (RUNNING, DONE, FAILED)


class Owner(Protocol):
    """What a future asks of the executor that it belongs to."""

    #: for futures of others
    stand_ins: Any

    def external_settled(self, external: Any) -> None:
        """One of those has settled."""

    def cancel(self, future: GraphFuture[Any], *, force: bool) -> bool:
        """Whether the future is cancelled now."""

    def cancel_many(self, futures: list[GraphFuture[Any]]) -> None:
        """Cancel what of these has not started."""

    def call_back(self, future: GraphFuture[Any], callbacks: deque[Callable[[], object]]) -> None:
        """Run callbacks, in their order, where they delay nobody."""

    def nudge(self) -> None:
        """Somebody begins to wait: see to what an interrupted thread may have left undone."""

    def inside(self) -> bool:
        """Whether this very thread is in the middle of an exchange, as a finalizer may find."""

    def lent(
        self,
        task: GraphFuture[Any],
        wait: Wait | None = None,
        needs: Sequence[Task] = (),
        *,
        exact: Sequence[Task] = (),
    ) -> Any:
        """For a ``with`` block in which a running task waits."""

    def waited(self, task: GraphFuture[Any], future: GraphFuture[Any]) -> None:
        """Have a running task wait for a future, for as long as it takes."""


class GraphFuture(Task, Future[T], Generic[T]):
    """The result of a task, to be waited for, awaited, or given to other tasks as an argument.

    It keeps every promise of :class:`concurrent.futures.Future`.  Made by ``submit``; one made by hand is
    settled by ``set_result`` or ``set_exception`` like one of the standard library.
    """

    __slots__ = (
        "_args",
        "_fn",
        "_name",
        "_outcome",
        "_owner",
        "_rest",
        "_settled",
        "_started",
        "_watch",
        "_worker",
    )

    # In a slot each, as is all that several threads may touch: CPython 3.11 corrupts an object when two threads
    # ask for its ``__dict__`` for the first time while the collector runs.
    #: whether its outcome is final and may be told
    _settled: bool
    #: those who wait for it, if somebody has
    _watch: Watch | None
    #: of its exception: where it happened, without those who have asked for the result since
    _traceback: Any = None
    _copy: BaseException | None = None
    #: by which worker and when its attempt was started, on the clock of ``time.perf_counter``; not set before
    _worker: int
    _started: float
    #: its value, its exception, or whose failure it inherits; not set before
    _outcome: Any
    #: None as long as it is only known from its function
    _name: str | None
    #: its call, until that is run: the function, the arguments, and what few calls have
    _fn: Any
    _args: Any
    _rest: Rest | None
    #: what few have: on what terms it runs, how many of its attempts have failed and with what the last one, as text,
    #: and what limits their time
    terms: Any = None
    failures = 0
    last_failure = ""
    limit: Any = None
    #: how many workers it has killed, and after how many it is tried again, None for as many as usual
    crashes = 0
    crash_retries: int | None = None
    #: options that are for the cluster that runs it
    wishes: Any = None

    def __init__(
        self,
        owner: Owner | None = None,
        serial: int = 0,
        fn: Any = None,
        args: tuple[Any, ...] = (),
        rest: Rest | None = None,
        dependencies: tuple[Task, ...] = (),
        name: str | None = None,
    ) -> None:
        self.serial = serial
        self.dependencies = dependencies
        self.state = NEW
        self.dependents = None
        self.unmet = 0
        self.attempt = 0
        self.special = False
        self._owner = owner
        self._fn = fn
        self._args = args
        self._rest = rest
        self._name = name
        self._settled = False
        self._watch = None

    # -- what it is ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The label of the task: the option ``name``, or what its function is called."""
        fn = self._fn
        name = self._name  # noted before the function is dropped
        if name is not None:
            return name
        return name_of(fn) if fn is not None else "future"

    @property
    def key(self) -> str:
        """The name and a number, unique in its executor: ``load-3``."""
        return f"{self.name}-{self.serial}"

    def __repr__(self) -> str:
        state = "pending"
        if self._settled:
            if self.state is CANCELLED:
                state = "cancelled"
            elif self.state is DONE:
                state = f"finished returned {self._kind()}"
            else:
                state = f"finished raised {type(self._error()).__name__}"
        elif self.state is RUNNING:
            state = "running"
        return f"<GraphFuture {self.key} at {id(self):#x} state={state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self.key} is a future and cannot be pickled; give it to submit as an argument, or inside a list, "
            "tuple, set, dict or dataclass, and the task receives its value"
        )

    def __class_getitem__(cls, item: Any) -> Any:
        return Future.__class_getitem__.__func__(cls, item)  # type: ignore[attr-defined]

    def _forget_call(self) -> None:
        """Keep its name, and let go of the function and the arguments."""
        self._name = self.name
        self._fn = self._args = self._rest = None
        if self.tolerated:
            self.tolerated = ()

    # -- its state ----------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether the task has ended or was cancelled."""
        return self._settled

    def cancelled(self) -> bool:
        """Whether the task was cancelled."""
        return self._settled and self.state is CANCELLED

    def running(self) -> bool:
        """Whether the task has started (on processes: was sent) and has not ended."""
        return self.state in _BEGUN and not self._settled

    def cancel(self, *, force: bool = False) -> bool:
        """Cancel the task and all that depends on it, unless it has started.

        :param force: stop it even if it is running, where the backend can do that; no thread can be stopped, but
            its ``current_task().cancelled()`` is true from then on.
        :return: whether it is cancelled.
        """
        if self._settled:
            return self.state is CANCELLED
        if self._owner is not None:
            return self._owner.cancel(self, force=force)
        if self.state is not NEW:
            return False
        self.state = CANCELLED
        self._announce()
        return True

    # -- its outcome --------------------------------------------------------------------------

    def result(self, timeout: float | None = None) -> T:
        """The value that the call returned.

        :param timeout: seconds to wait at most; None waits as long as it takes.
        :raises CancelledError: if the task was cancelled.
        :raises TimeoutError: if it has not ended in time.
        :raises Exception: what the call raised; for a task that never ran because another one had failed,
            a copy of that exception with the way to it in its notes.
        """
        if not self._settled:
            self._wait(timeout)
        if self.state is DONE:
            if type(self._outcome) not in Away.kinds:
                return self._outcome  # type: ignore[no-any-return]
            if self._is_read():
                return self._outcome.get()  # type: ignore[no-any-return]
        try:
            # Raising adds our frames to the traceback; started afresh each time it does not grow.
            raise self._error().with_traceback(self._traceback)
        finally:
            del self  # breaks the circle of the exception, its traceback and this frame

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that the call raised, None if it returned a value.

        :param timeout: seconds to wait at most; None waits as long as it takes.
        :raises CancelledError: if the task was cancelled.
        :raises TimeoutError: if it has not ended in time.
        """
        if not self._settled:
            self._wait(timeout)
        if self.state is DONE:
            return None
        if self.state is CANCELLED:
            raise CancelledError()
        error = self._error()
        # One that is shared with others may have been raised by them meanwhile.
        return error if self._traceback is None else error.with_traceback(self._traceback)

    def _error(self) -> BaseException:
        """The exception of a future that has no value; one and the same each time."""
        if self.state is CANCELLED:
            return CancelledError()
        error = failure_here(self._outcome)
        if isinstance(error, Inherited):
            if self._copy is None:
                copy = error.exception()
                with FIRST:
                    if self._copy is None:
                        if copy is error.root:
                            self._traceback = error.trace
                        self._copy = copy
            error = self._copy
        return error  # type: ignore[no-any-return]

    def _is_read(self) -> bool:
        """Read a value that was made elsewhere; False if it cannot be read: the future has failed then."""
        outcome = self._outcome
        try:
            outcome.get()
        except BaseException as error:
            errors.name_in_notes(error, self.key)
            if outcome.failure is None:
                if not here.ours:
                    raise
                outcome.failure = error
            self.state = FAILED
            return False
        return True

    def _kind(self) -> str:
        """The type of its value, as far as that is here."""
        outcome = self._outcome
        if type(outcome) not in Away.kinds:
            return type(outcome).__name__
        return type(outcome.get()).__name__ if outcome.is_read else "a value that was not read yet"

    def _wait(self, timeout: float | None) -> None:
        """Wait until it is settled; a task lends its slot meanwhile."""
        task = here.task
        if timeout is None and self._owner is not None and self._owner.inside():
            raise errors.waits_in_finalizer(self.key)
        if task is None:
            self.park(timeout)
        elif timeout is None:
            task._owner.waited(task, self)
        else:
            with task._owner.lent(task, Wait((self,), every=True), (self,)):
                self.park(timeout)

    def park(self, timeout: float | None) -> None:
        """Wait until it is settled, without more ado."""
        lock = allocate_lock()
        lock.acquire()
        entry = (PARKED, lock)
        try:
            if not self._enter(entry):
                return
            if self._owner is not None:
                self._owner.nudge()
            if timeout is None:
                lock.acquire()
            else:
                lock.acquire(True, min(max(timeout, 0), TIMEOUT_MAX))
            if not self._settled:
                raise TimeoutError()
        finally:
            if not self._settled:
                self._watched().leave(entry)

    def __await__(self) -> Generator[Any, None, T]:
        """Wait in an asyncio task; cancelling that wait leaves this task alone."""
        if not self._settled:
            from asyncio import get_running_loop

            loop = get_running_loop()
            waiter = loop.create_future()
            listener = partial(tell_loop, loop, waiter)
            self._listen(listener)
            try:
                yield from waiter
            finally:
                self._unlisten(listener)
        return self.result()

    # -- being told ---------------------------------------------------------------------------

    def add_done_callback(self, fn: Callable[[GraphFuture[T]], object]) -> None:
        """Call ``fn(self)`` once it is settled; at once, in this thread, if it is settled already.

        Callbacks run in the order in which they were added, on a thread where they delay no task; one may
        submit and wait.  What they raise is logged on ``concurrent.futures``.
        """
        call = partial(_call_back, fn, self)
        if not self._enter((CALLBACK, call)):
            self._ready_to_tell()
            call()

    def _listen(self, listener: Listener) -> None:
        """As ``add_done_callback``, for functions of ours that never block: called by whoever settles it."""
        if not self._enter((LISTENER, listener)):
            listener(self)

    def _unlisten(self, listener: Listener) -> None:
        self._watched().leave((LISTENER, listener))

    def _announce(self) -> None:
        """Let everybody see that it is settled; called once, by whoever settled it, holding no lock."""
        self._settled = True
        watch = self._watch
        if watch is not None:
            self._tell_all(watch)

    def _enter(self, entry: tuple[str, Any]) -> bool:
        """Add an entry to the watch; False if it is settled, and the caller is to act on the entry itself."""
        watch = self._watched()
        if watch is SETTLED:
            return False
        watch.entries.append(entry)
        return not (self._settled and watch.leave(entry))

    def _tell_all(self, watch: Watch) -> None:
        """Act on the entries of a watch; called again where that was interrupted."""
        watch.settled = True
        entries = watch.entries
        if entries:
            self._ready_to_tell()
        while entries:
            try:
                kind, entry = first = entries[0]
            except IndexError:
                break  # somebody has left
            if kind is LISTENER:
                entry(self)  # twice does no harm
            elif kind is CALLBACK:
                if watch.callbacks is None:
                    watch.callbacks = deque()
                if not watch.callbacks or watch.callbacks[-1] is not entry:
                    watch.callbacks.append(entry)
            if not watch.leave(first):
                if kind is CALLBACK and watch.callbacks and watch.callbacks[-1] is entry:
                    watch.callbacks.pop()  # whoever added it has found it settled, and calls it
                continue
            if kind is PARKED:
                entry.release()
            elif kind is WAITER:
                self._tell(entry)
        if not watch.callbacks:
            return
        if self._owner is not None:
            self._owner.call_back(self, watch.callbacks)
        else:
            run_callbacks(watch.callbacks)

    def _ready_to_tell(self) -> None:
        """Read the value: a callback that meets one which cannot be read, asyncio's for one, may never come back."""
        if self.state is DONE and type(self._outcome) in Away.kinds:
            self._is_read()

    def retell(self) -> None:
        """Tell those who have not been told, after an interruption of that."""
        self.dependencies = ()
        if self._watch is not None:
            self._tell_all(self._watch)

    def _tell(self, waiter: Any) -> None:
        if self.state is DONE:
            waiter.add_result(self)
        elif self.state is CANCELLED:
            waiter.add_cancelled(self)
        else:
            waiter.add_exception(self)

    # -- what others read of a standard future ------------------------------------------------

    def _watched(self) -> Watch:
        """Those who wait for it; to be asked before joining them."""
        watch = self._watch
        if watch is None:
            if self._settled:
                return SETTLED
            fresh = Watch()
            with FIRST:
                if self._watch is None:
                    self._watch = fresh
                watch = self._watch
        if self._settled:
            watch.settled = True
        return watch

    def _standard_state(self) -> str:
        watch = self._watch
        if not (watch.seen_settled() if watch is not None and watch.views else self._settled):
            return RUNNING_STATE if self.state in _BEGUN else PENDING_STATE
        return CANCELLED_AND_NOTIFIED if self.state is CANCELLED else FINISHED

    def _value_or_none(self) -> T | None:
        if not self._settled:
            return None
        self._ready_to_tell()
        return value_here(self._outcome) if self.state is DONE else None

    def _error_or_none(self) -> BaseException | None:
        return self._error() if self._settled and self.state is FAILED else None

    # A type checker is to see the attributes of the standard class, or it refuses ours in ``as_completed``.
    if not TYPE_CHECKING:
        _condition = property(_watched)
        _waiters = property(Waiters)
        _done_callbacks = property(lambda self: [entry for kind, entry in self._watched().entries if kind is CALLBACK])
        _state = property(_standard_state)
        _result = property(_value_or_none)
        _exception = property(_error_or_none)

    def _get_snapshot(self) -> tuple[bool, bool, T | None, BaseException | None]:
        """Python 3.14's view in one call: done, cancelled, result, exception."""
        if not self._settled:
            return False, False, None, None
        if self.state is CANCELLED:
            return True, True, None, None
        return True, False, self._result, self._exception

    # -- made by hand -------------------------------------------------------------------------

    def set_running_or_notify_cancel(self) -> bool:
        """As in the standard library, for a future that no executor owns."""
        self._by_hand()
        if self.state is CANCELLED:
            return False
        if self.state is not NEW:
            raise RuntimeError("Future in unexpected state")
        self.state = RUNNING
        return True

    def set_result(self, result: T) -> None:
        """As in the standard library, for a future that no executor owns."""
        self._by_hand(settles=True)
        self._outcome = result
        self.state = DONE
        self._announce()

    def set_exception(self, exception: BaseException | None) -> None:
        """As in the standard library, for a future that no executor owns."""
        self._by_hand(settles=True)
        self._outcome = exception
        self._traceback = getattr(exception, "__traceback__", None)
        self.state = FAILED
        self._announce()

    def _by_hand(self, *, settles: bool = False) -> None:
        if self._owner is not None:
            raise InvalidStateError(f"{self.key} belongs to an executor, which settles it when its task ends")
        if settles and self._settled:
            raise InvalidStateError(f"{self._state}: {self!r}")


def cancel_all(futures: Iterable[GraphFuture[Any]]) -> None:
    """Cancel futures of one executor or several, all at once."""
    owners: dict[Owner, list[GraphFuture[Any]]] = {}
    for future in futures:
        if not future.done() and future._owner is not None:
            owners.setdefault(future._owner, []).append(future)
    for owner, pending in owners.items():
        owner.cancel_many(pending)


def run_callbacks(callbacks: deque[Callable[[], object]]) -> None:
    """Run callbacks until none is left."""
    while callbacks:
        try:
            call = callbacks.popleft()
        except IndexError:
            return
        call()


def _call_back(fn: Callable[[Any], object], future: Future[Any]) -> None:
    try:
        fn(future)
    except Exception:
        LOGGER.exception("exception calling callback for %r", future)


def tell_loop(loop: Any, waiter: Any, _: object = None) -> None:
    """Settle a future of an event loop, from whatever thread this is."""
    try:
        loop.call_soon_threadsafe(_set_unless_done, waiter)
    except RuntimeError:  # the loop was closed meanwhile: nobody awaits any more
        pass


def _set_unless_done(waiter: Any) -> None:
    if not waiter.done():
        waiter.set_result(None)

"""Tasks on any ``concurrent.futures.Executor``: a pool of the standard library's, loky's, MPI's, Parsl's.

The inner executor belongs to its owner.  It may be used by others meanwhile, and is never shut from here.
"""

from __future__ import annotations

from _thread import get_ident
from collections import deque
from concurrent.futures import BrokenExecutor, Executor, Future
from contextvars import Context, copy_context
from os import getpid
from time import perf_counter
from typing import Any

from graphfutures import config, errors
from graphfutures.backends.base import Capabilities, Exchange, Finished
from graphfutures.backends.pumping import Pumping
from graphfutures.core.graph import Place
from graphfutures.current import here
from graphfutures.exits import first_again
from graphfutures.futures import GraphFuture
from graphfutures.outcomes import without_our_frames
from graphfutures.running import call_of, record_of
from graphfutures.terms import judged

#: the attribute by which an exception that a task has raised brings its worker and its times along
STAMP = "_graphfutures_attempt"
#: what is raised with these by ``submit`` concerns one task alone, though they are RuntimeErrors
_OF_ONE_TASK = (RecursionError, NotImplementedError)
_OF_PICKLE = (AttributeError, TypeError, RecursionError)
#: of inner executors that have been given a task
_known: set[type] = set()


class Call:
    """What the inner executor is given of a task; it cannot look into it for futures of its own.

    Context and task are there as long as it has not travelled to another process.
    """

    __slots__ = ("args", "context", "fn", "kwargs", "task")

    def __init__(
        self, fn: Any, args: Any, kwargs: dict[str, Any], context: Context | None, task: GraphFuture[Any] | None
    ) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.context = context
        self.task = task

    def __reduce__(self) -> Any:
        return Call, (self.fn, self.args, self.kwargs, None, None)


def attempt(call: Call) -> tuple[Any, Any, float, float]:
    """Run a call, wherever this is: its value, who has run it, and from when to when."""
    start = perf_counter()
    outer, here.task = here.task, call.task
    try:
        run = copy_context().run if call.context is None else call.context.run
        value = run(call.fn, *call.args, **call.kwargs)
        return value, _me(call), start, perf_counter()
    except BaseException as error:
        if call.task is None and not _comes_back(error):
            raise _stamped(errors.cannot_travel(error), call, start) from None
        _stamped(error, call, start)
        raise
    finally:
        here.task = outer
        # The frames of a traceback lead back to this one, which must not lead to the exception.
        del call, outer


def _me(call: Call) -> Any:
    """This worker, unlike any other of its executor."""
    if call.task is not None:
        return get_ident()
    from platform import node

    return node(), getpid(), get_ident()


def _stamped(error: BaseException, call: Call, start: float) -> BaseException:
    vars(error)[STAMP] = _me(call), start, perf_counter()
    return error


def _comes_back(error: BaseException) -> bool:
    """Whether no process will stumble over an exception: pools break when they cannot read what they are sent."""
    import pickle  # which is not for those who have no other processes

    try:
        pickled = pickle.dumps(error)
    except Exception:
        return True  # the pool has better means, or says so itself
    try:
        pickle.loads(pickled)
    except Exception:
        return False
    return True


class Wrapped(Pumping):
    """Hands tasks to an inner executor, as many at once as that has workers; the others wait in the graph.

    The pump makes all calls of ``submit``, which may block.  Pools tell of the end of a
    task while they hold locks of their own, so what they call only leaves a note and rings the pump's bell.

    :param inner: the executor.
    :param max_workers: how many tasks at most it is given at once, if it does not have fewer workers itself.
    :param name: of the pump, before what it is.
    """

    def __init__(self, inner: Executor, max_workers: int | None, name: str) -> None:
        from concurrent.futures import ThreadPoolExecutor

        own = getattr(inner, "_max_workers", None)
        limits = [number for number in (own, max_workers) if isinstance(number, int) and number > 0]
        self.max_workers = min(limits) if limits else config.default_max_workers()
        self.capabilities = Capabilities(
            shares_memory=isinstance(inner, ThreadPoolExecutor),
            makes_workers=False,
            lends=False,
            hosts=False,
            limits_time=False,
        )
        self._inner = inner
        self._name = name
        self._ending: errors.BrokenGraphError | None = None  # why nothing can be handed over any more
        if type(inner) not in _known:
            first_again()  # pools end themselves at exit, and the graph has to be drained before
        self._begin()

    def _begin(self) -> None:
        self._begin_pumping()
        self._place = Place("executor", self.max_workers, lends=False, hosts=False)
        self._broke = False  # whether the hub knows of ``_ending``
        self._told: deque[Future[Any]] = deque()  # those of the inner executor that have ended
        # Task, attempt, since when, and the call as long as it may have to be repeated.
        self._handed: dict[Future[Any], tuple[GraphFuture[Any], int, float, Any]] = {}
        self._numbers: dict[Any, int] = {}  # of the workers that have been heard of

    # -- for the hub --------------------------------------------------------------------------

    def forked(self) -> None:
        """See ``Backend``: the workers of the inner executor are not here."""
        self._begin()
        self._ending = errors.inner_ended(self._inner, "it was made before fork: make both executors anew here")

    # -- the pump -----------------------------------------------------------------------------

    def _without_pump(self, reason: str) -> Exception:
        """See ``Pumping``."""
        return errors.inner_ended(self._inner, reason)

    def _turn(self, hub: Exchange) -> bool | None:
        """Report what has ended, hand over what is next; whether there was any, None at the end."""
        # No name here for what is reported: ``submit`` may take long, and values are not to live as long.
        batch = hub.exchange(self._place, self._facts(hub), self.max_workers if self._ending is None else 0)
        if batch is None:
            return None
        self._tell_ending(hub)
        for future in batch:
            self._hand_over(hub, future)
        return bool(batch)

    def _tell_ending(self, hub: Exchange) -> None:
        if self._ending is not None and not self._broke:
            self._broke = True
            hub.broke(self._ending)

    def _hand_over(self, hub: Exchange, future: GraphFuture[Any]) -> None:
        number, worker, start = future.attempt, len(self._handed), perf_counter()
        future._worker, future._started = worker, start
        again = None
        if future.special and future.terms is not None:
            again = future._fn, future._args, future._rest, future.tolerated
        try:
            fn, args, kwargs, context = call_of(future)
        except BaseException as error:  # of a container that cannot be rebuilt
            trace = without_our_frames(error)
            self._report(hub, (future, number, False, error.with_traceback(trace), self._record(future, start)))
            return
        try:
            if self._ending is not None:
                raise self._ending
            told = self._inner.submit(attempt, Call(fn, args, kwargs, context, future))
            told.add_done_callback(self._tell)
            self._handed[told] = future, number, start, again
        except BaseException as error:
            failure = error.with_traceback(None)  # whose frames lead to the task
            if isinstance(error, RuntimeError) and not isinstance(error, _OF_ONE_TASK) and self._ending is None:
                self._ending = failure = errors.inner_ended(self._inner, error)
                self._tell_ending(hub)
            self._explain(failure, future)
            self._report(hub, (future, number, False, failure, self._record(future, start)))
            return
        if type(self._inner) not in _known:
            _known.add(type(self._inner))
            first_again()  # loky's only registers itself now

    def _report(self, hub: Exchange, fact: Finished) -> None:
        hub.exchange(self._place, (fact,), 0)

    def _tell(self, told: Future[Any]) -> None:
        """A task has ended; called by the inner executor, in any thread, under any lock."""
        self._told.append(told)
        self._ring()

    def _facts(self, hub: Exchange) -> list[Finished]:
        facts: list[Finished] = []
        while self._told:
            told = self._told.popleft()
            if told not in self._handed:
                continue  # it has told twice
            future, number, start, again = self._handed.pop(told)
            if told.cancelled():
                hub.called_off(future, number, self._place)
                continue
            try:
                error = told.exception()
                if error is None:
                    value, *stamp = told.result()
                    record = self._record(future, start, stamp, good=True)
                    facts.append(self._judged((future, number, True, value, record), again))
                    continue
            except Exception as odd:  # an executor that gives back something else than was returned
                error = odd
            stamp = vars(error).pop(STAMP, None)
            if stamp is None:
                self._explain(error, future)
                if isinstance(error, BrokenExecutor) and self._ending is None:
                    self._ending = errors.inner_ended(self._inner, error)
            future._traceback = _from_the_task_on(error)
            error.with_traceback(future._traceback)
            record = self._record(future, start, stamp, good=False)
            facts.append(self._judged((future, number, False, error, record), again))
        return facts

    def _judged(self, fact: Finished, again: Any) -> Finished:
        if again is None or self._ending is not None:
            return fact
        return judged(fact, fact[0].terms, again)

    def _record(self, future: GraphFuture[Any], sent: float, stamp: Any = None, *, good: bool = False) -> Any:
        """What is remembered of an attempt."""
        now = perf_counter()
        if stamp is None:
            return record_of(future, future._worker, sent, good=good)
        who, start, stop = stamp
        if not sent <= start <= stop <= now:  # the clock of another machine
            start, stop = max(sent, now - (stop - start)), now
        return record_of(future, self._numbers.setdefault(who, len(self._numbers)), start, stop, good=good)

    def _explain(self, error: BaseException, future: GraphFuture[Any]) -> None:
        """Say which task it was that could not be sent: pickle raises whatever it comes upon."""
        try:
            if isinstance(error, _OF_PICKLE) or "pickl" in f"{type(error).__name__} {error}".lower():
                error.add_note(errors.to_be_picklable(future.key, self._inner))
        except Exception:
            pass  # it cannot be shown


def _from_the_task_on(error: BaseException) -> Any:
    """The traceback without the frames of the pool and ours, which lead to the task."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is attempt.__code__:
            return trace.tb_next
        trace = trace.tb_next
    return error.__traceback__

"""Running one attempt in this process: arguments filled in, the submitter's context, the clock."""

from __future__ import annotations

from concurrent.futures import Future
from contextvars import Context
from time import perf_counter, sleep
from types import FunctionType
from typing import Any

from graphfutures.away import Away, value_here
from graphfutures.backends.base import Finished, Record
from graphfutures.calls import EACH, Allowed, Quote, fill, name_of
from graphfutures.core.states import CANCELLED, DONE
from graphfutures.current import here
from graphfutures.futures import GraphFuture
from graphfutures.outcomes import without_our_frames
from graphfutures.terms import AT_ONCE, Again, Terms, judged


def _value(need: Any) -> Any:
    return value_here(need._outcome)


def value_of(source: Any) -> Any:
    """The value of what stands in an argument's place; its task is done."""
    if type(source) is GraphFuture and source.state is DONE:
        return value_here(source._outcome)
    if isinstance(source, Quote):
        return source.value
    if isinstance(source, Allowed):
        future = source.future
        if future.cancelled() or getattr(future, "state", None) is CANCELLED:  # perhaps not told yet
            return GraphFuture._error(future) if isinstance(future, GraphFuture) else _cancelled(future)
        if isinstance(future, GraphFuture):
            future._ready_to_tell()  # it has failed if it cannot be read
        error = future.exception()
        return error if error is not None else future.result()  # it may be one that is false
    return source.result()


def _cancelled(future: Future[Any]) -> BaseException:
    try:
        future.result(0)
    except BaseException as error:
        return error
    raise AssertionError("a cancelled future has no result")


def run(future: GraphFuture[Any], worker: int) -> Finished:
    """Run one attempt of a task in this thread."""
    number = future.attempt
    fn, args, rest = future._fn, future._args, future._rest
    terms = again = None
    if future.special:
        terms = future.terms
        if terms is not None:
            again = fn, args, rest, future.tolerated
            if terms.timeout is not None:
                owner: Any = future._owner
                owner.begin_limit(future, terms.timeout)
    name = future._name
    if name is None:
        future._name = name = fn.__name__ if type(fn) is FunctionType else name_of(fn)
    future._fn = future._args = None
    start = perf_counter()
    future._worker = worker
    future._started = start
    try:
        if rest is None:
            value = Context().run(fn, *args)  # as empty as the submitter's was
        elif rest is EACH:
            call = [fn]
            for need in args:
                value = need._outcome
                call.append(value if type(value) not in Away.kinds else value.get())  # half the time of ``*map``
            value = Context().run(*call)
        else:
            future._rest = None
            context, args, kwargs = _whole(args, rest)
            if future.tolerated:
                future.tolerated = ()
            value = context.run(fn, *args, **kwargs)
        good = True
    except BaseException as error:
        good = False
        value = BaseException.with_traceback(error, without_our_frames(error))
        future._traceback = error.__traceback__
    record: Record = (future.serial, name, worker, start, perf_counter(), 0, good)
    if future.dependencies:
        record += labels(future.dependencies)
    try:
        if terms is None:
            return future, number, good, value, record
        return _on_terms((future, number, good, value, record), terms, again)
    finally:
        # The frames of a traceback lead back to this one, which must not lead to the exception.
        del future, value, again


def on_terms(fact: Finished) -> Finished:
    """What becomes of an attempt that has ended without ``run``, its call being still there."""
    future = fact[0]
    if not future.special or future.terms is None:
        return fact
    return judged(fact, future.terms, (future._fn, future._args, future._rest, future.tolerated))


def _on_terms(fact: Finished, terms: Terms, call: Any) -> Finished:
    future = fact[0]
    if future.limit is not None:
        future.limit.end()
        future.limit = None
    fact = judged(fact, terms, call)
    try:
        if not future.place.lends and type(fact[3]) is Again and fact[3].delay:
            sleep(fact[3].delay)  # in the thread that submitted, as it would be without an executor
            fact = (*fact[:3], AT_ONCE, *fact[4:])
        return fact
    finally:
        del future, fact, call


def _whole(args: Any, rest: Any, task: Any = None) -> tuple[Context, Any, dict[str, Any]]:
    """Context and arguments of a call that has not only positional arguments, all of them futures or none."""
    kwargs, plan, context = rest
    if plan is EACH:
        args = map(_value, args)
    elif plan is not None:
        args, kwargs = fill(args, kwargs or {}, plan, value_of, task or here.task)
    return context or Context(), args, kwargs or {}


def call_of(future: GraphFuture[Any]) -> tuple[Any, Any, dict[str, Any], Context]:
    """Function, arguments and context of a task that is to run elsewhere; it lets go of them."""
    fn, args, rest = future._fn, future._args, future._rest
    future._forget_call()
    if rest is EACH:
        rest = None, EACH, None
    context, args, kwargs = _whole(args, rest or (None, None, None), future)
    return fn, tuple(args), kwargs, context


def record_of(
    future: GraphFuture[Any], worker: int, start: float, stop: float | None = None, size: int = 0, *, good: bool
) -> Record:
    """What is to be remembered of an attempt that ends, now unless it is said when, otherwise than by ``run``."""
    future._name = name = future.name
    stop = perf_counter() if stop is None else stop
    return future.serial, name, worker, start, stop, size, good, *labels(future.dependencies)


def labels(needs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What is remembered of dependencies: number and name of each."""
    labels: list[Any] = []
    for need in needs:
        labels.append(need.serial)
        labels.append(need._name)
    return tuple(labels)

"""Running one attempt in this process: arguments filled in, the submitter's context, the clock."""

from __future__ import annotations

from concurrent.futures import Future
from threading import local
from time import perf_counter
from typing import Any

from graphfutures.backends.base import Finished
from graphfutures.calls import Allowed, Quote, fill, name_of
from graphfutures.core.states import DONE
from graphfutures.futures import GraphFuture
from graphfutures.outcomes import without_our_frames

# A named tuple made by its own ``__new__`` takes three times as long.
_tuple = tuple.__new__


class _Here(local):
    """What this thread is doing: the task that it runs, if any."""

    task: GraphFuture[Any] | None = None


here = _Here()


def value_of(source: Any) -> Any:
    """The value of what stands in an argument's place; its task is done."""
    if type(source) is GraphFuture and source.state is DONE:
        return source._outcome
    if isinstance(source, Quote):
        return source.value
    if isinstance(source, Allowed):
        future = source.future
        if future.cancelled():
            return GraphFuture._error(future) if isinstance(future, GraphFuture) else _cancelled(future)
        return future.exception() or future.result()
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
    fn, args, kwargs, plan, context = future._call  # type: ignore[misc]
    if future._name is None:
        future._name = name_of(fn)
    future._call = None
    start = perf_counter()
    future._started = (worker, start)
    try:
        if plan is not None:
            if plan[1] or kwargs:
                args, kwargs = fill(args, kwargs, plan, value_of)
            else:
                args = list(args)
                for position, source in plan[0]:
                    args[position] = value_of(source)
        value = context.run(fn, *args, **kwargs) if kwargs else context.run(fn, *args)
    except BaseException as error:
        stop = perf_counter()
        future._traceback = without_our_frames(error)
        return Finished(future, number, False, error.with_traceback(future._traceback), worker, start, stop)
    return _tuple(Finished, (future, number, True, value, worker, start, perf_counter(), 0, False))

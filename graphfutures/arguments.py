"""What users write around an argument, and what the futures found in arguments are to the graph."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from graphfutures.calls import Allowed, Plan, Quote, futures_of
from graphfutures.core.graph import Task
from graphfutures.externals import External, Report
from graphfutures.futures import GraphFuture, Owner

T = TypeVar("T")


def quote(x: T) -> T:
    """An argument that is passed on as it is: futures in it stay futures, and it is not looked through.

    :param x: anything, for instance a large list, or a list of futures that the task is to wait for itself.
    """
    return Quote(x)  # type: ignore[return-value]


def allow_failure(future: Future[T]) -> T | BaseException:
    """An argument whose failure is a value: the task receives the exception instead of failing with it.

    :param future: a future of any executor; if it is cancelled the task receives a ``CancelledError``.
    :raises TypeError: for anything but a future.
    """
    if not isinstance(future, Future):
        raise TypeError(f"allow_failure takes a future, not {future!r:.80}")
    return Allowed(future)  # type: ignore[return-value]


def value(future: Future[T]) -> T:
    """The future itself, typed as its value, for ``executor.strict.submit``."""
    return future  # type: ignore[return-value]


def dependencies_of(plan: Plan, owner: Owner, report: Report) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """The tasks of a graph that a call waits for, one entry per place; foreign futures get a stand-in each.

    :param report: called with the stand-in when a foreign future settles.
    :return: all of them, and those among them whose failure is a value wherever they stand.
    """
    holes, steps = plan
    if not steps:
        own = tuple([f for _, f in holes if type(f) is GraphFuture and f._owner is owner])
        if len(own) == len(holes):
            return own, ()
    sources = futures_of(plan)
    tasks = _tasks(sources, owner, report)
    if not any(type(source) is Allowed for source in sources):
        return tasks, ()
    strict = {task for task, source in zip(tasks, sources, strict=True) if type(source) is not Allowed}
    return tasks, tuple({task for task in tasks if task not in strict})


def _tasks(sources: Iterable[Any], owner: Owner, report: Report) -> tuple[Task, ...]:
    tasks: list[Task] = []
    for source in sources:
        future = source.future if type(source) is Allowed else source
        if isinstance(future, GraphFuture) and future._owner is owner:
            tasks.append(future)
            continue
        # One stand-in for all who wait for the same future, so that they start in the order of their submission.
        external = owner.externals.get(id(future))
        if external is None:
            external = owner.externals[id(future)] = External(future)
        external.watch(report)
        tasks.append(external)
    return tuple(tasks)

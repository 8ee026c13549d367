"""What users write around an argument, and what the futures found in arguments are to the graph."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from operator import attrgetter
from typing import Any, Final, TypeVar

from graphfutures.calls import ATOMS, EACH, Allowed, Lazy, Plan, Quote, fill, find, futures_of
from graphfutures.core.graph import Task
from graphfutures.externals import External
from graphfutures.futures import GraphFuture, Owner

T = TypeVar("T")
_owner = attrgetter("_owner")


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


Found = tuple[Plan | None, tuple[Task, ...], tuple[Task, ...]]
#: in a call without futures
NOTHING: Final[Found] = (None, (), ())
#: in a call with computations that are not begun yet: whoever looks is to begin them, and look again
LAZY: Final[tuple[Task, ...]] = (Task(0),)


def look(args: tuple[Any, ...], kwargs: dict[str, Any], owner: Owner) -> Found:
    """Where the futures of a call are, and what they are to the graph; foreign futures get a stand-in each.

    :param owner: of the graph.
    :return: the plan; the tasks that the call waits for, one entry per place; and those among them whose failure is
        a value wherever they stand.
    :raises TypeError: for an asyncio future.
    :raises ValueError: for a container that holds itself and a future.
    """
    if not kwargs:
        for argument in args:
            if type(argument) is not GraphFuture or argument._owner is not owner:
                break
        else:
            return EACH, args, ()
    plan = find(args, kwargs)
    if plan is None:
        return NOTHING
    sources = futures_of(plan)
    if any(isinstance(source, Lazy) for source in sources):
        return plan, LAZY, ()
    kinds = set(map(id, map(type, sources)))  # a metaclass may forbid to hash a class
    if kinds == {id(GraphFuture)} and set(map(_owner, sources)) == {owner}:
        return plan, tuple(sources), ()
    tasks = tuple([_task(source, owner) for source in sources])
    if id(Allowed) not in kinds:
        return plan, tasks, ()
    strict = {task for task, source in zip(tasks, sources, strict=True) if type(source) is not Allowed}
    return plan, tasks, tuple({task for task in tasks if task not in strict})


def holds_no_future(args: tuple[Any, ...]) -> bool:
    """Whether no future, marker or computation is among some arguments.

    :raises TypeError: for an asyncio future.
    :raises ValueError: for a container that holds itself and a future.
    """
    try:
        for argument in args:
            if type(argument) not in ATOMS:
                return find(args, {}) is None
    except TypeError:  # of a metaclass that forbids to hash its classes
        return find(args, {}) is None
    return True


def are_atoms(values: Iterable[Any]) -> bool:
    """Whether these are a sequence that is there as a whole, in which no future can be; quicker than one by one."""
    if type(values) is range:
        return True
    try:
        return (type(values) is list or type(values) is tuple) and ATOMS.issuperset(map(type, values))
    except TypeError:  # of a metaclass that forbids to hash its classes
        return False


def begun(door: Any, args: tuple[Any, ...], kwargs: dict[str, Any], plan: Plan | None) -> tuple[Any, dict[str, Any]]:
    """A call with futures in the places of the computations that were not begun.

    :param door: where they are begun.
    """
    plan = plan or EACH
    lazies = [source for source in futures_of(plan) if isinstance(source, Lazy)]
    found = dict(zip(map(id, lazies), lazies[0].begun_on(door, lazies), strict=True))
    return fill(args, kwargs, plan, lambda source: found.get(id(source), source), None)


def _task(source: Any, owner: Owner) -> Task:
    future = source.future if type(source) is Allowed else source
    if isinstance(future, GraphFuture) and future._owner is owner:
        return future
    # One stand-in for all who wait for the same future, so that they start in the order of their submission.
    external: External = owner.stand_ins.of(future)
    external.watch(owner.external_settled)
    return external

"""submit and map: how calls come into the graph."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextvars import Context, copy_context
from time import monotonic
from types import FunctionType
from typing import Any, ParamSpec, Self, TypeVar, overload

from graphfutures import errors
from graphfutures.arguments import LAZY, NOTHING, are_atoms, begun, holds_no_future, look
from graphfutures.bells import Thread
from graphfutures.calls import ATOMS, EACH, Lazy
from graphfutures.config import entered, handed_down
from graphfutures.core.states import DONE
from graphfutures.current import here
from graphfutures.futures import GraphFuture, cancel_all, tell_loop
from graphfutures.hub import Hub
from graphfutures.pieces import Mapped, value_in_time

P = ParamSpec("P")
R = TypeVar("R")


class Door(Executor):
    """What an executor and a view of it have in common: ``submit`` and ``map`` on a hub."""

    _hub: Hub
    _max_workers: int
    _options: Mapping[str, Any] | None = None

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @overload
    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> GraphFuture[R]: ...
    @overload  # mypy calls it unreachable, and uses it wherever the first one does not fit: calls with futures
    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> GraphFuture[R]: ...  # type: ignore[overload-cannot-match]
    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> GraphFuture[R]:
        """Schedule ``fn(*args, **kwargs)``; futures among the arguments are replaced by their values first.

        :param fn: any callable; called in a worker, in a copy of this thread's ``contextvars`` context.
        :param args: may hold futures, of any executor, also inside lists, tuples, sets, dicts and dataclass
            instances at any depth.
        :param kwargs: the same; every keyword goes to ``fn``.
        :return: the future of the call.
        :raises RuntimeError: after ``shutdown``.
        :raises BrokenExecutor: after an initializer has failed.
        :raises TypeError: if ``fn`` is not callable, or an asyncio future is among the arguments.
        :raises ValueError: for a container that holds both itself and a future.
        """
        hub = self._hub
        if (
            hub.refusal is not None
            or self._options is not None
            or (type(fn) is not FunctionType and (not callable(fn) or issubclass(type(fn), Lazy)))
        ):
            self._check(fn)
        plain = not kwargs
        if plain:
            try:
                for argument in args:
                    if type(argument) not in ATOMS:
                        plain = False
                        break
            except TypeError:  # of a metaclass that forbids to hash its classes
                plain = False
        plan, tasks, tolerated = NOTHING if plain else look(args, kwargs, hub)
        if tasks is LAZY:
            given, named = begun(self, args, kwargs, plan)
            return self.submit(fn, *given, **named)
        context: Context | None = copy_context()
        if context and entered in context:
            context = handed_down(context)
        rest: Any = plan
        if kwargs or context or (plan is not None and plan is not EACH):
            rest = kwargs or None, plan, context or None
        future: GraphFuture[R] = GraphFuture(hub, next(hub.serials), fn, args, rest, tasks)
        if tolerated:
            future.tolerated = tolerated
        if self._options is not None:
            self._mark(future)
            future._name = self._options.get("name")
        task = here.task
        if task is not None and task._owner is hub:
            future.special = True
            future.nested = task.serial
        elif hub.max_pending is not None:
            hub.admit(future)
            self._accepted(future)
            return future
        hub.inbox.append(future)
        if hub.ended:
            hub.take_back(future)
        if self._options is not None:
            self._accepted(future)
        if not tasks:
            hub.wake()
        elif tasks[0].state is DONE or hub.trouble:
            hub.wake_unless_waiting(tasks)
        try:
            return future
        finally:
            del future  # the traceback of a task that ran inline leads here

    def post(self, fn: Callable[..., R], args: tuple[Any, ...], name: str, **traits: Any) -> GraphFuture[R]:
        """Schedule a call of positional arguments, a part of a graph that is known whole, under a name.

        :param traits: see ``Task.mark``.
        """
        hub = self._hub
        if hub.refusal is not None or self._options is not None:
            self._check(fn)
        plan, tasks, tolerated = look(args, {}, hub)
        if tasks is LAZY:
            return self.post(fn, tuple(begun(self, args, {}, plan)[0]), name, **traits)
        context: Context | None = copy_context()
        if context and entered in context:
            context = handed_down(context)
        rest: Any = plan
        if context or (plan is not None and plan is not EACH):
            rest = None, plan, context or None
        future: GraphFuture[R] = GraphFuture(hub, next(hub.serials), fn, args, rest, tasks, name)
        if tolerated:
            future.tolerated = tolerated
        if self._options is not None:
            self._mark(future)
        if traits:
            terms = traits.get("terms")
            if terms is not None and future.terms is not None:
                traits["terms"] = future.terms._replace(retries=terms.retries)
            future.mark(**traits)
        if hub.max_pending is not None:
            future.mark(aside=True)
        task = here.task
        if task is not None and task._owner is hub:
            future.special = True
            future.nested = task.serial
        hub.inbox.append(future)
        if hub.ended:
            hub.take_back(future)
        if self._options is not None:
            self._accepted(future)
        hub.wake_unless_waiting(tasks)
        return future

    def pending(self) -> list[GraphFuture[Any]]:
        """What was submitted and has not settled."""
        hub = self._hub
        tasks = (*tuple(hub.scheduler.unsettled), *hub.inbox, *hub._posts)
        return [task for task in tasks if isinstance(task, GraphFuture)]

    def _check(self, fn: Any) -> None:
        """Raise what ``submit`` raises before it does anything."""
        if not callable(fn) or issubclass(type(fn), Lazy):
            raise errors.not_callable(fn)
        hub = self._hub
        task = here.task
        if hub.refusal is not None and not (hub.open_inside and task is not None and task._owner is hub):
            raise errors.refused(hub.refusal)

    def _mark(self, future: GraphFuture[Any]) -> None:
        """Give a new task the options of this view."""

    def _accepted(self, future: GraphFuture[Any]) -> None:
        """Note a task that is in the graph."""

    def _begins(self, mapped: Mapped) -> None:
        """Note a map whose calls are about to come."""

    def _reference(self) -> Callable[[], Door | None]:
        """This executor for as long as it lives."""
        return weakref.ref(self)

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]:
        """Like the builtin ``map``, with the calls made at once and run in workers; values come in order.

        :param iterables: their elements may be, or hold, futures.
        :param timeout: seconds from this call on after which the iterator raises ``TimeoutError``.
        :param chunksize: accepted, and without effect: on processes as many calls are sent at once as are worth it.
        :param buffersize: how many calls may be submitted ahead of the value asked for; None submits all now.
        :raises TypeError: if ``fn`` is not callable, or for a ``buffersize`` that is no integer.
        :raises ValueError: for a ``buffersize`` below 1.
        """
        if not callable(fn) or issubclass(type(fn), Lazy):
            raise errors.not_callable(fn, "map", "xs")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        for iterable in iterables:
            if isinstance(iterable, GraphFuture):
                raise errors.not_iterable_yet(iterable.key)
        end = None if timeout is None else monotonic() + timeout
        calls = zip(*iterables, strict=False)
        if buffersize is None and (lane := self._lane_of_pieces()) is not None:
            return self._in_pieces(fn, iterables, lane).values(end)
        futures = deque(self.submit(fn, *args) for args in itertools.islice(calls, buffersize))
        # The iterator must not keep the executor alive; without it nothing more is submitted.
        door = self._reference() if buffersize else None
        try:
            return _values(futures, door, fn, calls, end)
        finally:
            del futures  # the traceback of a task that ran inline leads here

    def _lane_of_pieces(self) -> str | None:
        """The lane in which ``map`` sends many calls in one task, None where it does not."""
        hub = self._hub
        backend = hub.lanes.get("", hub.backend)
        return "" if backend.capabilities.maps and hub.max_pending is None else None

    def _in_pieces(self, fn: Callable[..., Any], iterables: tuple[Iterable[Any], ...], lane: str) -> Mapped:
        """Schedule the calls of a map; one with futures among its arguments is a task of its own."""
        hub = self._hub
        task = here.task
        nested = task.serial if task is not None and task._owner is hub else 0
        backend = hub.lanes.get(lane, hub.backend)
        single = len(iterables) == 1
        mapped = Mapped(hub, fn, lane, nested, backend.max_workers, single=single)
        self._begins(mapped)
        starting = backend.max_workers  # each of them takes its time for that
        if all(map(are_atoms, iterables)):
            calls = [*iterables[0]] if single else [*zip(*iterables, strict=False)]
            if calls:
                self._check(fn)
                mapped.calls += calls
                mapped.more()
            for _ in calls[:starting]:
                backend.wake()
            return mapped
        add, checks = mapped.calls.append, self._options is not None
        for args in zip(*iterables, strict=False):
            if checks or hub.refusal is not None:
                self._check(fn)
            if not holds_no_future(args):
                mapped.add_future(self.submit(fn, *args))
                continue
            add(args[0] if single else args)
            if mapped.open is None:
                mapped.more()
            if starting:
                starting -= 1
                backend.wake()
        return mapped

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        import asyncio

        # asyncio makes a cancellation of Ctrl-C.
        stopped = is_interrupt(kind) or (kind is not None and issubclass(kind, asyncio.CancelledError))
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def end() -> None:
            try:
                self.shutdown(cancel_futures=stopped)
            finally:
                tell_loop(loop, ended)

        try:
            # Not in a thread of asyncio's, for which the loop would wait whatever happens.
            Thread(end, name=f"{self._hub.name}_aexit").start()
            await ended
        except (asyncio.CancelledError, KeyboardInterrupt):
            if stopped:
                self._hub.abandoned = True  # whoever interrupts twice does not want to wait at exit either
            else:
                self.shutdown(wait=False, cancel_futures=True)
            raise


def _values(
    futures: deque[GraphFuture[R]],
    door: Callable[[], Door | None] | None,
    fn: Callable[..., R],
    calls: Iterator[tuple[Any, ...]],
    end: float | None,
) -> Iterator[R]:
    try:
        while futures:
            if door is not None and (executor := door()) is not None:
                for args in itertools.islice(calls, 1):
                    futures.append(executor.submit(fn, *args))
                del executor
            yield value_in_time(futures.popleft(), end)
    finally:
        cancel_all(futures)


def is_interrupt(kind: type[BaseException] | None) -> bool:
    return kind is not None and issubclass(kind, KeyboardInterrupt)

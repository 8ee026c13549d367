"""GraphExecutor: the door."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from functools import partial
from operator import index
from os import PathLike
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack
from warnings import warn
from weakref import WeakSet

from graphfutures import config, ending, errors
from graphfutures.backends.base import Backend
from graphfutures.backends.registry import ALIASES, BACKENDS, Request, make
from graphfutures.current import here
from graphfutures.diagnostics import blocks
from graphfutures.diagnostics.dashboard import feed
from graphfutures.diagnostics.events import Subscriber, Subscription
from graphfutures.diagnostics.totals import Stats
from graphfutures.door import Door, is_interrupt
from graphfutures.futures import GraphFuture, cancel_all
from graphfutures.history import REMEMBERED, Attempt, History
from graphfutures.hub import Hub
from graphfutures.lanes import Several
from graphfutures.options import Options, counted, traits_of
from graphfutures.overview import Overview
from graphfutures.pieces import Mapped

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_numbers = itertools.count()
#: held while a lane is made that somebody names for the first time
_MAKING = config.lock_over_forks()


class Computer(Overview):
    """What computes graphs of dask's."""

    def get(self, graph: Any, keys: Any, **keywords: Any) -> Any:
        """The values of some keys of a graph as dask writes it, computed here.

        :param graph: a mapping of keys to tasks (tuples of a function and its arguments, dask's own nodes), to data and
            to other keys; or an expression of dask's.
        :param keys: one key, or a list of them, nested at will, which gives a tuple.
        :param keywords: as dask's schedulers take them, ``num_workers``, ``callbacks`` and ``retries`` among them.
        :raises KeyError: for a key that the graph has not got.
        :raises ValueError: for a graph in which keys need each other, or something that is not there.
        :raises Exception: what a task has raised, with its key in the notes.
        """
        from graphfutures.integrations.dask import get_on

        workers = keywords.get("num_workers")
        config.check_num_workers(workers)
        if workers is None or workers >= self._max_workers:
            return get_on(self, graph, keys, **keywords)
        with for_one_call(workers, self) as fewer:
            return get_on(fewer, graph, keys, **keywords)

    def __call__(self, graph: Any, keys: Any, **keywords: Any) -> Any:
        """As ``get``: so dask hands over its graphs whole, and not its own batches of them."""
        return self.get(graph, keys, **keywords)


class GraphExecutor(Computer):
    """A :class:`concurrent.futures.Executor` whose tasks may depend on each other.

    ``executor.submit(f, future)`` runs ``f`` with the value of ``future`` once that is there.  The first four
    parameters are those of ThreadPoolExecutor, in its order.

    :param max_workers: how many tasks run at once; by default what ThreadPoolExecutor takes, or
        ``GRAPHFUTURES_MAX_WORKERS``.
    :param thread_name_prefix: of the worker threads' names.
    :param initializer: called first in each worker; if it raises, the executor is broken.
    :param initargs: arguments of ``initializer``.
    :param backend: ``"threads"``, ``"processes"``, ``"inline"``, ``"dask"`` or ``"ray"``, an alias of dask's or a name
        that an installed package offers; the address of a cluster (``"tcp://…"``, ``"tls://…"``, ``"ray://…"``), a
        ``distributed.Client`` or cluster; any ``concurrent.futures.Executor``, or a ``Backend``; by default threads,
        or ``GRAPHFUTURES_BACKEND``.
    :param max_pending: ``submit`` blocks while so many tasks are unfinished; None does not block.
    :param resources: counted tokens, by name, for tasks with the option ``resources``.
    :param backends: further backends for tasks with the option ``backend``: how many workers each has, by name, or a
        backend or executor, by a name of your own.
    :param record: remember all attempts, not only the last 10,000.
    :param dashboard: show live what the executor does, in a browser: True, or the number of a port of this machine; the
        link is printed to stderr.
    :param mp_context: only loky's, for worker processes.
    :param max_tasks_per_child: for worker processes; without effect on threads.
    :param max_shared_bytes: how many bytes of values worker processes may keep in shared memory, by default half of
        what is free there when the first one starts; what does not fit goes to disk.
    :param security: for the address of a cluster, a ``distributed.Security`` or what its client takes for one.
    :raises ValueError: for an unknown backend, and for numbers below 1.
    :raises TypeError: for an argument of the wrong type, or an unknown option.
    :raises ImportError: for a backend whose packages are not installed, and for ``dashboard`` without Bokeh.
    :raises OSError: for the address of a cluster where nobody answers, and a dashboard that cannot be started.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        backend: str | Backend | Executor | None = None,
        max_pending: int | None = None,
        resources: Mapping[str, float] | None = None,
        backends: Mapping[str, int | Backend | Executor] | None = None,
        record: bool = False,
        dashboard: bool | int = False,
        mp_context: Any = None,
        max_tasks_per_child: int | None = None,
        max_shared_bytes: int | None = None,
        security: Any = None,
        **options: Any,
    ) -> None:
        if options:
            code = GraphExecutor.__init__.__code__
            raise errors.unknown_parameter(options, code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])
        if not isinstance(thread_name_prefix, str):
            raise errors.not_a_prefix(thread_name_prefix)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if mp_context is not None and getattr(mp_context, "_name", None) != "loky":
            raise ValueError("mp_context must be left out, or be loky's: loky.backend.get_context('loky')")
        numbers = {"max_pending": max_pending, "max_tasks_per_child": max_tasks_per_child}
        for name, number in {**numbers, "max_shared_bytes": max_shared_bytes}.items():
            if number is not None:
                _above_zero(name, number)
        if backends is not None and not isinstance(backends, Mapping):
            raise TypeError(
                f"backends must map names to numbers of workers, as in {{'inline': 1}}, not {backends!r:.80}"
            )
        if backend is None and thread_name_prefix in BACKENDS:
            warn(errors.named_like_a_backend(thread_name_prefix), stacklevel=2)
        port = feed.port_of(dashboard)
        name = thread_name_prefix or f"GraphExecutor-{next(_numbers)}"
        workers = config.default_max_workers() if max_workers is None else _above_zero("max_workers", max_workers)
        rest = max_tasks_per_child, max_shared_bytes, security
        request = Request(workers, name, initializer, initargs, max_workers, *rest)
        chosen = config.default_backend() if backend is None else backend
        if security is not None and not (isinstance(chosen, str) and chosen.startswith(("tcp://", "tls://"))):
            raise errors.security_elsewhere(chosen)
        hands = make(chosen, request)
        self._backend_name = ALIASES.get(chosen, chosen) if isinstance(chosen, str) else None
        self._options = None
        self._max_shared_bytes = max_shared_bytes
        self._max_workers = hands.max_workers
        self._shutdown = False
        self._entered: Any = None
        self._hub = hub = Hub(hands, name, History((), None if record else REMEMBERED), max_pending, counted(resources))
        hands.start(hub)
        for lane, what in (backends or {}).items():
            self._add_lane(lane, what)
        ending.register(hub)
        # An executor that is dropped still finishes its work; then its threads leave.
        hub.door = weakref.ref(self, partial(_dropped, weakref.ref(hub)))
        hub.side_door = Door
        if port is not None:
            try:
                hub.dashboard = feed.start(hub, port)
            except BaseException:
                hub.release()
                raise
        blocks.noted(self)

    def _add_lane(self, lane: str, what: Any) -> None:
        if not isinstance(lane, str):
            raise TypeError(f"backends must map names to numbers of workers, not {lane!r:.80}")
        name, hub = ALIASES.get(lane, lane), self._hub
        label = f"{hub.name}_{name}"
        if what is None or not (isinstance(what, (Executor, type)) or hasattr(what, "capabilities")):
            workers = config.default_max_workers() if what is None else _above_zero(f"backends[{lane!r}]", what)
            backend = make(name, Request(workers, label, None, (), what, None, self._max_shared_bytes))
        else:
            backend = make(what, Request(config.default_max_workers(), label, None, (), None))
        if not isinstance(hub.backend, Several):
            hub.backend = Several(hub.backend)
        hub.backend.add(name, backend, hub)
        hub.scheduler.lane(name)
        hub.interruptible = hub.interruptible or backend.capabilities.submits_run
        hub.lanes = {"": hub.backend.main, **hub.backend.lanes}

    def _lane(self, backend: Any) -> tuple[str, Backend]:
        """The lane of an option ``backend``, and the backend that serves it."""
        hub = self._hub
        name = ALIASES.get(backend, backend) if isinstance(backend, str) else backend
        if name is None or name == self._backend_name:
            return "", hub.lanes.get("", hub.backend)
        if isinstance(name, str) and name in BACKENDS:
            with _MAKING:
                if name not in hub.lanes:
                    self._add_lane(name, None)
        if not isinstance(name, str) or name not in hub.lanes:
            raise errors.no_such_lane(backend, dict.fromkeys([*filter(None, hub.lanes), *BACKENDS]))
        return name, hub.lanes[name]

    def __reduce__(self) -> Any:
        """For its own worker processes, where it arrives as ``current_executor()``."""
        hub = self._hub
        tokens = [getattr(backend, "token", None) for backend in (hub.backend, *hub.lanes.values())]
        if not any(tokens):
            raise errors.executor_stays()
        from graphfutures.worker.inside import arrived

        return arrived, (list(filter(None, tokens)),)

    def __repr__(self) -> str:
        return f"<GraphExecutor {self._hub.name}, max_workers={self._max_workers}, {self._hub.backlog()} unfinished>"

    def options(self, **options: Unpack[Options]) -> View:
        """An executor on the same graph whose ``submit`` and ``map`` carry these options.

        :param name: label of the tasks, a str; by default what the function is called.
        :param priority: an int or a float, larger first; 0 by default.
        :param retries: how many further attempts there are after one that has failed; 0 by default.
        :param retry_on: after which exceptions: a type, a tuple of them, or ``f(exception) -> bool``; by default
            ``Exception``.
        :param backoff: seconds before the first further attempt, doubled each time, or ``f(attempt) -> seconds``; no
            slot is held meanwhile.
        :param timeout: seconds that one attempt may take, not counting those in which it waits inside; then the
            future fails with ``TaskTimeoutError``; a worker process is stopped then, a thread holds its slot until the
            function returns.
        :param join: whether futures and delayed objects in the returned value are waited for, without a slot, and
            replaced by their values.
        :param backend: on which backend of this executor: one of ``backends``, or by a name that is known anyhow.
        :param resources: tokens that the task holds while it computes, by name, of those that the executor has; on a
            cluster, if the executor was given none, of those that its workers have.
        :param workers: on a cluster of dask's, the addresses or names of those that may run the task.
        :param crash_retries: further attempts after the death of a worker process, 3 by default; with 0 a task that was
            begun is never begun again.
        :return: a view; its ``shutdown`` waits for what went through it, and closes the view alone.
        :raises TypeError: for an unknown option or a value of the wrong type.
        :raises ValueError: for a value that cannot be, or that the backend cannot keep; from ``submit``, if a task
            asks for more tokens than there are.
        """
        return View(self, options)

    @property
    def strict(self) -> Strict:
        """The same executor, its ``submit`` typed so that every argument is checked."""
        return Strict(self)

    # -- ending -------------------------------------------------------------------------------

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new tasks; what was submitted is still run, to the end of the graph.

        :param wait: return only when all is done, callbacks included, and no thread is left; without effect
            inside a task or a callback of this executor, which could only wait for itself.
        :param cancel_futures: cancel what has not started, and what depends on it.
        """
        hub = self._hub
        self._shutdown = True
        hub.refuse(RuntimeError(errors.AFTER_SHUTDOWN), inside=not cancel_futures)
        if cancel_futures and not hub.ended:
            hub.drop_pending()
        hub.release()
        task = here.task
        inside = (task is not None and task._owner is hub) or hub.callbacks.inside() or hub.inside()
        if wait and not inside:
            hub.finish()
            if hub.dashboard is not None:
                hub.dashboard.stop()

    # -- ending -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        config.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        config.leave(self)
        try:
            if is_interrupt(kind) and not self._hub.ended:
                self._hub.drop_pending(running=True)
            self.shutdown(cancel_futures=is_interrupt(kind))
        except KeyboardInterrupt as interrupt:
            if is_interrupt(kind):
                self._hub.abandoned = True  # whoever interrupts twice does not want to wait at exit either
            else:
                self.__exit__(KeyboardInterrupt, interrupt, None)
            raise

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        config.leave(self)
        await super().__aexit__(kind, error, trace)

    # -- seeing it ----------------------------------------------------------------------------

    @property
    def dashboard_link(self) -> str | None:
        """The link of the dashboard, else of that of the cluster that runs the tasks; None if there is none."""
        links = [self._hub.dashboard and self._hub.dashboard.link]
        links += [getattr(backend, "dashboard_link", None) for backend in self._hub.backends]
        return next(filter(None, links), None)

    @property
    def _threads(self) -> set[Any]:
        return set(getattr(self._hub.backend, "threads", ()))  # a copy, for those who iterate over it

    @property
    def _broken(self) -> bool | str:
        refusal = self._hub.refusal
        return str(refusal) if isinstance(refusal, errors.BrokenGraphError) else False


# Python's own messages name a method by this, and nobody knows the classes that it is inherited from.
_OVERVIEW = ("explain", "stats", "attempts", "subscribe", "trace", "report", "visualize")
for _method in ("submit", "map", "put", "get", "__call__", *_OVERVIEW):
    _inherited: Any = getattr(GraphExecutor, _method)
    _inherited.__qualname__, _inherited.__module__ = f"GraphExecutor.{_method}", __name__


@contextmanager
def for_one_call(max_workers: int | None, backend: Executor) -> Iterator[GraphExecutor]:
    """An executor on another one, for one graph; after an interrupt nobody waits for what still runs."""
    executor = GraphExecutor(max_workers, backend=backend)
    interrupted = True
    try:
        yield executor
        interrupted = False
    except Exception:
        interrupted = False
        raise
    finally:
        executor.shutdown(wait=not interrupted, cancel_futures=interrupted)


class View(Computer):
    """An executor on the graph of another one, whose tasks carry options."""

    _options: Mapping[str, Any]

    def __init__(self, executor: GraphExecutor, options: Mapping[str, Any]) -> None:
        self._executor = executor
        self._hub = executor._hub
        self._options = options
        lane, self._backend = executor._lane(options.get("backend"))
        hands, counts = self._backend.capabilities, bool(self._hub.resources)
        self._traits = traits_of(options, limits=hands.limits_time, clusters=hands.passes_on, counts=counts)
        if lane:
            self._traits["lane"] = lane
        self._max_workers = executor._max_workers
        self._shutdown = False
        self._pending: set[GraphFuture[Any]] = set()
        self._maps: WeakSet[Mapped] = WeakSet()

    def __reduce__(self) -> Any:
        arrived, (tokens,) = self._executor.__reduce__()
        return arrived, (tokens, dict(self._options))

    def __repr__(self) -> str:
        return f"<{self._executor!r} with {dict(self._options)!r:.200}>"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=is_interrupt(kind))

    def _check(self, fn: Any) -> None:
        super()._check(fn)
        if self._shutdown:
            raise RuntimeError(errors.AFTER_SHUTDOWN)
        broken = self._hub.broken.get(self._traits.get("lane", ""))
        if broken is not None:
            raise errors.refused(broken)

    def _mark(self, future: GraphFuture[Any]) -> None:
        if self._traits:
            for name, number in self._traits.get("resources", {}).items():
                declared = self._hub.resources
                if number > declared.get(name, 0):
                    raise errors.too_many_tokens(name, number, declared)
            future.mark(**self._traits)

    def _accepted(self, future: GraphFuture[Any]) -> None:
        if future.lane in self._hub.broken:  # meanwhile
            self._hub.lane_broke(future.lane, self._hub.broken[future.lane])
        elif future.lane:
            self._backend.wake()  # which may be idle while the main one is busy
        self._pending.add(future)
        future._listen(self._pending.discard)

    def _lane_of_pieces(self) -> str | None:
        if self._options.keys() - {"backend"} or self._hub.max_pending is not None:
            return None
        return self._traits.get("lane", "") if self._backend.capabilities.maps else None

    def _begins(self, mapped: Mapped) -> None:
        mapped.pending = self._pending
        self._maps.add(mapped)

    def _reference(self) -> Callable[[], Door | None]:
        return lambda: self  # nobody else may keep a view

    def options(self, **options: Unpack[Options]) -> View:
        """A view with these options over the ones of this view; closed, if this one is."""
        view = View(self._executor, {**self._options, **options})
        view._shutdown = self._shutdown
        return view

    @property
    def strict(self) -> Strict:
        """The same view, its ``submit`` typed so that every argument is checked."""
        return Strict(self)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Close this view alone.

        :param wait: return only when all that went through it has settled.
        :param cancel_futures: cancel what of it has not started.
        """
        self._shutdown = True
        if cancel_futures:
            for mapped in tuple(self._maps):
                mapped.cancel()
            cancel_all(tuple(self._pending))
        while wait and (pending := [one for one in tuple(self._pending) if not one.done() and one is not here.task]):
            wait_for(pending)  # as they end there may be more, of maps


class Strict(Executor):
    """An executor or a view, typed so that every argument is checked; a future is given as ``value(future)``."""

    def __init__(self, door: GraphExecutor | View) -> None:
        self._door = door
        self._executor = door if isinstance(door, GraphExecutor) else door._executor
        self._max_workers = door._max_workers

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> GraphFuture[R]:
        """See :meth:`GraphExecutor.submit`."""
        return self._door.submit(fn, *args, **kwargs)

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[R]:
        """See :meth:`GraphExecutor.map`."""
        return self._door.map(fn, *iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize)

    def put(self, value: T) -> GraphFuture[T]:
        """See :meth:`GraphExecutor.put`."""
        return self._door.put(value)

    def explain(self, future: GraphFuture[Any]) -> str:
        """See :meth:`GraphExecutor.explain`."""
        return self._door.explain(future)

    def stats(self) -> Stats:
        """See :meth:`GraphExecutor.stats`."""
        return self._door.stats()

    def subscribe(self, subscriber: Subscriber) -> Subscription:
        """See :meth:`GraphExecutor.subscribe`."""
        return self._door.subscribe(subscriber)

    def trace(self, path: str | PathLike[str]) -> None:
        """See :meth:`GraphExecutor.trace`."""
        self._door.trace(path)

    def report(self, path: str | PathLike[str]) -> None:
        """See :meth:`GraphExecutor.report`."""
        self._door.report(path)

    def visualize(self, path: str | PathLike[str] | None = None, **options: Any) -> Any:
        """See :meth:`GraphExecutor.visualize`."""
        return self._door.visualize(path, **options)

    def attempts(self) -> list[Attempt]:
        """See :meth:`GraphExecutor.attempts`."""
        return self._door.attempts()

    def options(self, **options: Unpack[Options]) -> Strict:
        """See :meth:`GraphExecutor.options`; the view is typed strictly, too."""
        return self._door.options(**options).strict

    @property
    def strict(self) -> Strict:
        """Itself."""
        return self

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See the ``shutdown`` of what this is made of."""
        self._door.shutdown(wait, cancel_futures=cancel_futures)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._door.__exit__(kind, error, trace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        await self._door.__aexit__(kind, error, trace)

    @property
    def _shutdown(self) -> bool:
        return self._door._shutdown


def unpack(future: GraphFuture[Any], n: int) -> list[GraphFuture[Any]]:
    """n futures for the n items of one result; they take no task of their own.

    :param future: of a GraphExecutor, its value anything that can be iterated over.
    :param n: how many items it will have; with any other number each of the futures fails with ValueError.
    :raises TypeError: for something that is not such a future, or an ``n`` that is no integer.
    :raises ValueError: for an ``n`` below 0.
    """
    owner: Any = future._owner if isinstance(future, GraphFuture) else None
    if not hasattr(owner, "unpacked"):
        raise TypeError(f"unpack takes a future of a GraphExecutor, not {future!r:.80}")
    if index(n) < 0:
        raise ValueError(f"n must not be negative, but is {n}")
    return owner.unpacked(future, n)  # type: ignore[no-any-return]


def _dropped(reference: weakref.ref[Hub], _: object) -> None:
    hub = reference()
    if hub is not None and not hub.ended:
        hub.release()


def _above_zero(name: str, number: int) -> int:
    try:
        index(number)
    except TypeError:
        raise errors.not_a_number(name, number) from None
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0")
    return number

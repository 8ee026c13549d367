"""What tasks in a worker process see of their executor: they submit to the graph that they are part of, and wait.

A future of such a task is a ``Far``; it settles when the attendant tells how its task has ended.  While a task waits,
its thread reads what comes, and runs what it waits for, where the attendant says so.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait as wait_for
from itertools import count
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet, WeakValueDictionary

import cloudpickle

from graphfutures import errors
from graphfutures.arguments import LAZY, begun, look
from graphfutures.attendants import Callbacks
from graphfutures.backends.processes import messages
from graphfutures.backends.processes.functions import Functions
from graphfutures.backends.processes.messages import CALLED_OFF, RAISED, VALUE
from graphfutures.backends.processes.nested import of_worker
from graphfutures.calls import Allowed, Lazy, Quote, fill, name_of
from graphfutures.core.circles import AnyOf
from graphfutures.core.graph import Task, Wait
from graphfutures.core.states import CANCELLED, DONE, FAILED, WAITING
from graphfutures.current import here
from graphfutures.door import Door
from graphfutures.externals import External, StandIns
from graphfutures.futures import GraphFuture, cancel_all
from graphfutures.lending import has_room
from graphfutures.unpacking import item_of
from graphfutures.worker.running import Running, here_runs

if TYPE_CHECKING:
    from graphfutures.worker.loop import Worker

#: how many functions of others are kept
MANY = 256


class Far(GraphFuture[Any]):
    """The future of a task that was submitted in this worker, and runs wherever there is a worker."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        inside: Any = self._owner
        if inside.running.telling.begun:
            inside.running.telling.linked = True
            return of_worker, (self.serial,)
        return super().__reduce__()

    def __del__(self) -> None:
        inside: Any = self._owner
        inside.running.forgotten.append(self.serial)

    @property
    def key(self) -> str:
        """The name and a number, unique in its executor."""
        inside: Any = self._owner
        return str(inside.ask("key", self.serial))


class Inside:
    """What the tasks of a worker submit through; the owner of their futures."""

    #: see ``Hub``
    cancel_wanted = None
    ended = False

    def __init__(self, worker: Worker, running: Running) -> None:
        self.running = running
        self.stand_ins = StandIns()
        self.waits: dict[Any, Sequence[Task]] = {}
        self.futures: WeakValueDictionary[int, Far] = WeakValueDictionary()
        self._worker = worker
        self._numbers = count(1)
        self._went: dict[int, bytes | None] = {}
        self._answers: dict[int, bytes] = {}
        self._functions = Functions()
        self._opened: dict[bytes, Any] = {}
        self._callbacks = Callbacks("graphfutures")
        self._executor = InsideExecutor(self)

    def door(self) -> InsideExecutor:
        """The executor."""
        return self._executor

    # -- for futures: see ``futures.Owner`` ----------------------------------------------------

    def external_settled(self, external: External) -> None:
        """Futures of others are refused."""

    def cancel(self, future: GraphFuture[Any], *, force: bool) -> bool:
        """See ``Owner``."""
        return bool(self.ask("cancel", [future.serial], force))

    def cancel_many(self, futures: list[GraphFuture[Any]]) -> None:
        """See ``Owner``."""
        self.ask("cancel", [future.serial for future in futures], False)

    def call_back(self, future: GraphFuture[Any], callbacks: deque[Callable[[], object]]) -> None:
        """See ``Owner``."""
        self._callbacks.add(future, callbacks)

    def nudge(self) -> None:
        """See ``Owner``: who waits is told."""

    def inside(self) -> bool:
        """See ``Owner``."""
        return False

    def lent(
        self, task: Any, wait: Wait | None = None, needs: Sequence[Task] = (), *, exact: Sequence[Task] = ()
    ) -> Lent:
        """See ``Owner``."""
        return Lent(self, needs, exact, every=wait is None or wait.every)

    def waited(self, task: Any, future: GraphFuture[Any]) -> None:
        """See ``Owner``."""
        if not self.is_far(future):
            with self.lent(task):
                future.park(None)
            return
        while not future._settled:
            self.serve([future], every=True)

    def is_far(self, future: Any) -> bool:
        """Whether a future is one of those that the attendant knows."""
        return isinstance(future, Far) and future._owner is self

    # -- submitting ---------------------------------------------------------------------------

    def unpacked(self, future: GraphFuture[Any], n: int) -> list[Far]:
        """Futures for the n items of a value; each takes a task, since the value may be anywhere."""
        name, key = future.name, future.key
        return [self.submit(item_of, (future, at, n, key), {}, None, f"{name}[{at}]") for at in range(n)]

    def submit(
        self,
        fn: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Mapping[str, Any] | None,
        name: str | None,
    ) -> Far:
        """Have a call run in the graph of which the present task is a part."""
        plan, tasks, _ = look(args, kwargs, self)
        if tasks is LAZY:
            given, named = begun(self._executor, args, kwargs, plan)
            return self.submit(fn, tuple(given), named, options, name)
        needs: list[tuple[int, bool]] = []

        def hole(source: Any) -> Any:
            future: Any = source.future if type(source) is Allowed else source
            if self.is_far(future):
                needs.append((future.serial, future is not source))
                return messages.Hole(len(needs) - 1)
            if type(source) is Quote:
                return source.value
            if future.done() and not future.cancelled() and future.exception() is None:
                return future.result()  # it was put, or is of others
            raise errors.future_of_others(name_of(fn))

        if plan is not None:
            filled, kwargs = fill(args, kwargs, plan, hole, None)
            args = tuple(filled)
        found = self._functions.find(fn)
        pickled = cloudpickle.dumps((found.pickled if found is not None else cloudpickle.dumps(fn), args, kwargs))
        if name is None:
            name = (options or {}).get("name") or name_of(fn)
        future = Far(self, next(self._numbers), name=name)
        future.state = WAITING
        self.futures[future.serial] = future
        ticket = self.running.ticket if here.task is not None else 0
        self._worker.send((messages.SUBMIT, ticket, future.serial, name, options, pickled, needs))
        return future

    def open(self, pickled: bytes, *values: Any) -> tuple[Any, Any, Any]:
        """The function, the arguments and the keyword arguments of a call that was submitted in a worker."""
        function, args, kwargs = messages.filled(pickled, values, self._worker.namespace.loads)
        fn = self._opened.get(function)
        if fn is None:
            if len(self._opened) >= MANY:
                self._opened.clear()
            fn = self._opened[function] = self._worker.namespace.loads(function)
        return fn, args, kwargs

    # -- waiting ------------------------------------------------------------------------------

    def serve(self, needs: Sequence[Any], *, every: bool) -> None:
        """Wait until one or every one of some futures has settled, and run meanwhile what is said."""
        self.until_gone(*self.begin(needs, every=every, exact=True, serves=True))

    def begin(self, needs: Sequence[Any], *, every: bool, exact: bool, serves: bool) -> tuple[int, float]:
        """Say that the present task waits; nothing else is left in the queue then.

        :param serves: whether this thread reads and, while there is room on its stack, runs what it is told to.
        :return: the number of the wait, and since when it lasts.
        """
        worker = self._worker
        number = next(self._numbers)
        with worker.reading:
            self.running.waiting = number
            back = worker.taken_back()
        numbers = [need.serial for need in needs]
        worker.tell()
        if worker.page is not None:
            worker.page.since(inf)
        runs = serves and has_room(2)
        worker.send((messages.WAIT, self.running.ticket, number, numbers, every, exact, serves, runs, back))
        return number, perf_counter()

    def until_gone(self, number: int, since: float, *, again: bool = False) -> None:
        """Read and run what comes until the attendant lets the present task go on.

        :param again: whether the wait goes on then.
        :raises DeadlockError: if what it waits for needs the task itself.
        """
        worker = self._worker
        while True:
            worker.tell()
            worker.listen(lambda: number in self._went or self.running.queue)
            if number in self._went:
                break
            self._run_inside(self.running.queue.popleft(), number)
        error = self._went.pop(number)
        if again and error is None:
            return
        self.running.waiting = 0
        self.running.began += perf_counter() - since
        if worker.page is not None:
            worker.page.since(self.running.began)
        if error is not None:
            raise messages.error_of(error)

    def _run_inside(self, task: Any, number: int) -> None:
        ticket, began = self.running.ticket, self.running.began
        self.running.waiting = 0
        self._worker.attempt(task)
        self._worker.tell()
        self.running.ticket, self.running.began = ticket, began
        self.running.waiting = number
        if self._worker.page is not None:
            self._worker.page.started(ticket)
            self._worker.page.since(inf)

    # -- what comes ---------------------------------------------------------------------------

    def heard(self, word: str, what: Sequence[Any]) -> None:
        """See to a message."""
        if word == messages.OUTCOMES:
            for number, how, told in what[0]:
                self._settle(number, how, told)
        elif word == messages.GO:
            self._went[what[0]] = what[1]
        elif word == messages.ANSWER:
            self._answers[what[0]] = what[1]

    def _settle(self, number: int, how: int, told: Any) -> None:
        future = self.futures.get(number)
        if future is None or future._settled:
            return
        if how == CALLED_OFF:
            state, outcome = CANCELLED, None
        elif how == RAISED:
            state, outcome = FAILED, messages.error_of(told)
        else:
            try:
                state, outcome = DONE, told if how == VALUE else messages.READERS[how](told)
            except BaseException as error:
                state, outcome = FAILED, error.with_traceback(None)
        future._outcome = outcome
        future.state = state
        future._announce()

    def ask(self, what: str, *arguments: Any) -> Any:
        """Ask the attendant, and wait for what it says.

        :raises Exception: what came of it there.
        """
        number = next(self._numbers)
        worker = self._worker
        worker.send((messages.ASK, number, what, arguments))
        while number not in self._answers:
            if worker.reading.acquire(timeout=0.005):  # the main thread may hold it until something comes
                try:
                    while number not in self._answers:
                        worker.hear()
                finally:
                    worker.reading.release()
        good, answer = pickle.loads(self._answers.pop(number))
        if not good:
            raise messages.error_of(answer)
        return answer


class Lent:
    """A wait in which the main thread of a worker reads nothing: its slot is lent as long as this is entered.

    :param inside: of the worker.
    :param needs: what the task waits for.
    :param exact: what it cannot go on without.
    :param every: whether it needs all of that.
    :raises DeadlockError: from entering, if one of them needs the task.
    """

    def __init__(self, inside: Inside, needs: Sequence[Task], exact: Sequence[Task], *, every: bool) -> None:
        self._inside = inside
        self._needs = needs
        self._exact = exact
        self._every = every
        #: whether the task goes on without waiting for a free slot
        self.at_once = False
        self._wait: tuple[int, float] | None = None

    def __enter__(self) -> Self:
        inside = self._inside
        needs = [need for need in self._needs if inside.is_far(need)]
        exact = self._exact if all(map(inside.is_far, self._exact)) else ()
        if exact and not (type(exact) is AnyOf and inside.running.max_workers > 1):
            inside.serve(exact, every=type(exact) is not AnyOf)
            return self  # there is nothing left to wait for
        self._wait = inside.begin(exact or needs, every=self._every, exact=bool(exact), serves=False)
        inside.until_gone(*self._wait, again=True)
        inside.running.lent_out += 1
        inside._worker.look()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        inside = self._inside
        if self._wait is None:
            return
        inside.running.lent_out -= 1
        inside._worker.send((messages.BACK, self._wait[0], self.at_once or kind is TimeoutError))
        inside.until_gone(*self._wait)


class InsideExecutor(Door):
    """The executor of the present task, in the worker process that runs it.

    :param inside: of the worker.
    :param options: that its tasks carry.
    """

    _shutdown = False
    _broken = False

    def __init__(self, inside: Inside, options: Mapping[str, Any] | None = None) -> None:
        self._inside = inside
        self._options = options
        self._mine: WeakSet[Far] = WeakSet()  # of a view
        self._max_workers = inside.running.max_workers

    def __repr__(self) -> str:
        return f"<GraphExecutor, max_workers={self._max_workers}, from inside one of its tasks>"

    def __reduce__(self) -> Any:
        return arrived, ((self._inside.running.token,), self._options)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> GraphFuture[Any]:
        """See ``GraphExecutor.submit``."""
        if not callable(fn) or issubclass(type(fn), Lazy):
            raise errors.not_callable(fn)
        if self._shutdown:
            raise RuntimeError(errors.AFTER_SHUTDOWN)
        future = self._inside.submit(fn, args, kwargs, self._options, None)
        if self._options is not None:
            self._mine.add(future)
        return future

    def post(self, fn: Callable[..., Any], args: tuple[Any, ...], name: str, **traits: Any) -> GraphFuture[Any]:
        """See ``Door.post``."""
        options = dict(self._options or {})
        if traits.get("priority"):
            options["priority"] = traits["priority"]
        if traits.get("terms") is not None:
            options["retries"] = traits["terms"].retries
        return self._inside.submit(fn, args, {}, options or None, str(name))

    def pending(self) -> list[GraphFuture[Any]]:
        """See ``Door.pending``: as far as they were submitted here."""
        return [future for future in self._inside.futures.values() if not future._settled]

    def _lane_of_pieces(self) -> None:
        return None  # calls of a map are tasks of their own

    def options(self, **options: Any) -> InsideExecutor:
        """See ``GraphExecutor.options``."""
        self._inside.ask("check", options)
        return InsideExecutor(self._inside, {**(self._options or {}), **options})

    @property
    def strict(self) -> InsideExecutor:
        """See ``GraphExecutor.strict``."""
        return self

    def put(self, value: Any) -> GraphFuture[Any]:
        """See ``GraphExecutor.put``."""
        future: GraphFuture[Any] = GraphFuture(None, 0, name="put")
        future.set_result(value)
        return future

    def explain(self, future: GraphFuture[Any]) -> str:
        """See ``GraphExecutor.explain``."""
        if not self._inside.is_far(future):
            raise ValueError(f"{future!r:.80} was not submitted in this worker process")
        return str(self._inside.ask("explain", future.serial))

    def stats(self) -> dict[str, int]:
        """See ``GraphExecutor.stats``."""
        return dict(self._inside.ask("stats"))

    def get(self, graph: Any, keys: Any, **keywords: Any) -> Any:
        """See ``GraphExecutor.get``."""
        from graphfutures.integrations.dask import get_on

        return get_on(self, graph, keys, **keywords)

    def __call__(self, graph: Any, keys: Any, **keywords: Any) -> Any:
        """As ``get``."""
        return self.get(graph, keys, **keywords)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``GraphExecutor.shutdown``: inside a task that does not wait, but that of a view does."""
        if self._options is None:
            self._inside.ask("shutdown", cancel_futures)
            return
        self._shutdown = True
        mine = list(self._mine)
        if cancel_futures:
            cancel_all(mine)
        if wait:
            wait_for(mine)


def arrived(tokens: Sequence[str], options: Mapping[str, Any] | None = None) -> InsideExecutor:
    """The executor that was pickled, in its own workers.

    :raises TypeError: anywhere else.
    """
    for running in here_runs:
        if running.token in tokens:
            inside = running._owner
            return inside.door() if options is None else InsideExecutor(inside, options)
    raise errors.executor_elsewhere()

"""Nothing lives longer than somebody needs it.

The collector is off: what goes, goes because the last reference to it has, with no circle left behind.
"""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, as_completed, wait
from functools import partial
from typing import Any

import pytest

from graphfutures import GraphExecutor, allow_failure, unpack

LIMIT = 10.0
_references: list[Any] = []


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    _references.clear()


@pytest.fixture(params=["threads", "inline", "wrapped"])
def executor(request: pytest.FixtureRequest) -> Iterator[GraphExecutor]:
    with ThreadPoolExecutor(1) as inner:
        backend = inner if request.param == "wrapped" else request.param
        with GraphExecutor(1, backend=backend) as executor:
            yield executor


class Thing:
    """Something whose end can be waited for."""


def watched(thing: object | None = None) -> tuple[Any, Callable[[], bool]]:
    """A thing, and whether it goes within the time limit."""
    thing = Thing() if thing is None else thing
    gone = threading.Event()
    _references.append(weakref.ref(thing, lambda _: gone.set()))
    return thing, lambda: gone.wait(LIMIT)


def ignore(*args: object, **kwargs: object) -> None:
    """Do nothing with them."""


# -- arguments and functions ------------------------------------------------------------------


def test_the_class_of_an_argument_goes(executor: GraphExecutor) -> None:
    made = [type("Made", (base,), {}) for base in (object, list, dict)]
    for cls in made:
        assert executor.submit(repr, cls()).result(LIMIT)
    gone = [watched(cls)[1] for cls in made]
    del cls
    made.clear()
    gc.collect()  # a class is a circle by itself
    assert all(g() for g in gone)


def test_arguments_go_when_the_task_has_run(executor: GraphExecutor) -> None:
    things = [watched() for _ in range(3)]
    (a, a_gone), (b, b_gone), (c, c_gone) = things
    del things
    one = executor.submit(int)
    future = executor.submit(ignore, a, [b, one], c=c)
    del a, b, c
    future.result(LIMIT)
    assert a_gone()
    assert b_gone()
    assert c_gone()
    assert future.done()


def test_a_function_goes_when_it_has_run(executor: GraphExecutor) -> None:
    thing, gone = watched()
    future = executor.submit(partial(ignore, thing))
    future.result(LIMIT)
    del thing
    assert gone()
    assert future.name == "ignore"


def test_arguments_go_when_the_task_is_cancelled(executor: GraphExecutor) -> None:
    foreign: Future[int] = Future()
    thing, gone = watched()
    future = executor.submit(ignore, thing, foreign)
    dependent = executor.submit(ignore, future, thing)
    del thing
    future.cancel()
    assert gone()
    assert dependent.cancelled()


def test_arguments_go_when_a_dependency_fails(executor: GraphExecutor) -> None:
    foreign: Future[int] = Future()
    thing, gone = watched()
    future = executor.submit(ignore, thing, foreign)
    dependent = executor.submit(ignore, future, thing)
    del thing
    foreign.set_exception(ValueError())
    assert isinstance(dependent.exception(LIMIT), ValueError)
    assert gone()


def test_contexts_go_when_the_task_has_run(executor: GraphExecutor) -> None:
    from contextvars import ContextVar

    variable: ContextVar[object] = ContextVar("variable")
    thing, gone = watched()
    token = variable.set(thing)
    future = executor.submit(ignore)
    variable.reset(token)
    del thing, token
    future.result(LIMIT)
    assert gone()


# -- results ----------------------------------------------------------------------------------


def test_a_result_goes_with_its_future_though_the_worker_is_idle(executor: GraphExecutor) -> None:
    things = [watched()]
    gone = things[0][1]
    future = executor.submit(lambda: things.pop()[0])
    future.result(LIMIT)
    del future
    assert gone()


def test_a_future_that_nobody_kept_is_gone_when_its_task_has_run(executor: GraphExecutor) -> None:
    things = [watched()]
    gone = things[0][1]
    executor.submit(lambda: things.pop()[0])
    assert gone()


def test_intermediates_of_a_chain_go_while_it_still_runs() -> None:
    executor = GraphExecutor(1)
    gate, events = threading.Event(), []

    def step(_: object) -> object:
        thing, gone = watched()
        events.append(gone)
        return thing

    future = executor.submit(gate.wait, LIMIT)
    for _ in range(5):
        future = executor.submit(step, future)
    still, last = threading.Event(), threading.Event()
    future = executor.submit(lambda _: still.set(), future)
    future = executor.submit(lambda _: last.wait(LIMIT), future)
    gate.set()
    assert still.wait(LIMIT)
    assert all(gone() for gone in events)
    last.set()
    future.result(LIMIT)
    executor.shutdown()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_tree_holds_few_leaves_at_a_time(workers: int) -> None:
    alive, peak = set(), [0]

    class Leaf(Thing):
        def __init__(self) -> None:
            alive.add(id(self))
            peak[0] = max(peak[0], len(alive))

        def __del__(self) -> None:
            alive.discard(id(self))

    with GraphExecutor(workers) as executor:
        gate = threading.Event()
        plugs = [executor.submit(gate.wait, LIMIT) for _ in range(workers)]
        layer = [executor.submit(Leaf) for _ in range(256)]
        while len(layer) > 1:
            layer = [executor.submit(lambda a, b: Leaf(), a, b) for a, b in zip(layer[::2], layer[1::2], strict=True)]
        del plugs
        gate.set()
        layer[0].result(LIMIT)
    assert peak[0] <= 10 * workers + 4


def test_a_value_goes_with_the_items_taken_from_it(executor: GraphExecutor) -> None:
    pair = [watched(), watched()]
    first_gone, second_gone = pair[0][1], pair[1][1]

    def both() -> list[object]:
        return [pair.pop(0)[0], pair.pop(0)[0]]

    first, second = unpack(executor.submit(both), 2)
    wait([first, second], LIMIT)
    del first
    assert first_gone(), "one item does not keep the others"
    second.result(LIMIT)
    del second
    assert second_gone()


def test_put_keeps_its_value_as_long_as_the_future(executor: GraphExecutor) -> None:
    thing, gone = watched()
    future = executor.put(thing)
    user = executor.submit(ignore, future)
    del thing, future
    user.result(LIMIT)
    assert gone()


def test_callbacks_go_when_they_have_been_called(executor: GraphExecutor) -> None:
    thing, gone = watched()
    called = threading.Event()
    future = executor.submit(int)
    future.add_done_callback(lambda _, thing=thing: called.set())
    del thing
    assert called.wait(LIMIT)
    assert gone()
    assert future.done()


# -- exceptions -------------------------------------------------------------------------------


class Failure(Exception):
    pass


def fail(gone: list[Callable[[], bool]]) -> None:
    error = Failure()
    gone.append(watched(error)[1])
    local, local_gone = watched()  # held by the traceback
    gone.append(local_gone)
    try:
        raise error
    finally:
        del error
        ignore(local)


def test_an_exception_goes_with_its_future(executor: GraphExecutor) -> None:
    gone: list[Callable[[], bool]] = []
    future = executor.submit(fail, gone)
    wait([future], LIMIT)
    del future
    assert all(g() for g in gone)
    assert len(gone) == 2


def test_an_exception_that_was_raised_and_caught_goes(executor: GraphExecutor) -> None:
    gone: list[Callable[[], bool]] = []
    future = executor.submit(fail, gone)
    for _ in range(3):
        with pytest.raises(Failure):
            future.result(LIMIT)
    for _ in range(3):
        try:
            future.result(LIMIT)
        except Failure:
            pass
    del future
    assert all(g() for g in gone)


def test_exceptions_that_were_inherited_go(executor: GraphExecutor) -> None:
    gone: list[Callable[[], bool]] = []
    head = executor.submit(fail, gone)
    heir = executor.submit(ignore, executor.submit(ignore, head))
    error = heir.exception(LIMIT)
    gone.append(watched(error)[1])
    assert isinstance(error, Failure)
    assert error.__cause__ is head.exception()
    with pytest.raises(Failure):
        heir.result(LIMIT)
    del head, heir, error
    assert all(g() for g in gone)
    assert len(gone) == 3


def test_a_tolerated_exception_goes(executor: GraphExecutor) -> None:
    gone: list[Callable[[], bool]] = []
    future = executor.submit(lambda error: type(error).__name__, allow_failure(executor.submit(fail, gone)))
    assert future.result(LIMIT) == "Failure"
    assert all(g() for g in gone)


def test_what_a_task_that_never_ran_would_have_tolerated_goes(executor: GraphExecutor) -> None:
    value, gone = watched()
    future = executor.submit(
        ignore, Future(), allow_failure(executor.submit(lambda x: x, value)), executor.submit(fail, [])
    )
    assert isinstance(future.exception(LIMIT), Failure)
    del value
    assert gone()


def test_the_value_goes_whose_items_nobody_wants(executor: GraphExecutor) -> None:
    source, source_gone = watched(executor.submit(ignore, Future()))
    items = unpack(source, 2)
    assert items[0].cancel()
    assert source.cancel()
    del source
    assert source_gone()
    assert all(item.cancelled() for item in items)


def test_what_a_cancelled_future_raises_goes(executor: GraphExecutor) -> None:
    future = executor.submit(ignore, Future())
    future.cancel()
    try:
        future.result()
    except CancelledError as error:
        gone = watched(error)[1]
    future, future_gone = watched(future)
    del future
    assert gone()
    assert future_gone()


def test_a_map_that_raises_leaves_no_circle(executor: GraphExecutor) -> None:
    gone: list[Callable[[], bool]] = []
    values = executor.map(fail, [gone])
    with pytest.raises(Failure):
        next(values)
    del values
    assert all(g() for g in gone)


# -- executors --------------------------------------------------------------------------------


def test_an_executor_that_is_dropped_is_gone_at_once_and_finishes_its_work() -> None:
    gate = threading.Event()
    executor, gone = watched(GraphExecutor(2, thread_name_prefix="dropped"))
    head = executor.submit(gate.wait, LIMIT)
    futures = [executor.submit(str, executor.submit(id, head)) for _ in range(10)]
    threads = set(executor._threads)
    del executor
    assert gone()
    gate.set()
    assert not wait(futures, LIMIT).not_done
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()


def test_the_hub_goes_when_the_work_is_done() -> None:
    inner = ThreadPoolExecutor(2)
    for backend in ("threads", "inline", inner):
        executor = GraphExecutor(2, backend=backend)
        future = executor.submit(int)
        future.add_done_callback(ignore)
        hub, gone = watched(executor._hub)
        future.result(LIMIT)
        executor.shutdown()
        del hub, executor, future
        gc.collect()  # hub and backend know each other
        assert gone(), backend
    inner.shutdown()


def test_an_iterator_of_map_does_not_keep_the_executor() -> None:
    executor, gone = watched(GraphExecutor(2))
    values = executor.map(str, range(10))
    threads = set(executor._threads)
    del executor
    assert gone()
    assert list(values) == [str(n) for n in range(10)]
    for thread in threads:
        thread.join(LIMIT)


def test_a_view_keeps_the_executor() -> None:
    view = GraphExecutor(1).options(name="view")
    assert view.submit(int).result(LIMIT) == 0
    executor, gone = watched(view._executor)
    executor.shutdown()
    del view, executor
    assert gone()


def keeps_nothing_alive(foreign: Future[Any], backend: str) -> None:
    executor = GraphExecutor(1, backend=backend)
    hub, hub_gone = watched(executor._hub)
    thing, thing_gone = watched()
    future = executor.submit(ignore, thing, foreign)
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()
    del executor, future, thing, hub
    assert thing_gone()
    gc.collect()
    assert hub_gone()


@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_a_foreign_future_that_never_settles_keeps_nothing_alive(backend: str) -> None:
    foreign: Future[int] = Future()
    keeps_nothing_alive(foreign, backend)
    foreign.set_result(1)


def test_another_executors_future_that_never_settles_keeps_nothing_alive() -> None:
    gate = threading.Event()
    with GraphExecutor(1) as other:
        keeps_nothing_alive(other.submit(gate.wait, LIMIT), "threads")
        gate.set()


# -- a service that runs for long -------------------------------------------------------------


def independent(executor: GraphExecutor) -> None:
    executor.submit(int).result(LIMIT)


def chained(executor: GraphExecutor) -> None:
    executor.submit(str, executor.submit(abs, executor.submit(int))).result(LIMIT)


def failing(executor: GraphExecutor) -> None:
    executor.submit(str, executor.submit(int, "x")).exception(LIMIT)


def cancelled(executor: GraphExecutor) -> None:
    future = executor.submit(int, Future())
    executor.submit(str, future)
    assert future.cancel()


def called_back(executor: GraphExecutor) -> None:
    done = threading.Event()
    executor.submit(int).add_done_callback(lambda _: done.set())
    assert done.wait(LIMIT)


def viewed(executor: GraphExecutor) -> None:
    executor.options(name="view", priority=1).submit(int).result(LIMIT)


def mapped(executor: GraphExecutor) -> None:
    next(executor.map(str, range(5), buffersize=2))


def foreign(executor: GraphExecutor) -> None:
    other: Future[int] = Future()
    future = executor.submit(int, other)
    other.set_result(1)
    future.result(LIMIT)


@pytest.mark.parametrize("use", [independent, chained, failing, called_back, viewed, mapped, foreign, cancelled])
def test_10_000_submits_leave_nothing_behind(use: Callable[[GraphExecutor], None]) -> None:
    gc.enable()
    rounds = 10_000 if use is independent else 2_000
    with GraphExecutor(2) as executor:
        for memory_of in (executor._hub.history, executor._hub.without):
            memory_of.extend([()] * memory_of.maxlen)
        for _ in range(200):
            use(executor)
        gc.collect()
        tracemalloc.start()
        try:
            objects, memory = len(gc.get_objects()), tracemalloc.get_traced_memory()[0]
            for _ in range(rounds):
                use(executor)
            executor.submit(int).result(LIMIT)
            gc.collect()
            history = 10_100 * 5  # its rows are replaced one by one, and may be seen by the collector
            assert len(gc.get_objects()) - objects < history
            executor._hub.history.clear()
            executor._hub.without.clear()
            gc.collect()
            assert len(gc.get_objects()) - objects < rounds // 10
            assert tracemalloc.get_traced_memory()[0] - memory < 100_000
        finally:
            tracemalloc.stop()
        assert not executor._hub.scheduler.unsettled
        assert not executor._hub.room


def test_waiting_for_a_future_many_times_leaves_nothing_at_it() -> None:
    gate = threading.Event()
    with GraphExecutor(2) as executor:
        late = executor.submit(gate.wait, LIMIT)
        for _ in range(300):
            wait([late, executor.submit(int)], LIMIT, FIRST_COMPLETED)
            next(as_completed([late, executor.submit(int)], LIMIT))
            with pytest.raises(TimeoutError):
                late.result(0)
        held = [reference for reference in gc.get_referents(late._condition) if isinstance(reference, list)]
        assert not any(held)
        gate.set()

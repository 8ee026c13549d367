"""What users' objects, callbacks and threads may do, and no worker may suffer from (CONTRACT 3 to 5, 8)."""

import gc
import threading
from concurrent.futures import Future, wait

import pytest
from patience import LIMIT, in_time

from graphfutures import BrokenExecutor, CancelledError, GraphExecutor, unpack


class Absent:
    """A proxy whose object is not there."""

    def __getattr__(self, name):
        raise LookupError(name)

    def __call__(self):
        return "called"


class Chatty:
    """Answers to every name."""

    def __getattr__(self, name):
        return Chatty()

    def __call__(self, *args):
        return "called"


class Unprintable:
    def __repr__(self):
        raise ZeroDivisionError


def fail():
    raise KeyError("failed")


def works(executor):
    return executor.submit(abs, -1).result(LIMIT) == 1


def test_a_function_whose_name_cannot_be_asked_for(executor):
    assert executor.submit(Absent()).result(LIMIT) == "called"
    assert executor.submit(Chatty()).result(LIMIT) == "called"
    assert works(executor)


@pytest.mark.parametrize("fn", [Chatty(), print])
def test_a_failure_is_inherited_by_a_call_that_cannot_be_described(executor, fn):
    failed = executor.submit(fail)
    heir = executor.submit(fn, {Unprintable(): failed})
    assert isinstance(heir.exception(LIMIT), KeyError)
    assert works(executor)


@pytest.mark.asks(shares_memory=True)
@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, CancelledError])
def test_a_value_that_raises_while_it_is_unpacked(executor, error):
    def items():
        yield 1
        raise error

    first, second = unpack(executor.submit(items), 2)
    assert isinstance(first.exception(LIMIT), error) or first.cancelled()
    assert not wait([second], LIMIT).not_done
    assert works(executor)


@pytest.mark.parametrize("end", ["is done", "fails", "is cancelled"])
def test_a_long_chain_from_executor_to_executor(make, held, end, case):
    executors = make(), make()
    future = held
    futures = []
    for n in range(1000):
        future = executors[n % 2].submit(abs, future)
        futures.append(future)
    if end == "is done":
        held.set_result(-1)
    elif end == "fails":
        held.set_exception(KeyError("failed"))
    else:
        held.cancel()
    limit = 4 * LIMIT if case.capabilities.passes_on else LIMIT  # on a cluster each step is a message there and back
    assert not wait(futures, limit).not_done
    assert future.cancelled() == (end == "is cancelled")
    assert future.cancelled() or (future.exception() is None) == (end == "is done")


def test_a_view_that_nobody_keeps_maps_to_the_end(executor):
    assert list(executor.options(name="x").map(abs, range(10), buffersize=2)) == list(range(10))


def test_a_view_does_not_wait_for_what_was_refused(executor):
    view = executor.options(name="x")
    executor.shutdown()
    with pytest.raises(RuntimeError):
        view.submit(abs, -1)
    in_time(view.shutdown)


def test_a_view_without_options_is_one(executor, held):
    view = executor.options()
    future = view.submit(abs, held)
    held.set_result(-1)
    in_time(view.shutdown)
    assert future.result(0) == 1
    with pytest.raises(RuntimeError):
        view.submit(abs, -1)
    assert works(executor)


def test_a_finalizer_inside_the_graph_shuts_the_executor_down(make, held):
    executor, ran = make(), threading.Event()

    class Last:
        def __init__(self):
            self.itself = self

        def __del__(self):
            executor.shutdown(wait=False, cancel_futures=True)
            ran.set()

    pending = [executor.submit(abs, held) for _ in range(3)]
    hub = executor._hub
    gc.disable()
    try:
        Last()
        with hub._lock:
            gc.collect()
    finally:
        gc.enable()
    assert ran.is_set()
    in_time(executor.shutdown)
    assert all(future.cancelled() for future in pending)


@pytest.mark.asks(submits_run=False, shares_memory=True)
def test_a_callback_submits_while_others_wait_for_room(make):
    executor = make(max_pending=1)
    go, called, pause, more = threading.Event(), threading.Event(), threading.Event(), []

    def submit_more(_):
        while not executor._hub.room:  # until the thread below waits
            pause.wait(0.001)
        more.append(executor.submit(abs, -2))
        called.set()

    first = executor.submit(go.wait, LIMIT)
    first.add_done_callback(submit_more)
    go.set()
    second = executor.submit(called.wait, LIMIT)
    third = threading.Thread(target=executor.submit, args=(abs, -3))
    third.start()
    assert second.result(LIMIT)
    assert more[0].result(LIMIT) == 2
    third.join(LIMIT)
    assert not third.is_alive()


def test_a_foreign_future_whose_end_was_not_told(executor):
    foreign = Future()

    def interrupted(_):
        raise SystemExit

    foreign.add_done_callback(interrupted)
    future = executor.submit(abs, foreign)
    with pytest.raises(SystemExit):
        foreign.set_result(-1)
    in_time(executor.shutdown)
    assert future.result(0) == 1


@pytest.mark.asks(shares_memory=True)
def test_a_dropped_executor_runs_what_waited_for_a_foreign_future(case):
    foreign, ran = Future(), threading.Event()
    GraphExecutor(case.workers, backend=case.backend).submit(lambda _: ran.set(), foreign)
    gc.collect()
    foreign.set_result(None)
    assert ran.wait(LIMIT)


@pytest.mark.asks(makes_workers=True)
def test_an_initializer_that_fails_while_others_submit(make, case):
    def initializer():
        threading.Event().wait(0.01)
        raise KeyError("initializer")

    for _ in range(5):
        executor, futures = make(initializer=initializer), []
        try:
            for _ in range(20_000):
                futures.append(executor.submit(abs, -1))
        except BrokenExecutor:
            pass
        assert not wait(futures, LIMIT).not_done
        in_time(executor.shutdown)
        assert all(isinstance(future.exception(0), BrokenExecutor) for future in futures)


@pytest.mark.asks(submits_run=False, shares_memory=True)
def test_shutdown_waits_for_workers_that_come_meanwhile(make, case):
    for _ in range(20):
        executor = make()

        def grow(depth, executor=executor):
            return depth and executor.submit(grow, depth - 1)

        for _ in range(case.workers):
            executor.submit(grow, 3)
        in_time(executor.shutdown)
        assert not [thread for thread in executor._threads if thread.is_alive()]


def test_many_callbacks_on_one_future(executor, held):
    future, called, last = executor.submit(abs, held), [], threading.Event()
    for n in range(20_000):
        future.add_done_callback(lambda _, n=n: called.append(n))
    future.add_done_callback(lambda _: last.set())
    held.set_result(-1)
    assert last.wait(LIMIT)
    assert called == list(range(20_000))

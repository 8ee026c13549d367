"""An executor of somebody else as the backend: whose it is, what it is asked for, how it breaks (CONTRACT 10)."""

import os
import threading
import weakref
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar
from functools import partial
from multiprocessing import get_context

import loky
import pytest
from patience import LIMIT, in_time

from graphfutures import BrokenGraphError, DeadlockError, GraphExecutor, TaskFailedError, quote
from graphfutures.backends.executor import STAMP

POOLS = {
    "processes": partial(ProcessPoolExecutor, mp_context=get_context("forkserver")),
    "loky": loky.ProcessPoolExecutor,
}


class Asked(Executor):
    """An executor whose tasks the test ends, and which says how many it has been given."""

    def __init__(self, max_workers=None):
        if max_workers is not None:
            self._max_workers = max_workers
        self.given = []
        self.more = threading.Semaphore(0)
        self.refusal = None

    def submit(self, fn, /, *args, **kwargs):
        if self.refusal is not None:
            raise self.refusal
        future = Future()
        self.given.append((future, fn, args, kwargs))
        self.more.release()
        return future

    def wait_for_one(self):
        assert self.more.acquire(timeout=LIMIT)

    def run(self, number):
        future, fn, args, kwargs = self.given[number]
        assert future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)


@pytest.fixture
def inner():
    with ThreadPoolExecutor(2) as one:
        yield one


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.ci) for name in POOLS])
def pool(request):
    with POOLS[request.param](2) as one:
        yield one


# -- how much it is given ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "ours", "found"), [(3, None, 3), (3, 2, 2), (2, 3, 2), (None, 5, 5), ("many", 4, 4), (0, 4, 4)]
)
def test_no_more_than_its_workers_or_ours(own, ours, found):
    inner = Asked(own)
    with GraphExecutor(ours, backend=inner) as executor:
        assert executor._max_workers == found
        futures = [executor.submit(abs, -n) for n in range(8)]
        for _ in range(found):
            inner.wait_for_one()
        assert executor.stats()["running"] == found == len(inner.given)
        for number in range(8):
            if number >= found:
                inner.wait_for_one()
            assert len(inner.given) == min(8, found + number)
            inner.run(number)
            assert futures[number].result(LIMIT) == number


def test_where_nobody_says_how_many(monkeypatch):
    monkeypatch.setenv("GRAPHFUTURES_MAX_WORKERS", "7")
    with GraphExecutor(backend=Asked()) as executor:
        assert executor._max_workers == 7
    with GraphExecutor(backend=Asked(9)) as executor:
        assert executor._max_workers == 9


def test_what_was_not_handed_over_can_be_cancelled_and_overtaken():
    inner = Asked(1)
    with GraphExecutor(backend=inner) as executor:
        first = executor.submit(abs, -1)
        inner.wait_for_one()
        second, third = executor.submit(abs, -2), executor.submit(abs, -3)
        urgent = executor.options(priority=1).submit(abs, -4)
        assert not first.cancel()
        assert first.running()
        assert second.cancel()
        for number, future in enumerate([first, urgent, third]):
            inner.run(number)
            assert future.result(LIMIT) > 0
            if number < 2:
                inner.wait_for_one()
        assert len(inner.given) == 3


def test_cancelling_while_submit_blocks():
    class Blocking(Asked):
        gate = threading.Event()

        def submit(self, fn, /, *args, **kwargs):
            future = super().submit(fn, *args, **kwargs)
            self.gate.wait(LIMIT)
            return future

    inner = Blocking(1)
    with GraphExecutor(backend=inner) as executor:
        first = executor.submit(abs, -1)
        inner.wait_for_one()
        second = executor.submit(abs, -2)
        assert in_time(second.cancel)
        inner.gate.set()
        inner.run(0)
        assert first.result(LIMIT) == 1


# -- what comes back --------------------------------------------------------------------------


def test_a_graph_on_processes(pool):
    with GraphExecutor(backend=pool) as executor:
        squares = [executor.submit(pow, n, 2) for n in range(10)]
        assert executor.submit(sum, squares).result(LIMIT) == 285
        assert executor.submit(os.getpid).result(LIMIT) != os.getpid()
    attempts = executor.attempts()
    assert {attempt.worker for attempt in attempts} <= {0, 1}
    assert all(attempt.start <= attempt.stop for attempt in attempts)
    assert max(attempt.stop for attempt in attempts[:10]) <= attempts[10].start
    assert pool.submit(abs, -1).result(LIMIT) == 1, "it is not shut"


def test_an_exception_keeps_its_type_and_the_remote_traceback(pool):
    with GraphExecutor(backend=pool) as executor:
        failed = executor.submit(int, "x")
        heir = executor.submit(abs, failed)
        assert type(heir.exception(LIMIT)) is ValueError
        assert type(failed.exception().__cause__).__name__ == "_RemoteTraceback"
        assert STAMP not in vars(failed.exception())


class Strange(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raise_strange():
    raise Strange(1, 2)


def raise_broken():
    raise BrokenProcessPool("of another pool")


def test_an_exception_that_cannot_travel_breaks_no_pool(pool):
    with GraphExecutor(backend=pool) as executor:
        failed = executor.submit(raise_strange)
        with pytest.raises(TaskFailedError, match="Strange: 1 and 2"):
            failed.result(LIMIT)
        assert executor.submit(abs, -1).result(LIMIT) == 1


def test_a_broken_pool_inside_a_task_is_not_ours(pool):
    with GraphExecutor(backend=pool) as executor:
        assert type(executor.submit(raise_broken).exception(LIMIT)) is BrokenProcessPool
        assert executor.submit(abs, -1).result(LIMIT) == 1


def test_what_cannot_be_pickled_fails_alone(pool):
    with GraphExecutor(backend=pool) as executor:
        for argument in (threading.Lock(), quote(Future())):
            failed = executor.submit(repr, argument)
            assert failed.key in failed.exception(LIMIT).__notes__[0]
        assert "cannot be pickled" in str(executor.submit(repr, quote([executor.put(1)])).exception(LIMIT)) or (
            type(pool).__module__.startswith("loky")
        )
        assert executor.submit(abs, -1).result(LIMIT) == 1


def test_a_lambda_runs_where_the_pool_can_send_it(pool):
    with GraphExecutor(backend=pool) as executor:
        future = executor.submit(lambda: 1)
        if isinstance(pool, ProcessPoolExecutor):
            assert "<lambda>" in future.exception(LIMIT).__notes__[0]
        else:
            assert future.result(LIMIT) == 1
        assert executor.submit(abs, -1).result(LIMIT) == 1


def test_threads_run_in_the_submitters_context(inner):
    variable = ContextVar("variable", default="nobody")
    with GraphExecutor(backend=inner) as executor:
        variable.set("Ada")
        future = executor.submit(variable.get)
        variable.set("Bob")
        assert future.result(LIMIT) == "Ada"


def test_others_may_use_it_at_the_same_time(inner):
    with GraphExecutor(backend=inner) as one, GraphExecutor(backend=inner) as two:
        for _ in range(100):
            direct = inner.submit(abs, -1)
            assert one.submit(sum, [two.submit(abs, -1), direct]).result(LIMIT) == 2
    assert inner.submit(abs, -1).result(LIMIT) == 1


@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_a_graph_executor_in_another(backend):
    with GraphExecutor(1, backend=backend) as inner, GraphExecutor(backend=inner) as executor:
        future = executor.submit(len, quote([executor.submit(abs, -1)]))
        assert future.result(LIMIT) == 1, "the inner one finds no futures in it"
        assert executor.submit(sum, [future, 1]).result(LIMIT) == 2
        assert type(executor.submit(int, "x").exception(LIMIT)) is ValueError
        assert executor._max_workers == 1


def test_nothing_is_kept_after_the_end(inner):
    class Thing:
        pass

    def fail(thing):
        raise KeyError(thing)

    with GraphExecutor(backend=inner) as executor:
        gone = []
        for fn in (fail, lambda thing: thing):
            thing = Thing()
            event = threading.Event()
            reference = weakref.ref(thing, lambda _, event=event: event.set())
            gone.append((reference, event))
            future = executor.submit(fn, thing)
            wait([future], LIMIT)
            del thing, future
        assert all(event.wait(LIMIT) for _, event in gone)


def test_no_thread_of_ours_before_it_is_needed_nor_after(inner):
    before = threading.active_count()
    executor = GraphExecutor(backend=inner, thread_name_prefix="wrapper")
    assert threading.active_count() == before
    assert executor.submit(abs, -1).result(LIMIT) == 1
    assert [thread.name for thread in threading.enumerate() if "wrapper" in thread.name] == ["wrapper_pump"]
    executor.shutdown()
    assert not [thread for thread in threading.enumerate() if "wrapper" in thread.name]


# -- how it ends ------------------------------------------------------------------------------


def broken_with(executor, kind):
    """The error that everything is settled with, and that later submissions raise."""
    with pytest.raises(BrokenGraphError) as caught:
        executor.submit(abs, -1)
    assert isinstance(caught.value.__cause__, kind)
    assert executor._broken
    return str(caught.value)


@pytest.mark.parametrize("refusal", [RuntimeError("shut by its owner"), BrokenExecutor("shut by its owner")])
def test_an_executor_that_refuses(refusal):
    inner = Asked(2)
    executor = GraphExecutor(backend=inner)
    running = executor.submit(abs, -1)
    inner.wait_for_one()
    inner.refusal = refusal
    held = Future()
    pending = [executor.submit(abs, held), executor.submit(abs, running), executor.submit(abs, -2)]
    assert all(isinstance(future.exception(LIMIT), BrokenGraphError) for future in pending)
    message = broken_with(executor, type(refusal))
    assert "Asked" in message
    assert "shut by its owner" in message
    inner.run(0)
    assert running.result(LIMIT) == 1
    in_time(executor.shutdown)
    held.cancel()


def test_an_executor_that_gives_back_something_else():
    inner = Asked(2)
    with GraphExecutor(backend=inner) as executor:
        future = executor.submit(abs, -1)
        inner.wait_for_one()
        inner.given[0][0].set_result(1)
        assert isinstance(future.exception(LIMIT), TypeError)
        future = executor.submit(abs, -2)
        inner.wait_for_one()
        inner.run(1)
        assert future.result(LIMIT) == 2


@pytest.mark.parametrize("error", [NotImplementedError("for this"), RecursionError("too deep"), ValueError("odd")])
def test_a_refusal_that_concerns_one_task(error):
    inner = Asked(2)
    with GraphExecutor(backend=inner) as executor:
        inner.refusal = error
        assert executor.submit(abs, -1).exception(LIMIT) is error
        inner.refusal = None
        future = executor.submit(abs, -2)
        inner.wait_for_one()
        inner.run(0)
        assert future.result(LIMIT) == 2


def test_a_pool_that_breaks(pool):
    executor = GraphExecutor(backend=pool)
    running = [executor.submit(os._exit, 1)]
    pending = [executor.submit(abs, running[0]), *(executor.submit(abs, -n) for n in range(100))]
    assert isinstance(running[0].exception(LIMIT), BrokenProcessPool)
    assert not wait(pending, LIMIT).not_done
    in_time(executor.shutdown)
    for future in pending:
        assert future.exception(0) is None or isinstance(future.exception(0), BrokenExecutor)
    with GraphExecutor(backend=pool) as late:
        assert isinstance(late.submit(abs, -1).exception(LIMIT), BrokenGraphError)
        assert "ProcessPoolExecutor" in broken_with(late, BrokenProcessPool)


def test_a_pool_whose_initializer_fails(caplog):
    submitted = threading.Event()

    def initializer():
        submitted.wait(LIMIT)
        raise KeyError("no licence")

    with ThreadPoolExecutor(1, initializer=initializer) as inner:
        executor = GraphExecutor(backend=inner)
        futures = [executor.submit(abs, -1) for _ in range(20)]
        submitted.set()  # no sooner: what is broken refuses
        assert not wait(futures, LIMIT).not_done
        assert all(isinstance(future.exception(0), BrokenExecutor) for future in futures)
        broken_with(executor, BrokenExecutor)
        in_time(executor.shutdown)


def test_its_owner_shuts_it_and_cancels_all():
    given = threading.Semaphore(0)

    class Counting(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            try:
                return super().submit(fn, *args, **kwargs)
            finally:
                given.release()

    inner = Counting(1)
    inner._max_workers = 3  # so that two tasks wait inside
    gate = threading.Event()
    executor = GraphExecutor(backend=inner)
    inner._max_workers = 1
    running, waiting, last = executor.submit(gate.wait, LIMIT), executor.submit(abs, -1), executor.submit(abs, -2)
    dependent, held = executor.submit(abs, last), Future()
    foreign = executor.submit(abs, held)
    for _ in range(3):
        assert given.acquire(timeout=LIMIT)
    inner.shutdown(wait=False, cancel_futures=True)
    for future in (waiting, last, dependent):
        with pytest.raises(CancelledError):
            future.result(LIMIT)
    assert executor.stats()["running"] == 1, "their slots are free"
    gate.set()
    assert running.result(LIMIT) is True
    assert isinstance(executor.submit(abs, -3).exception(LIMIT), BrokenGraphError)
    assert isinstance(foreign.exception(LIMIT), BrokenGraphError)
    assert "after shutdown" in broken_with(executor, RuntimeError)
    in_time(executor.shutdown)
    held.cancel()


def test_an_initializer_belongs_to_the_inner_executor(inner):
    with pytest.raises(ValueError, match="give the initializer to the ThreadPoolExecutor itself"):
        GraphExecutor(backend=inner, initializer=print)
    with pytest.raises(TypeError, match="unknown option 'max_worker'"):
        GraphExecutor(backend=inner, max_worker=2)


# -- waits inside, where no slot is lent


@pytest.mark.parametrize(
    "way", [lambda future: future.result(), lambda future: wait([future]), lambda future: [*as_completed([future])]]
)
def test_the_last_worker_does_not_wait_for_what_only_it_could_run(way):
    with ThreadPoolExecutor(2) as inner, GraphExecutor(backend=inner) as executor:
        waiting = threading.Barrier(2)

        def ask():
            waiting.wait(LIMIT)
            asked = executor.submit(abs, executor.submit(int, "-7"))
            way(asked)
            return asked.result()

        ends = [executor.submit(ask) for _ in range(2)]
        errors = [end.exception(LIMIT) for end in ends]
        assert any(isinstance(error, DeadlockError) and "options(join=True)" in str(error) for error in errors)
        assert executor.submit(int).result(LIMIT) == 0


def test_who_waits_for_what_another_worker_can_run_goes_on():
    with ThreadPoolExecutor(2) as inner, GraphExecutor(backend=inner) as executor:
        assert executor.submit(lambda: executor.submit(abs, -1).result()).result(LIMIT) == 1
    with ThreadPoolExecutor(1) as inner, GraphExecutor(1, backends={"pool": inner}) as executor:
        there = executor.options(backend="pool")
        assert there.submit(lambda: executor.submit(abs, -1).result()).result(LIMIT) == 1

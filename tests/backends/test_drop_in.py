"""What the standard library documents of an Executor (CONTRACT 2)."""

import contextvars
import gc
import inspect
import logging
import os
import threading
import weakref
from concurrent.futures import BrokenExecutor, Executor, Future

import pytest
from patience import LIMIT, in_time

from graphfutures import GraphExecutor, GraphFuture

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def echo(*args, **kwargs):
    return args, kwargs


def test_is_an_executor(executor):
    assert isinstance(executor, Executor)


def test_submit_returns_a_standard_future(executor):
    future = executor.submit(pow, 2, 5)
    assert isinstance(future, Future)
    assert isinstance(future, GraphFuture)
    assert future.result(LIMIT) == 32


@pytest.mark.parametrize("word", ["fn", "self", "name", "priority", "timeout", "backend", "retries"])
def test_every_keyword_goes_to_the_function(executor, word):
    assert executor.submit(echo, 1, **{word: 2}).result(LIMIT) == ((1,), {word: 2})


def test_fn_is_positional_only(executor):
    with pytest.raises(TypeError):
        executor.submit(fn=echo)


def test_with_waits_for_everything(case):
    with GraphExecutor(case.workers, backend=case.backend) as executor:
        futures = [executor.submit(pow, 2, n) for n in range(50)]
    assert all(future.done() for future in futures)
    assert [future.result(0) for future in futures] == [2**n for n in range(50)]


def test_exceptions_keep_type_and_arguments(executor):
    future = executor.submit(int, "three")
    with pytest.raises(ValueError, match="invalid literal"):
        future.result(LIMIT)
    assert type(future.exception(LIMIT)) is ValueError


class Odd(BaseException):
    pass


def raise_odd():
    raise Odd("odd")


def test_a_base_exception_does_not_harm_a_worker(executor):
    for _ in range(6):
        with pytest.raises(Odd):
            executor.submit(raise_odd).result(LIMIT)
    assert executor.submit(pow, 2, 2).result(LIMIT) == 4


@pytest.mark.asks(submits_run=False)
def test_at_most_max_workers_at_once(executor, case, gate):
    futures = [executor.submit(gate.passage, n) for n in range(3 * case.workers)]
    gate.arrived(case.workers)
    assert gate.nobody_new()
    gate.open()
    assert [future.result(LIMIT) for future in futures] == list(range(3 * case.workers))


@pytest.mark.asks(submits_run=False, shares_memory=True, makes_workers=True)
def test_tasks_run_in_threads_of_the_given_name(make):
    executor = make(2, "loader")
    name = executor.submit(lambda: threading.current_thread().name).result(LIMIT)
    assert name.startswith("loader_")


@pytest.mark.asks(submits_run=True)
def test_inline_runs_in_the_thread_that_submits(executor):
    future = executor.submit(threading.get_ident)
    assert future.done()
    assert future.result(0) == threading.get_ident()


@pytest.mark.asks(submits_run=True)
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_inline_lets_interrupts_pass(executor, interrupt):
    def raise_it():
        raise interrupt("now")

    with pytest.raises(interrupt):
        executor.submit(raise_it)
    assert executor.submit(pow, 2, 2).result(LIMIT) == 4


def test_the_number_of_workers_is_readable(make, case):
    assert make()._max_workers == case.at_once


@pytest.mark.asks(submits_run=False, shares_memory=True, makes_workers=True)
def test_the_default_number_of_workers_is_that_of_the_standard_pool(case):
    with GraphExecutor(backend=case.backend) as executor:
        count = getattr(os, "process_cpu_count", os.cpu_count)()
        assert executor._max_workers == min(32, (count or 1) + 4)


@pytest.mark.asks(submits_run=False, shares_memory=True, makes_workers=True)
def test_threads_are_started_as_they_are_needed(executor, case, gate):
    assert len(executor._threads) == 0
    executor.submit(pow, 2, 2).result(LIMIT)
    assert len(executor._threads) == 1
    futures = [executor.submit(gate.passage) for _ in range(case.workers)]
    gate.arrived(case.workers)
    assert len(executor._threads) == case.workers
    assert all(isinstance(thread, threading.Thread) for thread in executor._threads)
    gate.open()
    assert [future.result(LIMIT) for future in futures] == [None] * case.workers


def test_monitors_can_read_its_state(make):
    executor = make()
    assert (executor._shutdown, bool(executor._broken)) == (False, False)
    executor.shutdown()
    assert (executor._shutdown, bool(executor._broken)) == (True, False)


@pytest.mark.asks(shares_memory=True, makes_workers=True)
def test_each_worker_is_initialized_first(make):
    seen = []
    executor = make(2, "", seen.append, ("ready",))
    assert executor.submit(lambda: list(seen)).result(LIMIT)[0] == "ready"
    assert executor.submit(len, "abc").result(LIMIT) == 3
    executor.shutdown()
    assert 1 <= len(seen) <= 2


def fail_to_start():
    raise RuntimeError("no licence")


@pytest.mark.asks(makes_workers=True)
def test_a_failing_initializer_breaks_the_executor(make, caplog):
    executor = make(initializer=fail_to_start)
    with caplog.at_level(logging.CRITICAL, logger="concurrent.futures"):
        with pytest.raises(BrokenExecutor):
            executor.submit(pow, 2, 2).result(LIMIT)
        with pytest.raises(BrokenExecutor):
            in_time(refused_at_last, executor)
    assert "Exception in initializer" in caplog.text
    assert "no licence" in caplog.text
    assert executor._broken


def refused_at_last(executor):
    while True:  # each is either refused or fails: a submission may be under way as the worker breaks
        assert isinstance(executor.submit(pow, 2, 2).exception(LIMIT), BrokenExecutor)


@pytest.mark.asks(shares_memory=True)
def test_a_task_sees_a_copy_of_the_submitters_context(executor):
    def change():
        found = VARIABLE.get()
        VARIABLE.set("changed in the task")
        return found

    token = VARIABLE.set("outer")
    try:
        assert [executor.submit(change).result(LIMIT) for _ in range(4)] == ["outer"] * 4
        assert VARIABLE.get() == "outer"
    finally:
        VARIABLE.reset(token)
    assert executor.submit(VARIABLE.get).result(LIMIT) == "unset"


@pytest.mark.asks(shares_memory=True)
def test_the_context_is_that_of_the_submission_not_of_the_start(executor, held):
    token = VARIABLE.set("at submission")
    future = executor.submit(lambda _: VARIABLE.get(), held)
    VARIABLE.reset(token)
    held.set_result(None)
    assert future.result(LIMIT) == "at submission"


@pytest.mark.asks(shares_memory=True)
def test_a_coroutine_function_returns_its_coroutine(executor):
    async def answer():
        return 42

    coroutine = executor.submit(answer).result(LIMIT)
    assert inspect.iscoroutine(coroutine)
    coroutine.close()


@pytest.mark.asks(shares_memory=True)
def test_a_dropped_executor_finishes_its_work(case, held):
    executor = GraphExecutor(case.workers, backend=case.backend)
    futures = [executor.submit(pow, held, n) for n in range(10)]
    gone = weakref.ref(executor)
    del executor
    gc.collect()
    assert gone() is None
    held.set_result(2)
    assert [future.result(LIMIT) for future in futures] == [2**n for n in range(10)]


@pytest.mark.asks(shares_memory=True)
def test_results_and_arguments_are_not_kept_alive(executor):
    class Thing:
        pass

    argument = Thing()
    future = executor.submit(lambda _: Thing(), argument)
    result = weakref.ref(future.result(LIMIT))
    argument = weakref.ref(argument)
    executor.submit(pow, 2, 2).result(LIMIT)
    del future
    gc.collect()
    assert result() is None
    assert argument() is None


def test_names_and_keys(executor):
    first, second = executor.submit(pow, 2, 2), executor.submit(pow, 2, 3)
    assert (first.name, second.name) == ("pow", "pow")
    assert first.key.startswith("pow-")
    assert first.key != second.key

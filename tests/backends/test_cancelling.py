"""Cancellation (CONTRACT 5)."""

import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait

import pytest
from gates import occupied
from patience import LIMIT

from graphfutures import GraphExecutor


def add(*numbers):
    return sum(numbers)


def test_what_has_not_started_is_cancelled_with_all_that_depends_on_it(executor, held):
    root = executor.submit(abs, held)
    child = executor.submit(add, root, 1)
    grandchildren = [executor.submit(add, [child][0], n) for n in range(5)]
    assert child.cancel()
    assert all(future.cancelled() for future in [child, *grandchildren])
    assert not root.done()
    held.set_result(-2)
    assert root.result(LIMIT) == 2


def test_cancel_twice(executor, held):
    future = executor.submit(abs, held)
    assert future.cancel()
    assert future.cancel()
    assert executor.submit(abs, -1).result(LIMIT) == 1


def test_cancelled_futures_raise_cancelled_error_everywhere_below(executor, held):
    root = executor.submit(abs, held)
    end = executor.submit(abs, executor.submit(abs, root))
    root.cancel()
    for future in (root, end):
        with pytest.raises(CancelledError):
            future.result(LIMIT)


def test_siblings_go_on(executor, held):
    root = executor.submit(abs, held)
    gone, stays = executor.submit(add, root, 1), executor.submit(add, root, 2)
    gone.cancel()
    held.set_result(-1)
    assert stays.result(LIMIT) == 3


def test_a_diamond_is_cancelled_once(executor, held):
    called = []
    root = executor.submit(abs, held)
    bottom = executor.submit(add, executor.submit(abs, root), executor.submit(abs, root))
    bottom.add_done_callback(called.append)
    root.cancel()
    executor.shutdown()
    assert called == [bottom]
    assert executor.stats()["cancelled"] == 4


def test_a_settled_task_is_not_cancelled(executor):
    done, failed = executor.submit(abs, -1), executor.submit(abs, "x")
    wait([done, failed], LIMIT)
    assert not done.cancel()
    assert not failed.cancel()
    assert done.result(0) == 1


@pytest.mark.asks(submits_run=False)
def test_a_running_task_is_not_cancelled(executor, gate):
    future = executor.submit(gate.passage, 5)
    gate.arrived()
    assert not future.cancel()
    assert future.running()
    gate.open()
    assert future.result(LIMIT) == 5


@pytest.mark.asks(submits_run=False, kills=False)
def test_force_stops_no_thread(executor, gate):
    future = executor.submit(gate.passage, 5)
    gate.arrived()
    assert not future.cancel(force=True)
    gate.open()
    assert future.result(LIMIT) == 5


def test_force_cancels_what_has_not_started(executor, held):
    future = executor.submit(abs, held)
    assert future.cancel(force=True)
    assert future.cancelled()


@pytest.mark.asks(submits_run=False)
def test_a_ready_task_is_cancelled_while_all_workers_are_busy(executor, case, gate):
    running = occupied(executor, gate, case.workers)
    ready = executor.submit(gate.passage)
    dependent = executor.submit(abs, ready)
    assert ready.cancel()
    assert dependent.cancelled()
    gate.open()
    assert [future.result(LIMIT) for future in running] == list(range(case.workers))
    executor.shutdown()
    assert gate.nobody_new()


@pytest.mark.asks(submits_run=False)
def test_a_dependent_of_a_running_task(executor, gate):
    running = executor.submit(gate.passage, 5)
    gate.arrived()
    dependent = executor.submit(abs, running)
    assert dependent.cancel()
    gate.open()
    assert running.result(LIMIT) == 5


def test_a_cancelled_foreign_future_cancels_its_dependents(executor, held):
    dependent = executor.submit(abs, held)
    end = executor.submit(abs, dependent)
    assert held.cancel()
    for future in (dependent, end):
        with pytest.raises(CancelledError):
            future.result(LIMIT)
        assert future.cancelled()


def test_a_foreign_future_that_was_cancelled_before(executor):
    foreign = Future()
    foreign.cancel()
    with pytest.raises(CancelledError):
        executor.submit(abs, foreign).result(LIMIT)


def test_a_foreign_dependency_is_left_alone(executor, held):
    assert executor.submit(abs, held).cancel()
    assert not held.cancelled()


def test_cancellation_goes_from_one_executor_to_the_other(executor, held):
    with GraphExecutor(1) as other:
        root = other.submit(abs, held)
        here = executor.submit(abs, root)
        back = other.submit(abs, here)
        assert root.cancel()
        for future in (here, back):
            with pytest.raises(CancelledError):
                future.result(LIMIT)


def test_a_submission_on_a_cancelled_future_is_cancelled(executor, held):
    root = executor.submit(abs, held)
    root.cancel()
    with pytest.raises(CancelledError):
        executor.submit(abs, root).result(LIMIT)


def test_a_task_whose_other_dependency_fails_after_the_cancellation(executor, held):
    other = Future()
    future = executor.submit(add, held, executor.submit(abs, other))
    assert future.cancel()
    other.set_exception(ValueError("late"))
    held.set_result(1)
    assert future.cancelled()
    assert executor.submit(abs, -1).result(LIMIT) == 1


@pytest.mark.asks(submits_run=False)
def test_many_threads_cancel_and_every_answer_is_true(executor):
    futures = [executor.submit(abs, -n) for n in range(2000)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda future: future.cancel(), futures, timeout=LIMIT))
    executor.shutdown()
    for number, (future, cancelled) in enumerate(zip(futures, answers, strict=True)):
        assert future.cancelled() == cancelled
        assert cancelled or future.result(0) == number


@pytest.mark.asks(submits_run=False)
def test_a_callback_may_cancel(executor, held):
    victim = executor.submit(abs, Future())
    told = threading.Event()

    def cancel(_):
        if victim.cancel():
            told.set()

    executor.submit(abs, held).add_done_callback(cancel)
    held.set_result(-1)
    assert told.wait(LIMIT)


@pytest.mark.ci
@pytest.mark.parametrize("size", [100_000])
def test_a_cascade_is_linear(executor, held, size):
    futures = [executor.submit(abs, held)]
    for _ in range(size):
        futures.append(executor.submit(abs, futures[-1]))
    assert futures[0].cancel()
    with pytest.raises(CancelledError):
        futures[-1].result(LIMIT)
    executor.shutdown()
    assert all(future.cancelled() for future in futures)

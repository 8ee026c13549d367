"""Shutdown of an executor (CONTRACT 8)."""

import threading
from concurrent.futures import Future

import pytest
from gates import occupied
from patience import LIMIT, in_time

MESSAGE = "^cannot schedule new futures after shutdown$"


def fail(error):
    raise error


def submit_three(executor):
    return [executor.submit(abs, -n) for n in range(3)]


def test_shutdown_drains_the_whole_graph(executor):
    futures = [executor.submit(abs, -1)]
    for _ in range(200):
        futures.append(executor.submit(sum, futures[-3:]))
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert executor.stats()["done"] == 201


def test_shutdown_waits_for_foreign_futures(executor, held):
    future = executor.submit(abs, held)
    closer = threading.Thread(target=executor.shutdown)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    held.set_result(-3)
    closer.join(LIMIT)
    assert not closer.is_alive()
    assert future.result(0) == 3


def test_without_waiting_it_returns_at_once_and_the_graph_still_drains(executor, held):
    futures = [executor.submit(pow, held, n) for n in range(10)]
    in_time(executor.shutdown, wait=False)
    assert not any(future.done() for future in futures)
    held.set_result(2)
    assert [future.result(LIMIT) for future in futures] == [2**n for n in range(10)]


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("cancel_futures", [True, False])
def test_afterwards_nothing_can_be_submitted(executor, wait, cancel_futures):
    executor.shutdown(wait, cancel_futures=cancel_futures)
    for submit in (executor.submit, executor.options(priority=1).submit, executor.strict.submit):
        with pytest.raises(RuntimeError, match=MESSAGE):
            submit(abs, -1)
    with pytest.raises(RuntimeError, match=MESSAGE):
        executor.map(abs, [1])


def test_cancel_futures_is_for_keywords_only(executor):
    with pytest.raises(TypeError):
        executor.shutdown(True, True)


def test_shutdown_twice_and_in_every_way(executor):
    executor.submit(abs, -1)
    for _ in range(2):
        executor.shutdown()
        executor.shutdown(wait=False)
        executor.shutdown(cancel_futures=True)
    with executor:
        pass


def test_several_threads_shut_down_at_once(executor, held):
    future = executor.submit(abs, held)
    threads = [threading.Thread(target=executor.shutdown) for _ in range(5)]
    for thread in threads:
        thread.start()
    held.set_result(-1)
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    assert future.result(0) == 1


def test_cancel_futures_cancels_what_has_not_started_and_lets_go_of_foreign_futures(executor, held):
    done = executor.submit(abs, -1)
    assert done.result(LIMIT) == 1
    waiting = executor.submit(abs, held)
    dependent = executor.submit(abs, waiting)
    in_time(executor.shutdown, cancel_futures=True)
    assert waiting.cancelled()
    assert dependent.cancelled()
    assert not held.cancelled()
    assert done.result(0) == 1


@pytest.mark.asks(submits_run=False)
def test_cancel_futures_lets_running_tasks_finish(executor, case, gate):
    running = occupied(executor, gate, case.workers)
    ready = [executor.submit(gate.passage) for _ in range(20)]
    dependents = [executor.submit(abs, future) for future in running]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in ready + dependents)
    assert all(future.running() for future in running)
    gate.open()
    assert [future.result(LIMIT) for future in running] == list(range(case.workers))


def test_a_failing_block_is_drained_as_well(make):
    executor, futures = make(), []

    def failing_block():
        with executor:
            futures.append(executor.submit(abs, -1))
            raise KeyError("in the block")

    with pytest.raises(KeyError):
        in_time(failing_block)
    assert futures[0].result(0) == 1


def test_an_interrupted_block_cancels_what_has_not_started(make, held):
    executor, futures = make(), []

    def interrupted_block():
        with executor:
            futures.append(executor.submit(abs, held))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_time(interrupted_block)
    assert futures[0].cancelled()


@pytest.mark.asks(shares_memory=True, submits_run=False)
def test_a_running_task_may_submit_while_the_graph_drains(executor, gate):
    def spawn():
        gate.passage()
        return submit_three(executor)

    future = executor.submit(spawn)
    gate.arrived()
    executor.shutdown(wait=False)
    with pytest.raises(RuntimeError, match=MESSAGE):
        executor.submit(abs, -1)
    gate.open()
    assert [inner.result(LIMIT) for inner in future.result(LIMIT)] == [0, 1, 2]


@pytest.mark.asks(shares_memory=True, submits_run=False)
def test_what_is_submitted_while_draining_may_submit_again(executor, gate):
    def spawn(depth):
        gate.passage()
        return executor.submit(spawn, depth - 1) if depth else "the end"

    future = executor.submit(spawn, 10)
    gate.arrived()
    executor.shutdown(wait=False)
    gate.open()
    for _ in range(10):
        future = future.result(LIMIT)
    assert future.result(LIMIT) == "the end"


@pytest.mark.asks(shares_memory=True, submits_run=False)
def test_not_with_cancel_futures(executor, gate):
    def spawn():
        gate.passage()
        return executor.submit(abs, -1)

    future = executor.submit(spawn)
    gate.arrived()
    executor.shutdown(wait=False, cancel_futures=True)
    gate.open()
    with pytest.raises(RuntimeError, match=MESSAGE):
        future.result(LIMIT)


@pytest.mark.asks(shares_memory=True)
@pytest.mark.parametrize("wait", [True, False])
def test_a_task_may_shut_its_executor_down(executor, wait):
    before = executor.submit(abs, -1)
    future = executor.submit(executor.shutdown, wait)
    assert future.result(LIMIT) is None
    assert before.result(LIMIT) == 1
    with pytest.raises(RuntimeError, match=MESSAGE):
        executor.submit(abs, -1)


def test_a_callback_may_shut_its_executor_down(executor, held):
    ended = threading.Event()

    def close(_):
        executor.shutdown()
        ended.set()

    future, other = executor.submit(abs, held), executor.submit(abs, held)
    future.add_done_callback(close)
    held.set_result(-3)
    assert ended.wait(LIMIT)
    assert other.result(LIMIT) == 3


def test_an_executor_that_was_never_used(make):
    executor = make()
    in_time(executor.shutdown)
    in_time(executor.shutdown, cancel_futures=True)


@pytest.mark.asks(submits_run=False)
def test_submitting_while_another_thread_shuts_down_loses_nothing(make):
    for _ in range(30):
        executor, accepted, start = make(), [], threading.Barrier(3)

        def submit(executor=executor, accepted=accepted, start=start):
            start.wait(LIMIT)
            try:
                for _ in range(1000):
                    accepted.append(executor.submit(abs, -1))
            except RuntimeError:
                pass

        threads = [threading.Thread(target=submit) for _ in range(2)]
        for thread in threads:
            thread.start()
        start.wait(LIMIT)
        in_time(executor.shutdown)
        for thread in threads:
            thread.join(LIMIT)
        assert [future.result(LIMIT) for future in accepted] == [1] * len(accepted)


def test_everything_is_settled_whatever_happened(executor, held):
    other = Future()
    futures = [executor.submit(abs, held), executor.submit(abs, other), executor.submit(fail, ValueError("x"))]
    for n in range(100):
        futures.append(executor.submit(max, futures[n], futures[n // 2 + 1]))
    futures[10].cancel()
    other.cancel()
    held.set_result(1)
    in_time(executor.shutdown)
    assert all(future.done() for future in futures)

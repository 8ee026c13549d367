"""Graphs whose tasks run on several backends of one executor."""

import os
import threading
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor, wait

import pytest
from loky import ProcessPoolExecutor
from patience import LIMIT, in_time

from graphfutures import GraphExecutor


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2) as pool:
        pool.submit(int).result(LIMIT)  # its own threads outlive each test
        yield pool


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2, thread_name_prefix="pool") as pool:
        yield pool


def thread(*needs):
    return threading.current_thread().name


def test_each_task_runs_where_it_is_told_to(pool, processes):
    with GraphExecutor(2, "mine", backends={"pool": pool, "processes": processes}) as executor:
        here = executor.submit(thread)
        there = executor.options(backend="pool").submit(thread, here)
        far = executor.options(backend="processes").submit(os.getpid)
        again = executor.options(backend="threads").submit(thread, there, far)
        assert here.result(LIMIT).startswith("mine")
        assert there.result(LIMIT).startswith("pool")
        assert far.result(LIMIT) != os.getpid()
        assert again.result(LIMIT).startswith("mine")


def test_inline_tasks_run_in_the_submitting_thread():
    with GraphExecutor(2) as executor:
        inline = executor.options(backend="inline").submit(threading.get_ident)
        assert inline.done()
        assert inline.result() == threading.get_ident()


def test_threads_beside_inline():
    with GraphExecutor(backend="inline", backends={"threads": 2}) as executor:
        there = executor.options(backend="threads").submit(threading.get_ident)
        assert there.result(LIMIT) != threading.get_ident()
        assert executor.submit(threading.get_ident).result(0) == threading.get_ident()


def test_chains_through_every_backend(pool, processes):
    names = ["threads", "pool", "processes", "inline"]
    with GraphExecutor(2, backends={"pool": pool, "processes": processes}) as executor:
        chains = [executor.submit(int, n) for n in range(20)]
        for step in range(12):
            view = executor.options(backend=names[step % len(names)])
            chains = [view.submit(abs, value) for value in chains]
        total = executor.submit(sum, chains)
        assert total.result(LIMIT) == sum(range(20))


def test_slots_are_each_backends_own(pool):
    gate = threading.Event()
    with GraphExecutor(1, backends={"pool": pool}) as executor:
        busy = executor.submit(gate.wait, LIMIT)
        assert executor.options(backend="pool").submit(int).result(LIMIT) == 0  # the main one is busy
        held = [executor.options(backend="pool").submit(gate.wait, LIMIT) for _ in range(2)]
        waiting = executor.options(backend="pool").submit(int)
        assert not waiting.done()
        assert waiting.cancel()
        gate.set()
        assert not wait([busy, *held], LIMIT).not_done


def test_failures_and_cancellations_cross_backends(pool):
    foreign: Future = Future()
    with GraphExecutor(2, backends={"pool": pool}) as executor:
        view = executor.options(backend="pool")
        failed = view.submit(int, executor.submit(int, "x"))
        assert isinstance(failed.exception(LIMIT), ValueError)
        waiting = executor.submit(str, foreign)
        dependent = view.submit(str, waiting)
        assert waiting.cancel()
        assert not wait([dependent], LIMIT).not_done
        assert dependent.cancelled()


def test_a_foreign_future_wakes_the_right_backend(pool):
    foreign: Future = Future()
    gate = threading.Event()
    with GraphExecutor(1, backends={"pool": pool}) as executor:
        executor.submit(gate.wait, LIMIT)
        dependent = executor.options(backend="pool").submit(str, foreign)
        foreign.set_result(1)
        assert dependent.result(LIMIT) == "1"
        gate.set()


def test_retries_tokens_and_priorities_on_another_backend(pool):
    calls = []

    def fail():
        calls.append(1)
        if len(calls) < 3:
            raise ValueError
        return len(calls)

    with GraphExecutor(1, backends={"pool": pool}, resources={"gpu": 1}) as executor:
        view = executor.options(backend="pool", retries=2, resources={"gpu": 1}, priority=1)
        assert view.submit(fail).result(LIMIT) == 3


def test_a_backend_that_breaks_takes_no_other_with_it():
    inner, gate = ThreadPoolExecutor(1), threading.Event()
    with GraphExecutor(2, backends={"pool": inner}) as executor:
        there = executor.options(backend="pool")
        here = executor.submit(gate.wait, LIMIT)
        late = there.submit(int, here)
        inner.shutdown()
        told = there.submit(int)
        assert isinstance(told.exception(LIMIT), BrokenExecutor)
        assert "ThreadPoolExecutor" in str(told.exception())
        assert isinstance(late.exception(LIMIT), BrokenExecutor)
        with pytest.raises(BrokenExecutor, match="ThreadPoolExecutor"):
            there.submit(int)
        gate.set()
        assert here.result(LIMIT) is True
        assert executor.submit(abs, -1).result(LIMIT) == 1
        assert isinstance(executor.submit(abs, told).exception(LIMIT), BrokenExecutor)


def test_no_task_is_left_that_is_submitted_while_its_backend_breaks():
    for _ in range(50):
        inner, futures = ThreadPoolExecutor(1), []
        with GraphExecutor(1, backends={"pool": inner}) as executor:
            there = executor.options(backend="pool")

            def submit(there=there, futures=futures):
                try:
                    for _ in range(50):
                        futures.append(there.submit(int))
                except BrokenExecutor:
                    pass

            user = threading.Thread(target=submit)
            user.start()
            inner.shutdown()
            user.join(LIMIT)
            assert not wait(futures, LIMIT).not_done


def test_shutdown_drains_all_of_them(pool):
    executor = GraphExecutor(2, backends={"pool": pool})
    chain = executor.submit(int)
    for step in range(50):
        chain = executor.options(backend=["pool", "threads"][step % 2]).submit(abs, chain)
    in_time(executor.shutdown)
    assert chain.done()
    assert pool.submit(int).result(LIMIT) == 0  # it is not ours to shut


@pytest.mark.parametrize(
    ("backends", "error"),
    [({"threads": 0}, ValueError), ({"nowhere": 1}, ValueError), ({5: 1}, TypeError), ({"threads": "2"}, TypeError)],
)
def test_wrong_backends_are_refused(backends, error):
    with pytest.raises(error):
        GraphExecutor(1, backends=backends)

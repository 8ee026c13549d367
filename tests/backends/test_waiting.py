"""``wait`` and ``as_completed`` of the standard library with futures of ours (CONTRACT 2)."""

import threading
import weakref
from concurrent import futures as standard
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from patience import LIMIT

import graphfutures
from graphfutures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, GraphExecutor, as_completed, wait


def fail(error):
    raise error


@pytest.mark.parametrize("name", ["wait", "as_completed", "ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_the_names_are_the_standard_ones(name):
    assert getattr(graphfutures, name) is getattr(standard, name)


def test_wait_for_all(executor, held):
    pending = [executor.submit(pow, held, n) for n in range(10)]
    held.set_result(2)
    done, not_done = wait(pending, LIMIT, return_when=ALL_COMPLETED)
    assert (done, not_done) == (set(pending), set())


def test_wait_for_the_first(executor, held):
    first, other = executor.submit(abs, held), executor.submit(abs, Future())
    threading.Timer(0.02, held.set_result, [-1]).start()
    done, not_done = wait([first, other], LIMIT, return_when=FIRST_COMPLETED)
    assert (done, not_done) == ({first}, {other})
    other.cancel()


def test_wait_for_the_first_exception(executor, held):
    good, bad, late = executor.submit(abs, -1), executor.submit(fail, held), executor.submit(abs, Future())
    assert good.result(LIMIT) == 1  # or the other one, once it is made ready, may go before it
    threading.Timer(0.02, held.set_result, [ValueError()]).start()
    done, not_done = wait([good, bad, late], LIMIT, return_when=FIRST_EXCEPTION)
    assert (done, not_done) == ({good, bad}, {late})
    late.cancel()


def test_cancelled_futures_are_not_exceptions_to_wait_for(executor, held):
    cancelled, other = executor.submit(abs, held), executor.submit(abs, held)
    cancelled.cancel()
    done, not_done = wait([cancelled, other], 0.05, return_when=FIRST_EXCEPTION)
    assert (done, not_done) == ({cancelled}, {other})


def test_wait_for_what_is_done_already(executor):
    futures = [executor.submit(abs, -1), executor.submit(abs, "x")]
    assert wait(futures, LIMIT).not_done == set()
    assert wait(futures, 0).done == set(futures)


def test_wait_times_out(executor, held):
    done, pending = executor.submit(abs, -1), executor.submit(abs, held)
    assert done.result(LIMIT) == 1
    assert wait([done, pending], 0.01) == ({done}, {pending})


def test_wait_sees_a_cancellation(executor, held):
    future = executor.submit(abs, held)
    threading.Timer(0.02, future.cancel).start()
    assert wait([future], LIMIT) == ({future}, set())


def test_as_completed_gives_each_future_once(executor, held):
    futures = [executor.submit(pow, held, n) for n in range(20)]
    held.set_result(2)
    assert sorted(f.result(0) for f in as_completed(futures * 3, LIMIT)) == [2**n for n in range(20)]


def test_as_completed_gives_what_is_done_first(executor, held):
    late, early = executor.submit(abs, held), executor.submit(abs, -5)
    iterator = as_completed([late, early], LIMIT)
    assert next(iterator) is early
    held.set_result(-6)
    assert list(iterator) == [late]


def test_as_completed_times_out_with_the_standard_message(executor, held):
    futures = [executor.submit(abs, held), executor.submit(abs, -5)]
    assert futures[1].result(LIMIT) == 5
    iterator = as_completed(futures, 0.05)
    assert next(iterator) is futures[1]
    with pytest.raises(TimeoutError, match=r"1 \(of 2\) futures unfinished"):
        next(iterator)


def test_as_completed_gives_failed_and_cancelled_ones(executor, held):
    failed, cancelled = executor.submit(fail, held), executor.submit(abs, Future())
    cancelled.cancel()
    held.set_result(ValueError("x"))
    assert set(as_completed([failed, cancelled], LIMIT)) == {failed, cancelled}


def test_as_completed_keeps_no_future_it_has_given(executor):
    futures = [executor.submit(list, "abc") for _ in range(3)]
    wait(futures, LIMIT)
    iterator = as_completed(futures, LIMIT)
    futures.clear()
    for future in iterator:
        assert future.result(0) == ["a", "b", "c"]
        gone = weakref.ref(future)
        del future
        assert gone() is None


def test_futures_of_ours_mix_with_standard_ones(executor, held):
    with ThreadPoolExecutor(1) as pool:
        theirs = [pool.submit(abs, -n) for n in range(5)]
        ours = [executor.submit(abs, held)] + [executor.submit(abs, future) for future in theirs]
        held.set_result(-100)
        assert wait(theirs + ours, LIMIT).not_done == set()
        assert set(as_completed(theirs + ours, LIMIT)) == {*theirs, *ours}
    assert [future.result(0) for future in ours] == [100, 0, 1, 2, 3, 4]


def test_futures_of_two_executors_mix(executor, held):
    with GraphExecutor(1) as other:
        ours, others = executor.submit(abs, held), other.submit(abs, held)
        held.set_result(-1)
        assert wait([ours, others], LIMIT).not_done == set()


@pytest.mark.asks(submits_run=False)
def test_two_threads_wait_for_the_same_futures_in_opposite_order(executor, held):
    futures = [executor.submit(pow, held, n) for n in range(50)]
    found = []

    def ask(some):
        found.append(wait(some, LIMIT).not_done)
        found.append(set(futures) - set(as_completed(some, LIMIT)))

    threads = [threading.Thread(target=ask, args=(some,)) for some in (futures, futures[::-1]) for _ in range(4)]
    for thread in threads:
        thread.start()
    held.set_result(1)
    for thread in threads:
        thread.join(LIMIT)
    assert found == [set()] * 16

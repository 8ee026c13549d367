"""What the standard library documents of a Future (CONTRACT 2)."""

import pickle
import threading
import time
from concurrent.futures import CancelledError, Future, InvalidStateError

import pytest
from patience import LIMIT, in_time

from graphfutures import GraphFuture


def fail(error):
    raise error


def states(future):
    return future.done(), future.running(), future.cancelled()


def test_states_of_a_pending_future(executor, held):
    assert states(executor.submit(abs, held)) == (False, False, False)


@pytest.mark.asks(submits_run=False)
def test_states_of_a_running_future(executor, gate):
    future = executor.submit(gate.passage)
    gate.arrived()
    assert states(future) == (False, True, False)
    gate.open()
    assert future.result(LIMIT) is None
    assert states(future) == (True, False, False)


def test_states_of_an_ended_future(executor):
    done, failed = executor.submit(abs, -1), executor.submit(abs, "x")
    assert done.exception(LIMIT) is None
    assert isinstance(failed.exception(LIMIT), TypeError)
    assert states(done) == states(failed) == (True, False, False)


def test_states_of_a_cancelled_future(executor, held):
    future = executor.submit(abs, held)
    assert future.cancel()
    assert states(future) == (True, False, True)
    with pytest.raises(CancelledError):
        future.result(0)
    with pytest.raises(CancelledError):
        future.exception(0)


@pytest.mark.parametrize("method", ["result", "exception"])
@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_a_timeout_raises_timeout_error(executor, held, method, timeout):
    future = executor.submit(abs, held)
    with pytest.raises(TimeoutError):
        getattr(future, method)(timeout)
    with pytest.raises(TimeoutError):
        getattr(future, method)(timeout=timeout)
    held.set_result(-3)
    assert future.result(LIMIT) == 3


def test_a_timeout_is_kept(executor, held):
    future = executor.submit(abs, held)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        future.result(0.2)
    assert 0.2 <= time.monotonic() - start < LIMIT


def test_many_threads_wait_for_one_future(executor, held):
    future = executor.submit(abs, held)
    found = []
    started = threading.Barrier(9)

    def ask():
        started.wait(LIMIT)
        found.append(future.result(LIMIT))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait(LIMIT)
    held.set_result(-7)
    for thread in threads:
        thread.join(LIMIT)
    assert found == [7] * 8


def test_result_may_be_none_or_an_exception(executor):
    assert executor.submit(print, end="").result(LIMIT) is None
    assert isinstance(executor.submit(ValueError, "returned").result(LIMIT), ValueError)


def test_result_raises_and_exception_returns_the_same(executor):
    future = executor.submit(fail, KeyError("k"))
    with pytest.raises(KeyError) as caught:
        future.result(LIMIT)
    assert future.exception(LIMIT) is caught.value


def test_an_executors_future_cannot_be_settled_from_outside(executor, held):
    future = executor.submit(abs, held)
    for settle in (lambda: future.set_result(1), lambda: future.set_exception(ValueError())):
        with pytest.raises(InvalidStateError, match="abs-"):
            settle()
    held.set_result(-3)
    assert future.result(LIMIT) == 3
    with pytest.raises(InvalidStateError):
        future.set_result(1)
    assert future.result(LIMIT) == 3


def test_repr_shows_the_key_and_the_state(executor, held):
    future = executor.submit(abs, held)
    assert future.key in repr(future)
    assert "state=pending" in repr(future)
    held.set_result(-3)
    assert future.result(LIMIT) == 3
    assert "state=finished returned int" in repr(future)
    assert "state=finished raised ValueError" in repr(settled(executor.submit(fail, ValueError())))


def settled(future):
    in_time(future.exception)
    return future


def test_a_future_cannot_be_pickled_and_says_what_to_do(executor):
    future = executor.submit(abs, -1)
    with pytest.raises(TypeError, match="cannot be pickled; give it to submit as an argument"):
        pickle.dumps(future)


def test_a_future_is_hashable_and_equal_to_itself_alone(executor):
    one, two = executor.submit(abs, -1), executor.submit(abs, -1)
    assert len({one, two, one}) == 2
    assert one == {one: one}[one]
    assert one != two


def test_a_future_made_by_hand_behaves_like_the_standard_one():
    future = GraphFuture()
    assert states(future) == (False, False, False)
    assert future.set_running_or_notify_cancel()
    assert states(future) == (False, True, False)
    assert not future.cancel()
    future.set_result(1)
    assert states(future) == (True, False, False)
    with pytest.raises(InvalidStateError):
        future.set_result(2)
    assert future.result(0) == 1


def test_a_future_made_by_hand_can_be_cancelled():
    future = GraphFuture()
    called = []
    future.add_done_callback(called.append)
    assert future.cancel()
    assert future.cancel()
    assert called == [future]
    assert not future.set_running_or_notify_cancel()
    with pytest.raises(InvalidStateError):
        future.set_exception(ValueError())


def test_a_future_made_by_hand_is_a_dependency(executor):
    future = GraphFuture()
    dependent = executor.submit(abs, future)
    assert not dependent.done()
    future.set_result(-9)
    assert dependent.result(LIMIT) == 9


def test_the_private_states_read_as_in_the_standard_library(executor, held):
    future = executor.submit(abs, held)
    assert (future._state, future._result, future._exception) == ("PENDING", None, None)
    held.set_result(-3)
    assert future.result(LIMIT) == 3
    assert (future._state, future._result, future._exception) == ("FINISHED", 3, None)
    other = executor.submit(abs, Future())
    other.cancel()
    assert other._state == "CANCELLED_AND_NOTIFIED"

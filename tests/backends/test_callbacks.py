"""Callbacks of futures (CONTRACT 2)."""

import logging
import threading
from concurrent.futures import Future, wait

import pytest
from patience import LIMIT


class Calls:
    """Remembers what it was called with, and lets a test wait for that."""

    def __init__(self, number=1):
        self.seen = []
        self._left = number
        self._complete = threading.Event()

    def __call__(self, thing):
        self.seen.append(thing)
        self._left -= 1
        if not self._left:
            self._complete.set()

    def all(self):
        assert self._complete.wait(LIMIT)
        return self.seen


def fail(error):
    raise error


def test_a_callback_gets_its_future(executor, held):
    calls = Calls()
    future = executor.submit(abs, held)
    future.add_done_callback(calls)
    assert calls.seen == []
    held.set_result(-1)
    assert calls.all() == [future]


def test_a_callback_added_later_is_called_at_once_in_this_thread(executor):
    future = executor.submit(abs, -1)
    assert future.result(LIMIT) == 1
    found = []
    future.add_done_callback(lambda _: found.append(threading.get_ident()))
    assert found == [threading.get_ident()]


def test_a_callback_is_called_for_a_failure(executor, held):
    calls = Calls()
    future = executor.submit(fail, held)
    future.add_done_callback(calls)
    held.set_result(ValueError("x"))
    assert isinstance(calls.all()[0].exception(0), ValueError)


def test_a_callback_is_called_for_a_cancellation_once(executor, held):
    calls = Calls()
    future = executor.submit(abs, held)
    dependent = executor.submit(abs, future)
    dependent.add_done_callback(calls)
    assert future.cancel()
    assert future.cancel()
    assert calls.all() == [dependent]
    executor.shutdown()
    assert len(calls.seen) == 1


def test_callbacks_of_one_future_come_in_their_order(executor, held):
    calls = Calls(100)
    future = executor.submit(abs, held)
    for number in range(100):
        future.add_done_callback(lambda _, number=number: calls(number))
    held.set_result(-1)
    assert calls.all() == list(range(100))


def test_what_a_callback_raises_is_logged_and_the_others_are_called(executor, held, caplog):
    calls = Calls(2)
    future = executor.submit(abs, held)
    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        future.add_done_callback(calls)
        future.add_done_callback(lambda _: fail(LookupError("from a callback")))
        future.add_done_callback(calls)
        held.set_result(-1)
        assert calls.all() == [future, future]
        executor.shutdown()
    records = [record for record in caplog.records if record.name == "concurrent.futures"]
    assert len(records) == 1
    assert "exception calling callback" in records[0].getMessage()
    assert isinstance(records[0].exc_info[1], LookupError)


def test_what_a_late_callback_raises_is_logged(executor, caplog):
    future = executor.submit(abs, -1)
    assert future.result(LIMIT) == 1
    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        future.add_done_callback(lambda _: fail(LookupError("from a callback")))
    assert "exception calling callback" in caplog.text


def test_a_callback_may_submit_and_wait(executor, held):
    calls = Calls()
    future = executor.submit(abs, held)
    future.add_done_callback(lambda done: calls(executor.submit(pow, done.result(0), 2).result(LIMIT)))
    held.set_result(-3)
    assert calls.all() == [9]


def test_callbacks_may_wait_for_each_others_tasks(executor, held):
    calls = Calls(8)

    def next_one(done):
        wait([executor.submit(abs, done)], LIMIT)
        calls(done.result(0))

    for number in range(8):
        executor.submit(pow, held, number).add_done_callback(next_one)
    held.set_result(1)
    assert calls.all() == [1] * 8


def test_a_callback_may_wait_for_anothers_callback(executor, held):
    calls, before = Calls(4), Calls()
    earlier = executor.submit(abs, first := Future())
    earlier.add_done_callback(before)
    first.set_result(-1)
    assert before.all() == [earlier]
    head, events = executor.submit(fail, held), [threading.Event() for _ in range(4)]

    def next_one(number):
        if number < 3:
            assert events[number + 1].wait(LIMIT)
        events[number].set()
        calls(number)

    for number in range(4):
        executor.submit(abs, head).add_done_callback(lambda _, number=number: next_one(number))
    held.set_result(LookupError("for all"))
    assert calls.all() == [3, 2, 1, 0]


def test_a_callback_may_add_a_callback(executor, held):
    calls = Calls(2)

    def twice(done):
        calls("outer")
        done.add_done_callback(lambda _: calls("inner"))

    executor.submit(abs, held).add_done_callback(twice)
    held.set_result(-3)
    assert calls.all() == ["outer", "inner"]


def test_a_slow_callback_delays_no_task_and_no_other_future(executor, held, caplog):
    slow, quick, released = threading.Event(), Calls(), threading.Event()

    def wait_long(_):
        slow.set()
        assert released.wait(LIMIT)

    first = executor.submit(abs, held)
    first.add_done_callback(wait_long)
    other = executor.submit(abs, held)
    dependents = [executor.submit(pow, first, 2) for _ in range(5)]
    with caplog.at_level(logging.WARNING, logger="graphfutures"):
        held.set_result(-3)
        assert slow.wait(LIMIT)
        assert [dependent.result(LIMIT) for dependent in dependents] == [9] * 5
        late = executor.submit(abs, other)
        late.add_done_callback(quick)
        assert quick.all() == [late]
    released.set()


def test_a_slow_callback_is_logged_with_the_task(executor, held):
    started, released, quick, logged = threading.Event(), threading.Event(), Calls(), threading.Event()

    class Hears(logging.Handler):
        def emit(self, record):
            if record.levelno == logging.WARNING and slow.key in record.getMessage():
                logged.set()

    def wait_long(_):
        started.set()
        assert released.wait(LIMIT)

    slow, other = executor.submit(abs, held), executor.submit(abs, last := Future())
    slow.add_done_callback(wait_long)
    other.add_done_callback(quick)
    handler = Hears()
    logging.getLogger("graphfutures").addHandler(handler)
    try:
        held.set_result(-3)
        assert started.wait(LIMIT)
        last.set_result(-4)
        assert quick.all() == [other]
        assert logged.wait(LIMIT)
    finally:
        released.set()
        logging.getLogger("graphfutures").removeHandler(handler)


def test_shutdown_waits_for_callbacks(executor, held):
    started, released, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(_):
        started.set()
        assert released.wait(LIMIT)
        ended.set()

    executor.submit(abs, held).add_done_callback(slow)
    held.set_result(-1)
    closer = threading.Thread(target=executor.shutdown)
    closer.start()
    assert started.wait(LIMIT)
    closer.join(0.05)
    assert closer.is_alive()
    released.set()
    closer.join(LIMIT)
    assert ended.is_set()
    assert not closer.is_alive()


@pytest.mark.asks(submits_run=False, shares_memory=True)
def test_callbacks_run_on_no_worker(executor, held):
    calls = Calls()
    executor.submit(abs, held).add_done_callback(lambda _: calls(threading.current_thread()))
    held.set_result(-1)
    assert calls.all()[0] not in executor._threads | {threading.current_thread()}

"""The threads that run callbacks: as long as something waits, one of them is free to take it."""

import threading
from collections import deque
from queue import Empty

import pytest
from patience import LIMIT, in_time

from graphfutures import GraphFuture, attendants
from graphfutures.attendants import Callbacks


@pytest.fixture
def callbacks():
    made = Callbacks("test")
    yield made
    in_time(made.finish)
    assert made._threads == set()


def add(callbacks, *calls):
    callbacks.add(GraphFuture(), deque(calls))


def test_one_that_blocks_after_many_quick_ones_is_stood_in_for(callbacks, monkeypatch):
    monkeypatch.setattr(attendants, "IDLE", 0.0)
    start, released, ended = threading.Event(), threading.Event(), threading.Event()
    add(callbacks, lambda: start.wait(LIMIT))
    for _ in range(300):
        add(callbacks, lambda: sum(range(1000)))
    add(callbacks, lambda: released.wait(LIMIT), ended.set)
    add(callbacks, released.set)
    start.set()
    assert released.wait(LIMIT)
    assert ended.wait(LIMIT)


def test_what_comes_while_the_last_free_one_leaves_is_run(callbacks, monkeypatch):
    monkeypatch.setattr(attendants, "PATIENCE", 0.0)
    released, added = threading.Event(), []

    class Bell:
        def put(self, _):
            pass

        def get(self, timeout):
            if callbacks._asleep and not added:
                added.append(True)
                add(callbacks, released.set)
            raise Empty

    callbacks._open()
    callbacks._bell = Bell()
    add(callbacks, lambda: released.wait(LIMIT))
    add(callbacks, lambda: None)
    assert released.wait(LIMIT)


def test_each_future_has_its_callbacks_called_in_their_order(callbacks):
    seen, events = [], [threading.Event() for _ in range(5)]

    def note(number, step):
        if step == 1 and number < 4:
            assert events[number + 1].wait(LIMIT)
        seen.append((number, step))
        if step == 2:
            events[number].set()

    for number in range(5):
        add(callbacks, *(lambda number=number, step=step: note(number, step) for step in range(3)))
    assert events[0].wait(LIMIT)
    assert [step for number, step in seen if number == 0] == [0, 1, 2]
    assert len(seen) == 15


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_ends_its_thread_does_not_end_the_others(callbacks):
    def leave():
        raise SystemExit

    ended = threading.Event()
    add(callbacks, leave, ended.set)
    assert ended.wait(LIMIT)

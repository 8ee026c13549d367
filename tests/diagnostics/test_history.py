"""The memory of an executor while somebody looks at it, and while it grows and shrinks."""

from __future__ import annotations

import threading

import pytest
from patience import LIMIT

from graphfutures import GraphExecutor
from graphfutures.history import History, look, remember
from graphfutures.observing import Observing


def hub_of(rows=(), most=None):
    hub = Observing()
    hub._begin_observing(History([row_of(row) for row in rows], most))
    return hub


def row_of(serial):
    return (serial, "load", 0, 0.0, 1.0, 0, True)


def serials(hub):
    return [attempt.serial for attempt in hub.history.attempts()]


def test_it_grows_and_shrinks():
    hub = hub_of(range(10), 10)
    hub.remember(row_of(10))
    assert serials(hub) == [*range(1, 11)]
    remember(hub, None)
    for serial in range(11, 30):
        hub.remember(row_of(serial))
    assert serials(hub) == [*range(1, 30)]
    remember(hub, 10)
    assert serials(hub) == [*range(20, 30)]


def test_what_is_new_is_seen_once_and_remembered():
    hub = hub_of(range(3), 5)
    assert look(hub, 10) == ()
    remember(hub, 5, fresh=True)
    for serial in range(3, 9):
        hub.remember(row_of(serial))
    assert serials(hub) == [*range(9)]
    assert look(hub, 4) == tuple(map(row_of, range(3, 7)))
    assert look(hub, 4) == tuple(map(row_of, range(7, 9)))
    assert look(hub, 4) == ()
    assert serials(hub) == [*range(4, 9)]


def test_what_nobody_has_looked_at_stays():
    hub = hub_of(range(3), 5)
    remember(hub, 5, fresh=True)
    hub.remember(row_of(3))
    remember(hub, None)  # somebody still looks
    hub.remember(row_of(4))
    assert look(hub, 1) == (row_of(3),)
    remember(hub, None, fresh=False)
    hub.remember(row_of(5))
    assert look(hub, 1) == ()
    assert serials(hub) == [*range(6)]


@pytest.mark.parametrize("fresh", [False, True])
def test_nothing_is_lost_while_it_changes(fresh):
    hub = hub_of()
    remember(hub, None, fresh=fresh)
    done = threading.Event()

    def change():
        while not done.is_set():
            remember(hub, None)
            if fresh:
                look(hub, 7)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for serial in range(20_000):
            hub.remember(row_of(serial))
    finally:
        done.set()
        thread.join(LIMIT)
    lost = {*range(20_000)} - {*serials(hub)}
    assert len(lost) <= 5  # whoever has the old one in hand at that moment
    assert len(serials(hub)) == len({*serials(hub)})


def test_of_an_executor():
    with GraphExecutor(2) as executor:
        executor.submit(abs, 1).result(LIMIT)
        remember(executor._hub, 10_000, fresh=True)
        executor.submit(min, 1, 2).result(LIMIT)
    assert [row[1] for row in look(executor._hub, 10)] == ["min"]
    assert [attempt.name for attempt in executor.attempts()] == ["abs", "min"]

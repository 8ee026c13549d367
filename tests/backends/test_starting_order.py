"""Which task starts next (CONTRACT 7)."""

import itertools
from concurrent.futures import Future

import pytest
from gates import occupied
from patience import LIMIT

pytestmark = [pytest.mark.asks(submits_run=False, shares_memory=True), pytest.mark.one_worker]


@pytest.fixture
def started():
    return []


@pytest.fixture
def note(started):
    def note(label, *_):
        started.append(label)

    return note


def test_submission_order(executor, gate, started, note):
    occupied(executor, gate, 1)
    for number in range(100):
        executor.submit(note, number)
    gate.open()
    executor.shutdown()
    assert started == list(range(100))


def test_submission_order_of_what_one_foreign_future_releases(executor, held, started, note):
    for number in range(20):
        executor.submit(note, number, held)
    held.set_result(None)
    executor.shutdown()
    assert started == list(range(20))


def test_submission_order_of_what_one_task_releases(executor, gate, started, note):
    (root,) = occupied(executor, gate, 1)
    for number in range(20):
        executor.submit(note, number, root)
    gate.open()
    executor.shutdown()
    assert started == list(range(20))


def test_depth_first(executor, gate, started, note):
    occupied(executor, gate, 1)
    for chain in "abc":
        one = executor.submit(note, chain + "1")
        two = executor.submit(note, chain + "2", one)
        executor.submit(note, chain + "3", two)
    gate.open()
    executor.shutdown()
    assert started == ["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"]


def test_a_larger_priority_goes_first(executor, gate, started, note):
    occupied(executor, gate, 1)
    for priority in (0, 5, -3, 1.5, 7, float("inf"), -0.5):
        executor.options(priority=priority).submit(note, priority)
    gate.open()
    executor.shutdown()
    assert started == [float("inf"), 7, 5, 1.5, 0, -0.5, -3]


def test_equal_priorities_keep_submission_order(executor, gate, started, note):
    occupied(executor, gate, 1)
    for number in range(20):
        executor.options(priority=number % 2).submit(note, number)
    gate.open()
    executor.shutdown()
    assert started == [*range(1, 20, 2), *range(0, 20, 2)]


def test_priority_overrides_depth_first(executor, gate, started, note):
    occupied(executor, gate, 1)
    root = executor.submit(note, "root")
    executor.submit(note, "dependent", root)
    executor.options(priority=1).submit(note, "urgent")
    executor.options(priority=-1).submit(note, "idle")
    gate.open()
    executor.shutdown()
    assert started == ["urgent", "root", "dependent", "idle"]


def test_something_urgent_goes_before_a_continuation(executor, gate, started, note):
    (first,) = occupied(executor, gate, 1)
    executor.submit(note, "continuation", first)
    executor.options(priority=1).submit(note, "urgent")
    gate.open()
    executor.shutdown()
    assert started == ["urgent", "continuation"]


def test_what_is_submitted_inside_a_task_goes_before_what_is_submitted_outside(executor, gate, started, note):
    def spawn():
        note("spawner")
        executor.submit(note, "inside 1")
        executor.submit(note, "inside 2")

    occupied(executor, gate, 1)
    executor.submit(spawn)
    executor.submit(note, "outside")
    gate.open()
    executor.shutdown()
    assert started == ["spawner", "inside 1", "inside 2", "outside"]


def test_a_chain_starves_no_root(executor, gate, started, note):
    (link,) = occupied(executor, gate, 1)
    for number in range(300):
        link = executor.submit(note, number, link)
    for root in "xyz":
        executor.submit(note, root)
    gate.open()
    executor.shutdown()
    assert len(started) == 303
    places = [started.index(root) for root in "xyz"]
    assert places == sorted(places)
    # The first link was submitted when its dependency had ended already: a root itself, then 64 continuations.
    assert places[0] <= 65
    assert all(later - earlier <= 65 for earlier, later in itertools.pairwise(places))


def test_what_one_thing_spawns_for_ever_starves_no_root(executor, gate, started, note):
    ended = []

    def spawn(number):
        note(number)
        if not ended and number < 10_000:
            executor.submit(spawn, number + 1)

    occupied(executor, gate, 1)
    executor.submit(spawn, 0)
    last = executor.submit(ended.append, True)
    gate.open()
    last.result(LIMIT)
    executor.shutdown()
    assert len(started) <= 130


def test_tasks_start_though_nobody_waits(executor, gate):
    executor.submit(gate.passage)
    gate.arrived()
    gate.open()


def test_a_task_that_is_held_up_does_not_hold_up_others(executor, held, started, note):
    waiting = executor.submit(note, "held", held)
    assert executor.submit(note, "free").result(LIMIT) is None
    assert not waiting.done()
    held.set_result(None)
    assert waiting.result(LIMIT) is None
    assert started == ["free", "held"]


def test_map_keeps_submission_order(executor, gate, started, note):
    occupied(executor, gate, 1)
    values = executor.map(note, range(50))
    executor.submit(note, "later")
    gate.open()
    assert list(values) == [None] * 50
    executor.shutdown()
    assert started == [*range(50), "later"]


def test_two_foreign_futures_release_in_their_order(executor, started, note):
    first, second = Future(), Future()
    one, two = executor.submit(note, "one", first), executor.submit(note, "two", second)
    second.set_result(None)
    assert two.result(LIMIT) is None
    first.set_result(None)
    assert one.result(LIMIT) is None
    assert started == ["two", "one"]

"""Which tasks go to a cluster together."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from graphfutures.backends.clusters.forming import MOST, TARGET, formed
from graphfutures.core.states import DONE, RUNNING
from graphfutures.futures import GraphFuture

QUICK = TARGET / 1000


def task(serial, *needs, sent=True):
    future = GraphFuture(None, serial, abs, (), None, needs)
    for need in needs:
        need.dependents = [*(need.dependents or ()), future]
    future.unmet = sum(need.state is not DONE for need in needs)
    future.state = RUNNING if sent else DONE
    return future


def quick(_):
    return QUICK


def unknown(_):
    return None


def small(_):
    return False


def large(_):
    return True


def numbers(batches):
    return [[future.serial for future in batch.tasks] for batch in batches]


def test_tasks_that_may_be_slow_go_alone():
    assert numbers(formed([task(n) for n in range(3)], unknown, 2, small, ())) == [[0], [1], [2]]


def test_quick_ones_go_together_in_as_many_batches_as_can_run_at_once():
    batches = formed([task(n) for n in range(10)], quick, 4, small, ())
    assert numbers(batches) == [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9]]


def test_no_batch_takes_longer_than_it_should():
    batches = formed([task(n) for n in range(100)], lambda _: TARGET / 4, 1, small, ())
    assert {len(batch.tasks) for batch in batches} == {4}
    assert len(formed([task(n) for n in range(2 * MOST)], lambda _: 0.0, 1, small, ())) == 2


def test_a_chain_is_one_batch():
    tasks = [task(0)]
    for n in range(1, 50):
        tasks.append(task(n, tasks[-1]))
    assert numbers(formed(tasks, quick, 4, small, ())) == [list(range(50))]


def test_what_needs_two_batches_begins_a_third():
    one, two = task(0), task(1)
    both = task(2, one, two)
    batches = formed([one, two, both, task(3, both)], quick, 2, small, ())
    assert numbers(batches) == [[0], [1], [2, 3]]
    assert [batch.level for batch in batches] == [0, 0, 1]


def test_what_waits_for_something_sent_before_keeps_nothing_waiting():
    before, ready = task(0), task(1)
    assert numbers(formed([ready, task(2, before)], quick, 1, small, ())) == [[1], [2]]


def test_a_wide_layer_behind_a_wide_layer_is_as_wide():
    first = [task(n) for n in range(8)]
    second = [task(8 + n, first[n], first[(n + 3) % 8]) for n in range(8)]
    batches = formed([*first, *second], quick, 2, small, ())
    assert sum(batch.level == 0 for batch in batches) == 2
    assert sum(batch.level == 1 for batch in batches) == 2


@given(
    needs=st.lists(st.lists(st.integers(1, 6), max_size=3), max_size=60),
    pace=st.lists(st.sampled_from([None, 0.0, QUICK, TARGET / 3, TARGET]), min_size=1, max_size=5),
    threads=st.integers(1, 5),
    large=st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_each_task_is_in_one_batch_behind_what_it_needs(needs, pace, threads, large):
    tasks: list = []
    for n, back in enumerate(needs):
        tasks.append(task(n, *{tasks[n - b] for b in back if n - b >= 0}))
    expected = {one.serial: pace[one.serial % len(pace)] for one in tasks}
    tasks.sort(key=lambda one: one.unmet > 0)  # as they come: first those that are ready
    heirs = {one.serial for one in tasks if all(need.dependents == [one] for need in one.dependencies)}
    batches = formed(
        tasks, lambda one: expected[one.serial], threads, lambda one: large[one.serial % len(large)], heirs
    )
    at = {
        one.serial: (number, position)
        for number, batch in enumerate(batches)
        for position, one in enumerate(batch.tasks)
    }
    assert sorted(at) == list(range(len(tasks)))
    for one in tasks:
        assert all(at[need.serial] < at[one.serial] for need in one.dependencies)
        assert expected[one.serial] is not None or len(batches[at[one.serial][0]].tasks) == 1
    ready = [one for one in tasks if not one.unmet]
    assert sum(batch.level == 0 for batch in batches) >= min(threads, len(ready))
    for batch in batches:
        for one, following in pairwise(batch.tasks):
            if large[one.serial % len(large)]:
                assert one in following.dependencies
                assert one.dependents == [following]


def test_a_large_value_is_handed_to_the_one_that_needs_it():
    first = task(0)
    second = task(1, first)
    third = task(2, second)
    beside, behind = task(3, third), task(4, third)
    tasks = [first, second, third, beside, behind]
    assert numbers(formed(tasks, quick, 2, large, {1, 2})) == [[0, 1, 2], [3], [4]]
    assert numbers(formed(tasks, quick, 2, large, {1})) == [[0, 1], [2], [3], [4]]
    assert numbers(formed(tasks[:3], quick, 2, small, ())) == [[0, 1, 2]]

"""Which tasks go to a cluster together."""

from hypothesis import given
from hypothesis import strategies as st

from graphfutures.backends.clusters.forming import LONG, MOST, MOVED, TARGET, Outlook, formed
from graphfutures.backends.clusters.work import HELD
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


def outlook(tasks, seconds=QUICK, *, large=0, heirs=(), homes=None):
    serials = [one.serial for one in tasks]
    known = {} if seconds is None else dict.fromkeys(serials, seconds)
    return Outlook(known, dict.fromkeys(serials, large) if large else {}, set(heirs), homes or {})


def of_alike(tasks, threads, running=(), free=None, **known):
    return formed(tasks, outlook(tasks, **known), threads, threads if free is None else free, running)


def numbers(batches):
    return [[future.serial for future in batch.tasks] for batch in batches]


def test_tasks_that_may_be_slow_go_alone():
    assert numbers(of_alike([task(n) for n in range(3)], 2, seconds=None)) == [[0], [1], [2]]


def test_quick_ones_go_together_in_as_many_batches_as_can_run_at_once():
    batches = of_alike([task(n) for n in range(10)], 4)
    assert numbers(batches) == [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9]]


def test_they_are_in_no_more_than_can_be_sent():
    assert numbers(of_alike([task(n) for n in range(10)], 4, free=1)) == [[*range(10)]]
    assert numbers(of_alike([task(n) for n in range(10)], 4, free=0)) == [[*range(10)]]
    assert len(of_alike([task(n) for n in range(10)], 4, free=8)) == 4


def test_no_batch_takes_longer_than_it_should():
    batches = of_alike([task(n) for n in range(100)], 1, seconds=TARGET / 4)
    assert {len(batch.tasks) for batch in batches} == {4}
    assert len(of_alike([task(n) for n in range(2 * MOST)], 1, seconds=0.0)) == 2


def test_a_chain_is_one_batch():
    tasks = [task(0)]
    for n in range(1, 50):
        tasks.append(task(n, tasks[-1]))
    assert numbers(of_alike(tasks, 4)) == [list(range(50))]


def test_what_needs_two_batches_begins_a_third():
    one, two = task(0), task(1)
    both = task(2, one, two)
    batches = of_alike([one, two, both, task(3, both)], 2)
    assert numbers(batches) == [[0], [1], [2, 3]]
    assert [batch.level for batch in batches] == [0, 0, 1]


def test_what_waits_for_something_sent_before_keeps_nothing_waiting():
    before, ready = task(0), task(1)
    assert numbers(of_alike([ready, task(2, before)], 1)) == [[1], [2]]


def test_a_wide_layer_behind_a_wide_layer_is_as_wide():
    first = [task(n) for n in range(8)]
    second = [task(8 + n, first[n], first[(n + 3) % 8]) for n in range(8)]
    batches = of_alike([*first, *second], 2)
    assert sum(batch.level == 0 for batch in batches) == 2
    assert sum(batch.level == 1 for batch in batches) == 2


@given(
    needs=st.lists(st.lists(st.integers(1, 6), max_size=3), max_size=60),
    pace=st.lists(st.sampled_from([None, 0.0, QUICK, TARGET / 3, TARGET, LONG]), min_size=1, max_size=5),
    threads=st.integers(1, 5),
    large=st.lists(st.sampled_from([0, HELD // 3, MOVED // 2, 2 * MOVED]), min_size=1, max_size=5),
    homes=st.lists(st.sampled_from(["", "a", "b"]), min_size=1, max_size=3),
    running=st.lists(st.floats(0, 2 * LONG), max_size=6),
)
def test_each_task_is_in_one_batch_behind_what_it_needs(needs, pace, threads, large, homes, running):
    tasks: list = []
    for n, back in enumerate(needs):
        tasks.append(task(n, *{tasks[n - b] for b in back if n - b >= 0}))
    tasks.sort(key=lambda one: one.unmet > 0)  # as they come: first those that are ready
    paces = {one.serial: pace[one.serial % len(pace)] for one in tasks}
    known = Outlook(
        {serial: seconds for serial, seconds in paces.items() if seconds is not None},
        {one.serial: size for one in tasks if (size := large[one.serial % len(large)])},
        {one.serial for one in tasks if one.unmet and all(need.dependents == [one] for need in one.dependencies)},
        {one.serial: home for one in tasks if (home := homes[one.serial % len(homes)])},
    )
    batches = formed(tasks, known, threads, threads, running)
    at = {
        one.serial: (number, position)
        for number, batch in enumerate(batches)
        for position, one in enumerate(batch.tasks)
    }
    assert sorted(at) == list(range(len(tasks)))
    for one in tasks:
        assert all(at[need.serial] < at[one.serial] for need in one.dependencies)
        assert one.serial in known.seconds or len(batches[at[one.serial][0]].tasks) == 1
    ready = [one for one in tasks if not one.unmet]
    assert len(running) + sum(batch.level == 0 for batch in batches) >= min(threads, len(running) + len(ready))
    for batch in batches:
        *before, last = batch.tasks
        handed = {need.serial for one in batch.tasks if one.serial in known.heirs for need in one.dependencies}
        assert sum(known.sizes.get(one.serial, 0) for one in before if one.serial not in handed) < HELD
        assert last.serial not in handed


def test_few_large_values_are_kept_together():
    tasks = [task(n) for n in range(10)]
    assert numbers(of_alike(tasks, 1, large=HELD // 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert numbers(of_alike(tasks, 1, large=HELD + 1)) == [[n] for n in range(10)]
    assert of_alike(tasks, 1, large=HELD // 4)[0].has_large is False
    readers = [task(10 + n, one) for n, one in enumerate(tasks)]
    alone = {"heirs": range(10, 20)}
    assert numbers(of_alike([*tasks, *readers], 1, large=HELD // 4, **alone)) == [
        [0, 1, 2, 3, 10, 11, 12, 13],
        [4, 5, 6, 7, 14, 15, 16, 17],
        [8, 9, 18, 19],
    ]


def test_a_chain_of_large_values_is_one_batch_if_each_is_handed_on():
    chain = [task(0)]
    for n in range(1, 50):
        chain.append(task(n, chain[-1]))
    for large in (HELD // 4, HELD, MOVED):
        assert len(of_alike(chain, 2, large=large, heirs=range(1, 50))) == 1
    assert len(of_alike(chain, 2, large=HELD // 4)) == 13


def test_a_large_value_is_handed_to_the_one_that_needs_it():
    first = task(0)
    second = task(1, first)
    third = task(2, second)
    beside, behind = task(3, third), task(4, third)
    tasks = [first, second, third, beside, behind]
    assert numbers(of_alike(tasks, 2, large=MOVED, heirs={1, 2})) == [[0, 1, 2], [3], [4]]
    assert numbers(of_alike(tasks, 2, large=MOVED, heirs={1})) == [[0, 1], [2], [3], [4]]
    assert numbers(of_alike(tasks[:3], 2)) == [[0, 1, 2]]


def tree(leaves):
    tasks = level = [task(n) for n in range(leaves)]
    while len(level) > 1:
        level = [task(len(tasks) + n, *level[2 * n : 2 * n + 2]) for n in range(len(level) // 2)]
        tasks = [*tasks, *level]
    return tasks


def of_tree(leaves, threads, running=(), seconds=TARGET / 2):
    tasks = tree(leaves)
    return numbers(of_alike(tasks, threads, running, seconds=seconds, large=MOVED, heirs=range(leaves, len(tasks))))


def test_what_alone_needs_two_large_values_is_where_they_are():
    assert of_tree(4, 2) == [[0, 1, 4], [2, 3, 5], [6]]


def test_a_tree_of_large_values_is_as_many_pieces_as_can_run_at_once():
    assert of_tree(8, 2) == [[0, 1, 8, 2, 3, 9, 12], [4, 5, 10, 6, 7, 11, 13], [14]]
    assert of_tree(8, 4) == [[0, 1, 8], [2, 3, 9], [4, 5, 10], [6, 7, 11], [12], [13], [14]]
    assert of_tree(8, 1) == [[0, 1, 8, 2, 3, 9, 12], [4, 5, 10, 6, 7, 11, 13], [14]]  # no longer than that


def test_large_values_are_moved_if_threads_would_have_nothing_to_do():
    assert of_tree(2, 2) == [[0], [1], [2]]
    assert of_tree(2, 2, [TARGET]) == [[0], [1], [2]]
    assert of_tree(2, 2, [TARGET, TARGET]) == [[0, 1, 2]]


def test_one_thread_does_not_get_nearly_all():
    first = [task(n) for n in range(8)]
    sums = [task(8, *first[:2])]
    for n in range(2, 8):
        sums.append(task(7 + n, sums[-1], first[n]))
    tasks = [*first, *sums]
    batches = of_alike(tasks, 2, seconds=TARGET / 8, large=MOVED, heirs=range(8, 15))
    assert numbers(batches)[0] == [0, 1, 8, 2, 9, 3, 10]


def test_what_takes_long_goes_by_itself():
    assert of_tree(4, 2, seconds=LONG / 2) == [[0], [1], [2], [3], [4], [5], [6]]
    chain = [task(0)]
    for n in range(1, 5):
        chain.append(task(n, chain[-1]))
    assert numbers(of_alike(chain, 2, seconds=LONG / 2, large=MOVED, heirs=range(1, 5))) == [[0, 1], [2, 3], [4]]


def test_tasks_go_together_where_what_they_need_is():
    tasks = [task(n) for n in range(8)]
    homes = {n: "ab"[n % 2] for n in range(6)}
    assert numbers(of_alike(tasks, 2, homes=homes)) == [[0, 2, 4], [1, 3, 5], [6, 7]]
    assert numbers(of_alike(tasks, 2, homes=dict.fromkeys(range(8), "a"))) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_what_would_be_moved_for_it_does_not_go_together():
    tasks = tree(4)
    known = {"seconds": TARGET / 2, "large": HELD + 1, "heirs": range(4, 7)}
    for homes, expected in [
        ({0: "a", 1: "b", 2: "a"}, [[0], [1], [2, 3, 5], [4], [6]]),
        ({0: "a", 1: "a", 2: "b", 3: "b"}, [[0, 1, 4], [2, 3, 5], [6]]),
    ]:
        assert numbers(of_alike(tasks, 2, homes=homes, **known)) == expected


def test_readers_of_several_large_values_go_to_these():
    makers = [task(n) for n in range(4)]
    readers = [task(4 + n, makers[n % 4]) for n in range(8)]
    known = outlook([*makers, *readers])
    for large, expected in [
        (MOVED + 1, [[0], [1], [2], [3], [4], [5], [6], [7], [8], [9], [10], [11]]),
        (MOVED - 1, [[0], [1], [2], [3], [4, 6, 8, 10], [5, 7, 9, 11]]),
    ]:
        sizes = {one.serial: large for one in makers}
        assert numbers(formed([*makers, *readers], known._replace(sizes=sizes), 2, 2)) == expected

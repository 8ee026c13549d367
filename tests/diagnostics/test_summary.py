"""Where the time went, in numbers, beside a naive reckoning."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphfutures import GraphExecutor
from graphfutures.diagnostics.naming import function_of
from graphfutures.diagnostics.snapshot import Pending, Snapshot
from graphfutures.diagnostics.summary import Delays, summarize
from graphfutures.history import Attempt


@st.composite
def snapshots(draw):
    """What some workers did, a task of each starting when its inputs are there; times are halves, so sums are exact."""
    workers = draw(st.integers(1, 3))
    free = [0.0] * workers
    ends: dict[str, float] = {}
    attempts: list[Attempt] = []
    for serial in range(1, draw(st.integers(0, 25)) + 1):
        worker = draw(st.integers(0, workers - 1))
        needs = tuple(draw(st.lists(st.sampled_from(sorted(ends)), max_size=3))) if ends else ()
        for good in (*[False] * draw(st.integers(0, 1)), draw(st.booleans())):
            start = max([free[worker], *[ends[need] for need in needs]]) + draw(st.integers(0, 3)) / 2
            stop = free[worker] = start + draw(st.integers(0, 6)) / 2
            name = draw(st.sampled_from(["load", "add", "x-1"])) if good else "load"
            attempts.append(Attempt(serial, name, worker, start, stop, 0, good, needs))
        if attempts[-1].good:
            ends[attempts[-1].key] = stop
    pending = [Pending(99, "load", "waiting", ())] * draw(st.integers(0, 2))
    return Snapshot("some", workers, attempts, draw(st.integers(0, 2)), pending)


def longest_chain(snapshot):
    made = {attempt.key: attempt for attempt in snapshot.attempts if attempt.good}

    def length(key):
        attempt = made[key]
        return attempt.stop - attempt.start + max([length(n) for n in set(attempt.needs) if n in made], default=0)

    return max(map(length, made), default=0)


@given(snapshots())
def test_it_agrees_with_a_naive_reckoning(snapshot):
    found, attempts = summarize(snapshot), snapshot.attempts
    assert (found.attempts, found.missing, found.pending) == (len(attempts), snapshot.missing, len(snapshot.pending))
    assert found.work == sum(attempt.stop - attempt.start for attempt in attempts)
    assert found.failed == sum(not attempt.good for attempt in attempts)
    assert found.repeated == len(attempts) - len({attempt.serial for attempt in attempts})
    assert found.critical == longest_chain(snapshot)
    seconds = defaultdict(float)
    for attempt in attempts:
        seconds[function_of(attempt.name)] += attempt.stop - attempt.start
    assert {one.name: one.seconds for one in found.functions} == dict(seconds)
    assert [one.seconds for one in found.functions] == sorted(seconds.values(), reverse=True)
    if attempts:
        assert found.wall == max(a.stop for a in attempts) - min(a.start for a in attempts)
        assert found.idle == snapshot.workers * found.wall - found.work


@given(snapshots())
def test_the_critical_path_is_a_chain_of_that_length(snapshot):
    found = summarize(snapshot)
    made = {attempt.key: attempt for attempt in snapshot.attempts if attempt.good}
    assert sum(made[key].stop - made[key].start for key in found.path) == found.critical
    for before, after in zip(found.path, found.path[1:], strict=False):
        assert before in made[after].needs


@given(snapshots())
def test_waiting_and_handing_over_fill_the_time_until_the_start(snapshot):
    delays, ends = Delays(), {}
    waited = handed = 0.0
    for serial, _name, worker, start, stop, _, good, needs in snapshot.attempts:
        delay = delays.before(worker, start, stop, needs)
        if needs:
            assert delay is not None
            assert delay.waited + delay.handed == start - max(ends[need][0] for need in needs)
            assert delay.moved == any(ends[need][1] != worker for need in needs)
            waited, handed = waited + delay.waited, handed + delay.handed
        else:
            assert delay is None
        if good:
            key = f"{_name}-{serial}"
            ends[key] = stop, worker
            delays.ended(key, worker, stop)
    found = summarize(snapshot)
    assert (found.waited, found.handed) == (waited, handed)


def attempt(serial, start, stop, worker=0, needs=(), name="load", good=True):
    return Attempt(serial, name, worker, start, stop, 0, good, needs)


def test_a_diamond_by_hand():
    attempts = [
        attempt(1, 0, 1),
        attempt(2, 1, 3, needs=("load-1",)),
        attempt(3, 1.25, 2, worker=1, needs=("load-1",)),
        attempt(4, 3.5, 4, worker=1, needs=("load-2", "load-3")),
    ]
    found = summarize(Snapshot("some", 2, attempts, 0, []))
    assert (found.work, found.wall, found.critical) == (4.25, 4, 3.5)
    assert found.path == ["load-1", "load-2", "load-4"]
    assert found.possible == pytest.approx(4.25 / 3.5)
    assert found.reached == pytest.approx(4.25 / 4)
    assert (found.idle, found.waited, found.handed, found.moved) == (3.75, 0, 0.75, 0.75)


def test_nothing():
    found = summarize(Snapshot("none", 2, [], 0, []))
    assert (found.possible, found.reached, found.path) == (1, 1, [])
    assert found.sentences() == ["Nothing has run."]


def test_attempts_that_took_no_time():
    found = summarize(Snapshot("some", 2, [attempt(1, 5, 5)], 0, []))
    assert (found.possible, found.reached, found.idle) == (1, 1, 0)
    assert "1 attempt of 1 function took 0 µs" in found.sentences()[0]


def test_the_sentences_say_what_is_missing_and_what_failed():
    attempts = [attempt(1, 0, 1, good=False), attempt(1, 1, 2.5)]
    without = [Pending(3, "y", "failed", ("x-2",)), Pending(4, "z", "done", ())]
    told = " ".join(summarize(Snapshot("some", 1, attempts, 7, [Pending(2, "x", "ready", ())], without)).sentences())
    for part in (
        "2 attempts",
        "2.5 s of work",
        "1 attempt failed.",
        "1 attempt ran a task again.",
        "1 task failed or ended as cancelled without",
        "of 7 tasks",
        "1 task had",
    ):
        assert part in told


def test_only_so_many_ends_are_kept():
    delays = Delays(10)
    for key in range(1000):
        delays.ended(key, 0, key)
        assert delays.before(1, key + 1, key + 1, [key]) == (0, 1, True)
    assert len(delays._ends) + len(delays._older) <= 20
    assert delays.before(0, 2000, 2000, [5]) is None


def test_a_long_chain_needs_no_recursion():
    attempts = [attempt(n, n, n + 1, needs=(f"load-{n - 1}",) if n else ()) for n in range(50_000)]
    found = summarize(Snapshot("long", 1, attempts, 0, []))
    assert (found.critical, len(found.path)) == (50_000, 50_000)


@pytest.mark.parametrize("backend", ["threads", "inline"])
def test_of_an_executor(backend):
    with GraphExecutor(2, backend=backend) as executor:
        total = executor.submit(sum, [executor.submit(abs, -number) for number in range(5)])
    assert total.result() == 10
    found = summarize(executor.snapshot())
    assert (found.attempts, found.failed, {one.name for one in found.functions}) == (6, 0, {"abs", "sum"})
    assert found.path[-1] == total.key
    assert 0 < found.critical <= found.work


def test_a_wait_inside_does_not_count_twice():
    nested = [attempt(2, 1, 3), attempt(3, 3, 4), attempt(1, 0, 5)]  # all on one worker
    found = summarize(Snapshot("nested", 2, nested, 0, []))
    assert (found.work, found.reached, found.idle) == (5, 1, 5)

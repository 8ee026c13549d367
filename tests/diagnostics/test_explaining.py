"""``explain`` beyond its first line: what holds up whom, as a short tree."""

import re
import threading
import time
from concurrent.futures import Future

import pytest
from patience import LIMIT, until

from graphfutures import GraphExecutor, quote

AMONG = re.compile(r"since \d+\.\d s")


@pytest.fixture
def executor():
    with GraphExecutor(1) as one:
        yield one


@pytest.fixture
def gate():
    """Tasks begin and wait until it is set."""
    one = threading.Event()
    yield one
    one.set()


def begin(executor, gate, name="load"):
    """A task that runs, before the gate."""
    begun = threading.Event()

    def load():
        begun.set()
        assert gate.wait(LIMIT)
        return 1

    future = executor.options(name=name).submit(load)
    assert begun.wait(LIMIT)
    return future


def told(executor, future):
    return [AMONG.sub("since …", line) for line in executor.explain(future).splitlines()]


def fail(*_):
    raise ValueError("bad")


def test_what_holds_up_each_of_several_is_told(executor, gate):
    load = begin(executor, gate)
    foreign = Future()
    clean = executor.options(name="clean")
    merge = executor.options(name="merge").submit(lambda *_: None, clean.submit(abs, load), clean.submit(abs, foreign))
    assert told(executor, merge) == [
        "merge-4 is waiting on clean-2, which is waiting, and on 1 more",
        "    clean-2 is waiting on load-1, which runs on worker 0 since …",
        "    clean-3 is waiting on a Future of another executor",
    ]
    foreign.set_result(1)


def test_a_diamond_is_told_once(executor, gate):
    load = begin(executor, gate)
    sides = [executor.options(name="side").submit(abs, load) for _ in range(100)]
    top = executor.options(name="top").submit(sum, sides)
    assert told(executor, top) == [
        "top-102 is waiting on side-2, which is waiting, and on 99 more",
        "    side-2 is waiting on load-1, which runs on worker 0 since …",
    ]
    both = executor.options(name="both").submit(max, load, sides[0])
    assert told(executor, both) == ["both-103 is waiting on load-1, which runs on worker 0 since …, and on 1 more"]


@pytest.mark.ci
def test_a_long_chain_is_told_by_its_end(executor, gate):
    step = begin(executor, gate)
    for _ in range(30_000):
        step = executor.options(name="step").submit(abs, step)
    assert told(executor, step) == [
        "step-30001 is waiting on step-30000, which is waiting",
        "    … 29,999 more in a row, down to load-1, which runs on worker 0 since …",
    ]


def test_a_deep_graph_is_told_down_to_a_running_task(executor, gate):
    layer = [begin(executor, gate)]
    for _ in range(20):
        layer = [executor.options(name="layer").submit(lambda *_: 1, *layer) for _ in range(3)]
    lines = told(executor, layer[0])
    assert len(lines) <= 12
    assert lines[0].startswith("layer-59 is waiting on layer-56, which is waiting, and on 2 more")
    assert any(line.endswith("more in a row, down to load-1, which runs on worker 0 since …") for line in lines)
    assert max(len(line) - len(line.lstrip()) for line in lines) <= 12


def test_the_queue_is_told_once_and_the_rest_is_counted(executor, gate):
    begin(executor, gate)
    loads = [executor.options(name="load").submit(abs, -n) for n in range(20)]
    merge = executor.options(name="merge").submit(sum, loads)
    lines = told(executor, merge)
    assert lines[0] == "merge-22 is waiting on load-2, which is ready, and on 19 more"
    assert lines[1] == (
        "    load-2 is ready and waits for a free worker: 1 of 1 are busy, up to 19 ready tasks may go first"
    )
    assert lines[2] == "    load-3 is ready and waits for a free worker, too"
    assert lines[9:] == ["    … and 12 more"]


def test_what_runs_instead_is_told(executor, gate):
    begin(executor, gate)
    assert told(executor, executor.submit(abs, 1)) == [
        "abs-2 is ready and waits for a free worker: 1 of 1 are busy",
        "    load-1 runs on worker 0 since …",
    ]


@pytest.mark.ci
def test_no_more_workers_are_busy_than_there_are():
    """A worker process that was handed many tasks runs one of them."""
    with GraphExecutor(1, backend="processes") as executor:
        first = executor.submit(time.sleep, 0.2)
        futures = [executor.submit(time.sleep, 0.001) for _ in range(50)]
        assert until(lambda: executor.stats()["done"] > 1)
        for future in futures[-2:]:
            text = executor.explain(future)
            assert "1 of 1 are busy" in text or "ready" not in text.splitlines()[0]
        assert executor.stats().slots.busy <= 1
        assert first.done()


def test_a_future_of_another_executor_is_followed(executor, gate):
    with GraphExecutor(1) as other:
        far = begin(other, gate, "far")
        middle = other.submit(abs, far)
        assert other.stats()["waiting"] == 1
        near = executor.submit(abs, middle)
        assert told(executor, near) == [
            "abs-1 is waiting on abs-2 of another executor",
            "    abs-2 of another executor is waiting on far-1, which runs on worker 0 since …",
        ]
        gate.set()
        assert near.result(LIMIT) == 1


def test_a_wait_inside_is_followed(executor, gate):
    begun = threading.Event()
    load = begin(executor, gate)
    middle = executor.options(name="middle").submit(abs, load)

    def outer():
        begun.set()
        return middle.result()

    assert executor.stats()["waiting"] == 1
    with GraphExecutor(1) as other:
        waiting = other.submit(outer)
        assert begun.wait(LIMIT)
        assert until(lambda: "waits inside" in other.explain(waiting))
        assert told(other, waiting) == [
            "outer-1 runs on worker 0 since … and waits inside, its slot lent, for middle-2, which is waiting",
            "    middle-2 is waiting on load-1, which runs on worker 0 since …",
        ]
        gate.set()
        assert waiting.result(LIMIT) == 1


def test_earlier_attempts_are_told(executor, gate):
    begun, attempts = threading.Event(), []

    def flaky():
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("not yet")
        begun.set()
        assert gate.wait(LIMIT)
        return 1

    future = executor.options(retries=5).submit(flaky)
    assert begun.wait(LIMIT)
    assert told(executor, future) == [
        "flaky-1 runs on worker 0 since …",
        "    2 of its attempts have failed, the last one with OSError('not yet'); 3 more may follow this one",
    ]
    gate.set()
    assert future.result(LIMIT) == 1
    assert told(executor, future) == [
        "flaky-1 is done: it returned a value of type int",
        "    2 of its attempts had failed before that, the last one with OSError('not yet')",
    ]
    failed = executor.options(retries=2).submit(fail)
    assert isinstance(failed.exception(LIMIT), ValueError)
    assert told(executor, failed) == [
        "fail-2 failed with ValueError('bad')",
        "    2 of its attempts had failed before, the last one with ValueError('bad')",
    ]


def test_a_submitter_that_waits_for_room_is_told(gate):
    with GraphExecutor(1, max_pending=2) as executor:
        load = begin(executor, gate)
        second = executor.submit(abs, load)
        assert told(executor, second) == ["abs-2 is waiting on load-1, which runs on worker 0 since …"]
        thread = threading.Thread(target=executor.submit, args=(abs, 1))
        thread.start()
        assert until(lambda: len(told(executor, second)) == 2)
        assert told(executor, second)[1] == "    submit waits for room, since max_pending=2 tasks are unfinished"
        gate.set()
        thread.join(LIMIT)
        assert not thread.is_alive()


@pytest.mark.ci
def test_a_wide_graph_is_explained_in_time(executor, gate):
    load = begin(executor, gate)
    sides = [executor.submit(abs, load) for _ in range(30_000)]
    top = executor.submit(len, sides)
    start = time.perf_counter()
    assert len(told(executor, top)) == 2
    assert time.perf_counter() - start < LIMIT / 4
    gate.set()
    assert top.result(LIMIT) == 30_000


def test_waits_in_a_circle_are_told_and_end(executor, gate):
    """Two tasks that wait for each other for a while: no explanation goes round in circles."""
    with GraphExecutor(2) as two:
        futures, begun = {}, threading.Barrier(3)

        def one(other):
            begun.wait(LIMIT)
            try:
                return futures[other].result(0.5)
            except TimeoutError:
                return None

        futures["b"] = two.submit(one, quote("a"))
        futures["a"] = two.submit(one, quote("b"))
        begun.wait(LIMIT)
        top = two.submit(lambda *_: None, futures["a"], futures["b"])
        assert len(told(two, top)) < 10
        assert top.result(LIMIT) is None

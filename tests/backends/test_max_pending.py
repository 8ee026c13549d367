"""``max_pending``: submit blocks while so many tasks are unfinished (CONTRACT 7)."""

import threading
from concurrent.futures import Future

import pytest
from patience import LIMIT, until

pytestmark = pytest.mark.asks(submits_run=False)


class Submitter(threading.Thread):
    """Submits in a thread of its own, and says after each how many that were."""

    def __init__(self, submit, number=1):
        super().__init__(daemon=True)
        self.submit = submit
        self.left = number
        self.futures = []
        self.error = None
        self.start()

    def run(self):
        try:
            for _ in range(self.left):
                self.futures.append(self.submit())
        except BaseException as error:
            self.error = error

    def blocks(self):
        self.join(0.05)
        return self.is_alive()

    def ended(self):
        self.join(LIMIT)
        assert not self.is_alive()
        return self


def test_it_blocks_exactly_at_n(make, case, gate):
    executor = make(max_pending=5)
    submitter = Submitter(lambda: executor.submit(gate.passage), 6)
    gate.arrived(min(case.workers, 5))
    assert submitter.blocks()
    assert len(submitter.futures) == 5
    gate.open()
    assert [future.result(LIMIT) for future in submitter.ended().futures] == [None] * 6


def test_n_holds_with_several_submitters(make, gate):
    executor = make(max_pending=3)
    submitters = [Submitter(lambda: executor.submit(gate.passage), 2) for _ in range(5)]
    gate.arrived()
    assert until(lambda: sum(len(submitter.futures) for submitter in submitters) == 3)
    assert sum(submitter.blocks() for submitter in submitters) >= 4  # one of them may have got two in
    assert sum(len(submitter.futures) for submitter in submitters) == 3
    gate.open()
    for submitter in submitters:
        for future in submitter.ended().futures:
            assert future.result(LIMIT) is None


def test_never_more_than_n_are_unfinished(make, case):
    executor = make(max_pending=2)
    most = []

    def submit():
        future = executor.submit(abs, -1)
        stats = executor.stats()
        most.append(stats["waiting"] + stats["ready"] + stats["running"])
        return future

    times = 50 if case.capabilities.connects else 200  # each is a round trip
    for submitter in [Submitter(submit, times) for _ in range(4)]:
        submitter.ended()
    executor.shutdown()
    assert len(most) == 4 * times
    assert max(most) <= 2


def test_a_finished_task_makes_room_for_one(make, gate, held):
    executor = make(1, max_pending=1)
    first = executor.submit(gate.passage)
    submitter = Submitter(lambda: executor.submit(abs, -1))
    assert submitter.blocks()
    gate.open()
    assert first.result(LIMIT) is None
    assert submitter.ended().futures[0].result(LIMIT) == 1


def test_a_cancellation_makes_room(make, case, gate):
    executor = make(1, max_pending=2)
    executor.submit(gate.passage)
    gate.arrived()
    ready = executor.submit(abs, -1)
    submitter = Submitter(lambda: executor.submit(abs, -2))
    assert submitter.blocks()
    assert ready.cancel()
    assert submitter.ended().error is None
    gate.open()
    assert submitter.futures[0].result(LIMIT) == 2


def test_shutdown_interrupts_it(make, gate):
    executor = make(1, max_pending=1)
    executor.submit(gate.passage)
    submitters = [Submitter(lambda: executor.submit(abs, -1)) for _ in range(3)]
    assert all(submitter.blocks() for submitter in submitters)
    executor.shutdown(wait=False)
    for submitter in submitters:
        assert isinstance(submitter.ended().error, RuntimeError)
        assert str(submitter.error) == "cannot schedule new futures after shutdown"
    gate.open()


@pytest.mark.asks(shares_memory=True)
def test_it_never_blocks_inside_a_task(make):
    executor = make(1, max_pending=1)
    inner = executor.submit(lambda: [executor.submit(abs, -n) for n in range(10)]).result(LIMIT)
    assert [future.result(LIMIT) for future in inner] == list(range(10))


def test_it_never_blocks_inside_a_callback(make, gate):
    executor = make(2, max_pending=2)
    inner, submitted = [], threading.Event()

    def submit_many(_):
        inner.extend(executor.submit(abs, -n) for n in range(10))
        submitted.set()

    executor.submit(gate.passage)
    gate.arrived()
    executor.submit(abs, -1).add_done_callback(submit_many)
    if not submitted.wait(0.2):  # added after it was done: called here, where it may block
        gate.open()
    assert submitted.wait(LIMIT)
    gate.open()
    assert [future.result(LIMIT) for future in inner] == list(range(10))


def test_tasks_that_wait_for_foreign_futures_do_not_count(make, held):
    executor = make(max_pending=2)
    waiting = [executor.submit(pow, held, n) for n in range(10)]
    assert executor.submit(abs, -1).result(LIMIT) == 1
    held.set_result(2)
    assert [future.result(LIMIT) for future in waiting] == [2**n for n in range(10)]
    assert executor.submit(abs, -1).result(LIMIT) == 1


def test_a_task_that_was_held_counts_once_it_is_released(make, gate, held):
    executor = make(1, max_pending=2)
    executor.submit(gate.passage)
    gate.arrived()
    executor.submit(abs, held)
    third = Submitter(lambda: executor.submit(abs, -1)).ended()
    held.set_result(-5)
    submitter = Submitter(lambda: executor.submit(abs, -2))
    assert submitter.blocks()
    gate.open()
    assert submitter.ended().futures[0].result(LIMIT) == 2
    assert third.futures[0].result(LIMIT) == 1


def test_a_failing_chain_makes_room(make):
    executor = make(max_pending=3)
    failed = executor.submit(abs, "x")
    for _ in range(20):
        assert isinstance(executor.submit(abs, failed).exception(LIMIT), TypeError)


def test_map_respects_it(make):
    assert list(make(max_pending=2).map(abs, range(-50, 0))) == list(range(50, 0, -1))


def test_views_respect_it(make, gate):
    executor = make(1, max_pending=1)
    executor.options(name="first").submit(gate.passage)
    submitter = Submitter(lambda: executor.options(priority=3).submit(abs, -1))
    assert submitter.blocks()
    gate.open()
    assert submitter.ended().futures[0].result(LIMIT) == 1


def test_a_submission_on_an_unrelated_pending_future_is_no_deadlock(make):
    executor = make(max_pending=1)
    foreign = Future()
    dependent = executor.submit(abs, foreign)
    assert executor.submit(abs, -4).result(LIMIT) == 4
    foreign.set_result(-1)
    assert dependent.result(LIMIT) == 1


@pytest.mark.asks(shares_memory=True)
def test_a_graph_that_is_known_whole_is_not_held_back(make, case, gate):
    executor = make(max_pending=1)
    whole = Submitter(lambda: executor.get({str(n): (gate.passage, n) for n in range(8)}, [*"01234567"]))
    gate.arrived(case.workers)
    assert until(lambda: executor.stats()["ready"] == 8 - case.workers)
    gate.open()
    assert whole.ended().futures == [tuple(range(8))]


@pytest.mark.asks(shares_memory=True)
def test_a_graph_that_is_known_whole_does_not_count(make, case, gate, held):
    executor = make(max_pending=2)
    graph = {**{("gate", n): (gate.passage, n) for n in range(9)}, "held": held, "after": (abs, "held")}
    whole = Submitter(lambda: executor.get(graph, ["after", *graph]))
    gate.arrived(case.workers)
    submitter = Submitter(lambda: executor.submit(abs, -1), 3)
    assert submitter.blocks()
    assert len(submitter.futures) == 2
    held.set_result(-7)
    assert submitter.blocks()
    assert len(submitter.futures) == 2
    gate.open()
    assert [future.result(LIMIT) for future in submitter.ended().futures] == [1, 1, 1]
    assert whole.ended().futures[0][0] == 7
    assert executor._hub.scheduler.aside == 0
